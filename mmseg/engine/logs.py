"""A run's logs: text and JSON through mmcv's loggers, wandb, and what a resume truncates."""

import json
import logging
import os
import os.path as osp
import re
import resource
import sys
import time
from datetime import timedelta

from mmcv.runner import master_only
from mmcv.runner.hooks.logger import TextLoggerHook, WandbLoggerHook
from mmcv.utils import get_logger
from mmcv.utils.logging import logger_initialized

from mmseg.utils.files import remove_parts, write_text
from mmseg.utils.user_error import UserError

EVALUATION_FOLDER = 'evaluation'  # in the run's
RARE_CLASS_FILE = osp.join(EVALUATION_FOLDER, 'rare_class_sampling.json')
# A run's own text log, and with .json behind it mmcv's JSON log. Other logs in the folder, such as
# what `tee` writes, are left alone. (tools/run_folder.py reads the same names.)
_OWN_LOG = re.compile(r'(\d{8}_\d{6})\.log(\.json)?')
_OF_EVALUATION = re.compile(r'iter_(\d+)')
_IN_TEXT = re.compile(r' - Iter(\(val\))? \[(\d+)')
# The first iteration is slower than all others; the next few say how fast a run is.
_FIRST_ITERATIONS = 5


def evaluation_stem(work_dir, iteration):
    """Path of an evaluation's files without ``.json``, which is written last, or ``_K.png``."""
    return osp.join(work_dir, EVALUATION_FOLDER, f'iter_{iteration:06d}')


def open_log(cfg):
    """Open the run's log; a resumed run appends to the files it began.

    Returns:
        tuple[logging.Logger, str]: With the timestamp in the files' names.
    """
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

    Args:
        work_dir (str): Of the run.
        iteration (int): Number of completed iterations.
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
            is_ahead = json.load(file)['iter'] > iteration
        if is_ahead:
            os.remove(record)


def _place_in_text(line):
    """Return the iteration of a line, and whether it is of its evaluation."""
    found = _IN_TEXT.search(line)
    return (int(found[2]), bool(found[1])) if found else (0, False)


def _place_in_json(line):
    entry = json.loads(line)
    return entry.get('iter', 0), entry.get('mode') == 'val'


class TextLogger(TextLoggerHook):
    """Says early how long a run will take, and on a CPU how much memory it needs."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._has_logged = False

    def before_run(self, runner):
        super().before_run(runner)
        self._started = time.monotonic()

    def after_train_iter(self, runner):
        super().after_train_iter(runner)
        done = runner.iter + 1 - self.start_iter
        if done == 1:
            self._first_done = time.monotonic()
        elif done == _FIRST_ITERATIONS and not self._has_logged:
            each = (time.monotonic() - self._first_done) / (done - 1)
            left = runner.max_iters - runner.iter - 1
            runner.logger.info(
                '%.3f s per iteration at first: about %s for the %d that are left, evaluations '
                'not counted. Losses follow every %d iterations.',
                each, timedelta(seconds=int(each * left)), left, self.interval,
            )  # fmt: skip

    def log(self, runner):
        """Write a line to the text log and one to the JSON log."""
        self._has_logged = True
        if 'time' in runner.log_buffer.output and runner.device.type == 'cpu':
            runner.log_buffer.output['peak_resident_mb'] = peak_resident_mb()
        return super().log(runner)

    def _log_info(self, log_dict, runner):
        if 'time' in log_dict:
            # mmcv adds up its lines, of which the first after a resume is of a shorter time than
            # it thinks, and evaluations are in none. It adds the last one to this.
            passed = time.monotonic() - self._started
            self.time_sec_tot = passed - log_dict['time'] * self.interval
        super()._log_info(log_dict, runner)


def peak_resident_mb():
    """Return the peak memory of this process, without its data workers, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (2**20 if sys.platform == 'darwin' else 2**10)


class WandbLogger(WandbLoggerHook):
    """Keeps to the run's folder, uploads no files unasked and resumes a run as the same run.

    Args:
        init_kwargs (dict | None): Of ``wandb.init``; overrides what is set here.
        commit (bool): False, unlike mmcv's, since the losses and the evaluation of an iteration
            come one after the other: what is committed can no longer be added to.
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
        try:
            super().before_run(runner)
        except self.wandb.Error as error:
            reason = str(error).partition('\n')[0]
            raise UserError(
                f'wandb cannot start ({reason}). Log in with wandb login, set mode="offline" in '
                'the init_kwargs of log_config.hooks, or remove its hook.'
            ) from error


OWN_LOGGERS = {'TextLoggerHook': TextLogger, 'WandbLoggerHook': WandbLogger}
