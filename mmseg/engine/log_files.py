"""A run's log, and what a resumed run drops of it: what came after that iteration."""

import json
import logging
import os
import os.path as osp
import re
import time

from mmcv.utils import get_logger
from mmcv.utils.logging import logger_initialized

from mmseg.engine.evaluation_samples import EVALUATION_FOLDER, evaluation_stem
from mmseg.engine.rare_class_record import RARE_CLASS_FILE
from mmseg.utils.files import remove_parts, write_text

# A run's own text log, and with .json behind it mmcv's JSON log. Other logs in the folder, such as
# what `tee` writes, are left alone. (tools/run_folder.py reads the same names.)
_OWN_LOG = re.compile(r'(\d{8}_\d{6})\.log(\.json)?')
_OF_EVALUATION = re.compile(r'iter_(\d+)')
_IN_TEXT = re.compile(r' - Iter(\(val\))? \[(\d+)')


def open_log(cfg):
    """The run's logger and its timestamp: a resumed run goes on in the files it began."""
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


def forget_after(work_dir, iteration):
    """Drop the lines of later iterations from the text and JSON logs: they will be written again.

    So will those of this iteration's evaluation if it was not written to its end. A line that a
    killed process left unfinished is dropped, too. The files of later evaluations and a record of
    Rare Class Sampling that is ahead are removed.

    Args:
        work_dir (str): Of the run.
        iteration (int): The number of completed iterations that the run goes on from.
    """
    last = iteration, osp.isfile(f'{evaluation_stem(work_dir, iteration)}.json')
    for name, _, is_json in _own_logs(work_dir):
        path = osp.join(work_dir, name)
        place_of = _of_json if is_json else _of_text
        with open(path, encoding='utf-8') as file:
            lines = file.readlines()
        whole = [line for line in lines if line.endswith('\n')]
        kept = [line for line in whole if place_of(line) <= last]
        if kept != lines:
            write_text(path, ''.join(kept))
    _forget_records(work_dir, iteration)


def _own_logs(work_dir):
    """Name, timestamp and ``.json`` (or None) of a run's logs, the oldest first."""
    found = map(_OWN_LOG.fullmatch, sorted(os.listdir(work_dir)))
    return [(match[0], match[1], match[2]) for match in found if match]


def _forget_records(work_dir, iteration):
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


def _of_text(line):
    """Iteration of a line, and whether it is of its evaluation."""
    found = _IN_TEXT.search(line)
    return (int(found[2]), bool(found[1])) if found else (0, False)


def _of_json(line):
    entry = json.loads(line)
    return entry.get('iter', 0), entry.get('mode') == 'val'
