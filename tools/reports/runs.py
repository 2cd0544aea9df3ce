"""Reading runs: config, logs and what an evaluation found, from the files in their folders."""

import os.path as osp
import re
from dataclasses import dataclass

from tools.collect_results import (
    Result,
    configurations,
    read_log,
    read_results,
)
from tools.run_folder import find_config, find_work_dirs, json_logs, text_logs

_KEPT_WARNINGS = 100
_TIMESTAMP = re.compile(r'(\d{4})(\d\d)(\d\d)_(\d\d)(\d\d)')


class ReportError(ValueError):
    """What the user got wrong, in one line. (mmseg's UserError would cost seconds of imports.)"""


@dataclass(frozen=True)
class Run:
    """What a run's folder says.

    Args:
        letter: A, B, C, ...: its short name in the report.
        title: its configuration's name and its seed.
        distinction: in what it differs from runs of the same title; '' if there are none.
        result: state and last metrics, see tools/collect_results.py.
        config: the resolved config, which stands in ``config_path``.
        metas: the first line of each log, one per start of the run.
        train: entries of the log, by iteration.
        val: evaluations in the log, by iteration.
        warnings: the last lines with WARNING of the text logs.
        num_warnings: how many there were.
    """

    letter: str
    title: str
    distinction: str
    result: Result
    config: dict
    config_path: str
    metas: list
    train: list
    val: list
    warnings: list
    num_warnings: int

    @property
    def work_dir(self):
        return self.result.work_dir

    @property
    def is_uda(self):
        return bool(self.config.get('uda'))

    @property
    def is_source_only(self):
        """Whether it is trained with labels, on another data set than the one it is tested on."""
        train, val = self.training_set, self.config.get('data', {}).get('val') or {}
        same = (train.get('type'), train.get('data_root')) == (
            val.get('type'),
            val.get('data_root'),
        )
        return not self.is_uda and not same

    @property
    def training_set(self):
        """The config of the labelled data set that it is trained on."""
        train = self.config.get('data', {}).get('train') or {}
        train = train[0] if isinstance(train, list) else train
        return train.get('source') or train.get('dataset') or train

    @property
    def palette(self):
        """RGB colour of each class by name; empty if the log does not say."""
        meta = self.metas[-1] if self.metas else {}
        return dict(zip(meta.get('CLASSES') or [], meta.get('PALETTE') or [], strict=False))

    @property
    def started(self):
        """Date and time of its first start."""
        found = _TIMESTAMP.match(osp.basename(json_logs(self.work_dir)[0]))
        return '{}-{}-{} {}:{}'.format(*found.groups())

    @property
    def seconds(self):
        """How long its iterations took, without evaluations; None if the log does not say."""
        before, total = 0, 0.0
        for entry in self.train:
            total += entry.get('time', 0) * (entry['iter'] - before)
            before = entry['iter']
        return total or None


def load_runs(folders):
    """Read the runs in and below folders, in the order in which they are given.

    Raises:
        ReportError: A folder is missing or holds no run, or a file in it cannot be read.
    """
    results = []
    for folder in folders:
        if not osp.isdir(folder):
            raise ReportError(f'{folder} is no folder. Give the folder of a run.')
        work_dirs = find_work_dirs([folder])
        found = [_checked(_read_result, work_dir) for work_dir in work_dirs]
        if not any(found):
            raise ReportError(
                f'{folder} holds no run that has begun (one config .json and a .log.json).'
            )
        known = {osp.realpath(result.work_dir) for result in results}
        results += [r for r in found if r and osp.realpath(r.work_dir) not in known]
    distinctions = _distinctions(results)
    return [
        _checked(_read_run, result.work_dir, result, _letter(number), distinctions)
        for number, result in enumerate(results)
    ]


def _read_result(work_dir):
    results = read_results([work_dir])
    return results[0] if results else None


def _checked(read, work_dir, *arguments):
    try:
        return read(work_dir, *arguments)
    except KeyError as error:
        raise ReportError(f'{work_dir} is not of a run of this code: it lacks {error}.') from error
    except (OSError, ValueError) as error:
        raise ReportError(f'{work_dir} cannot be read: {error}.') from error


def _letter(number):
    more, last = divmod(number, 26)
    return (_letter(more - 1) if more else '') + chr(ord('A') + last)


def _distinctions(results):
    """Per work_dir what tells runs of the same name apart: settings, else the folder."""
    distinctions = {}
    for label, group in configurations(results):
        seeds = [result.seed for result in group]
        for result in group:
            text = label.removeprefix(result.configuration).strip()
            if seeds.count(result.seed) > 1:
                text = f'{text} in {result.work_dir}'.strip()
            distinctions[result.work_dir] = text
    return distinctions


def _read_run(work_dir, result, letter, distinctions):
    logs = [read_log(path) for path in json_logs(work_dir)]
    entries = [entry for log in logs for entry in log if 'iter' in entry]
    warnings = _warnings(work_dir)
    return Run(
        letter=letter,
        title=f'{result.configuration}, seed {result.seed}',
        distinction=distinctions[work_dir],
        result=result,
        config=result.config,
        config_path=find_config(work_dir),
        metas=[log[0] for log in logs if log and 'mode' not in log[0]],
        train=_by_iteration(entry for entry in entries if entry.get('mode') == 'train'),
        val=_by_iteration(entry for entry in entries if entry.get('mode') == 'val'),
        warnings=warnings[-_KEPT_WARNINGS:],
        num_warnings=len(warnings),
    )


def _by_iteration(entries):
    """Sorted; of a run that went on from an older checkpoint, the later entry counts."""
    return [entry for _, entry in sorted({entry['iter']: entry for entry in entries}.items())]


def _warnings(work_dir):
    lines = []
    for path in text_logs(work_dir):
        with open(path, encoding='utf-8', errors='replace') as file:
            lines += [line.rstrip('\n') for line in file if 'WARNING' in line]
    return lines
