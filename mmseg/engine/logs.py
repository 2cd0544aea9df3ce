"""A run's logs: text and JSON through mmcv's loggers, wandb, and what a resume truncates."""

import json
import logging
import os
import os.path as osp
import re
import resource
import sys
import time

from mmcv.runner import master_only
from mmcv.runner.hooks.logger import TextLoggerHook, WandbLoggerHook
from mmcv.utils import get_logger
from mmcv.utils.logging import logger_initialized

from mmseg.utils.files import remove_parts, write_text

EVALUATION_FOLDER = 'evaluation'  # in the run's
RARE_CLASS_FILE = osp.join(EVALUATION_FOLDER, 'rare_class_sampling.json')
# A run's own text log, and with .json behind it mmcv's JSON log. Other logs in the folder, such as
# what `tee` writes, are left alone. (daformer_runs/run_folder.py reads the same names.)
_OWN_LOG = re.compile(r'(\d{8}_\d{6})\.log(\.json)?')
_OF_EVALUATION = re.compile(r'iter_(\d+)')
_IN_TEXT = re.compile(r' - Iter(\(val\))? \[(\d+)')


def evaluation_stem(work_dir, iteration):
    """Path of an evaluation's files without ``.json``, which is written last, or ``_K.png``."""
    return osp.join(work_dir, EVALUATION_FOLDER, f'iter_{iteration:06d}')


def evaluation_image(stem, name, number):
    """Path of an image of an evaluation; ``name`` is that of its data set, '' of the only one."""
    return f'{stem}_{file_part(name)}_{number}.png' if name else f'{stem}_{number}.png'


def file_part(name):
    """A data set's name in those of files: ``acdc.fog``; names themselves hold no dots."""
    return name.replace('/', '.')


def evaluated_sets(content):
    """Return classes and confusion by data set, '' of the only one, from an ``iter_N.json``."""
    return content.get('sets', {'': content})


def metric_key(name, metric):
    """Key in logs of a data set's metric: ``acdc/fog/mIoU``, or ``mIoU`` of the only one."""
    return f'{name}/{metric}' if name else metric


def open_log(cfg):
    """Open the run's log, or the one that it began; return it and the timestamp in its name."""
    os.makedirs(cfg.work_dir, exist_ok=True)
    begun = _own_logs(cfg.work_dir)
    timestamp = begun[0][1] if begun else time.strftime('%Y%m%d_%H%M%S')
    # mmcv sets a logger up once per process; here it is once per run.
    logger_initialized.pop('mmseg', None)
    for handler in logging.getLogger('mmseg').handlers[:]:
        logging.getLogger('mmseg').removeHandler(handler)
        handler.close()
    path = osp.join(cfg.work_dir, f'{timestamp}.log')
    return get_logger('mmseg', path, cfg.log_level, file_mode='a'), timestamp


def truncate_logs(work_dir, iteration):
    """Drop what was recorded after an iteration that a run resumes from.

    That are lines of the text and JSON logs (also unfinished ones, and those of this iteration's
    evaluation if it was not written to its end), files of later evaluations, and a record of Rare
    Class Sampling that is ahead.
    """
    last = iteration, osp.isfile(f'{evaluation_stem(work_dir, iteration)}.json')
    for name, _, is_json in _own_logs(work_dir):
        path = osp.join(work_dir, name)
        place_of = _place_in_json if is_json else _place_in_text
        with open(path, encoding='utf-8') as file:
            lines = file.readlines()
        kept = [line for line in lines if line.endswith('\n') and place_of(line) <= last]
        if kept != lines:
            write_text(path, ''.join(kept))
    _truncate_records(work_dir, iteration)


def _own_logs(work_dir):
    """Name, timestamp and ``.json`` (or None) of a run's logs, the oldest first."""
    found = map(_OWN_LOG.fullmatch, sorted(os.listdir(work_dir)))
    return [(match[0], match[1], match[2]) for match in found if match]


def _truncate_records(work_dir, iteration):
    evaluations = osp.join(work_dir, EVALUATION_FOLDER)
    if osp.isdir(evaluations):
        remove_parts(evaluations)
        for name in os.listdir(evaluations):
            match = _OF_EVALUATION.match(name)
            if match and int(match[1]) > iteration:
                os.remove(osp.join(evaluations, name))
    record = osp.join(work_dir, RARE_CLASS_FILE)
    if osp.isfile(record):
        with open(record, encoding='utf-8') as file:
            content = json.load(file)
        if content['iter'] > iteration:
            os.remove(record)


def _place_in_text(line):
    """Return the iteration of a line, and whether it is of its evaluation."""
    found = _IN_TEXT.search(line)
    return (int(found[2]), bool(found[1])) if found else (0, False)


def _place_in_json(line):
    entry = json.loads(line)
    return entry.get('iter', 0), entry.get('mode') == 'val'


class TextLogger(TextLoggerHook):
    """Adds the peak memory of this process, without its data workers, where a CPU trains."""

    def log(self, runner):
        """Write a line to the text log and one to the JSON log."""
        if 'time' in runner.log_buffer.output and runner.device.type == 'cpu':
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            unit = 2**20 if sys.platform == 'darwin' else 2**10
            runner.log_buffer.output['peak_resident_mb'] = peak // unit
        return super().log(runner)


class WandbLogger(WandbLoggerHook):
    """Keeps to the run's folder, uploads no files unasked and resumes a run as the same run.

    Args:
        init_kwargs (dict | None): Of ``wandb.init``; overrides what is set here.
        commit (bool): False, unlike mmcv's: losses come before the evaluation of their iteration,
            and what is committed can no longer be added to.
        log_artifact (bool): Whether to upload the logs at the end.
    """

    def __init__(self, init_kwargs=None, commit=False, log_artifact=False, **kwargs):
        super().__init__(init_kwargs, commit=commit, log_artifact=log_artifact, **kwargs)

    @master_only
    def before_run(self, runner):
        name = osp.basename(osp.abspath(runner.work_dir))
        ours = dict(
            dir=runner.work_dir,
            name=name,
            id=re.sub(r'[^\w.-]', '_', f'{name}_{runner.timestamp}'),
            resume='allow',
        )
        self.init_kwargs = {**ours, **(self.init_kwargs or {})}
        # Else its own logs go to the home folder.
        cache = osp.join(osp.abspath(runner.work_dir), 'wandb', 'cache')
        os.environ.setdefault('WANDB_CACHE_DIR', cache)
        super().before_run(runner)


OWN_LOGGERS = {'TextLoggerHook': TextLogger, 'WandbLoggerHook': WandbLogger}
