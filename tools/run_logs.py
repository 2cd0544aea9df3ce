"""What runs logged, as curves: half-written and resumed logs, too. Imports no torch."""

import os.path as osp
import re
from dataclasses import dataclass

from tools.collect_results import read_log
from tools.run_folder import find_work_dirs, json_logs

_NO_CURVES = ('mode', 'epoch', 'iter')
_SHARE = re.compile(r'aAcc|m?(IoU|Acc|Dice|Fscore|Precision|Recall)(\d*|\..*)')


def is_share(key):
    """Whether MMSegmentation logs a key's values between 0 and 1, which are shown in percent."""
    return _SHARE.fullmatch(key) is not None


@dataclass(frozen=True)
class Log:
    """What a run logged.

    Args:
        name: of the run, for tables and legends.
        train: iteration to what was logged there of training, in order.
        val: the same of evaluations.
    """

    name: str
    train: dict
    val: dict

    def curve(self, key):
        """Iterations and values of a key, two lists; shares such as mIoU are in percent."""
        factor = 100 if is_share(key) else 1
        of_training = any(key in entry for entry in self.train.values())
        entries = self.train if of_training else self.val
        points = [(i, factor * entry[key]) for i, entry in entries.items() if key in entry]
        return [i for i, _ in points], [value for _, value in points]

    def keys(self):
        """All keys that have a curve, those of training first."""
        entries = [*self.train.values(), *self.val.values()]
        return list(dict.fromkeys(k for entry in entries for k in entry if k not in _NO_CURVES))


def read_logs(paths):
    """Reads runs in the order of the paths.

    Args:
        paths: folders of runs, folders with such at any depth, or .log.json files.

    Returns:
        A list of `Log`.

    Raises:
        ValueError: there is no log, or one is no JSON log.
    """
    files = {}
    for path in paths:
        folders = find_work_dirs([path]) if osp.isdir(path) else []
        for folder in folders:
            files[folder] = json_logs(folder)
        if osp.isfile(path):
            files[path] = [path]
        elif not folders:
            reason = 'holds no .log.json' if osp.isdir(path) else 'does not exist'
            raise ValueError(f'{path} {reason}. Give runs, folders with runs, or .log.json files.')
    names = [osp.basename(osp.normpath(path)).removesuffix('.log.json') for path in files]
    if len(set(names)) < len(names):
        names = list(files)
    logs = [_read(name, logs) for name, logs in zip(names, files.values(), strict=True)]
    if not any(log.keys() for log in logs):
        raise ValueError(f'nothing is logged yet in {", ".join(files)}.')
    return logs


def _read(name, files):
    """Put the logs of a run's starts together: what was trained again replaces what it repeats."""
    found = {'train': {}, 'val': {}}
    for path in files:
        for entry in read_log(path):
            if not isinstance(entry, dict):
                raise ValueError(f'{path} is no JSON log: a line holds no object.')
            of_mode = found.get(entry.get('mode'))
            if of_mode is None or 'iter' not in entry:
                continue
            if entry['mode'] == 'train' and entry['iter'] <= max(of_mode, default=0):
                _forget_from(found, entry['iter'])
            of_mode[entry['iter']] = entry
    return Log(name, **found)


def _forget_from(found, iteration):
    """The run went back: what it had logged from this iteration on happens again."""
    for entries in found.values():
        for later in [i for i in entries if i >= iteration]:
            del entries[later]
