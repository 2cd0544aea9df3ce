"""The logs of a run that goes on: what was written after the resumed iteration is dropped."""

import glob
import json
import os
import os.path as osp
import re

from mmcv.runner.hooks.logger import TensorboardLoggerHook
from tensorboard.compat.proto.event_pb2 import Event, SessionLog

from mmseg.engine.evaluation_samples import EVALUATION_FOLDER
from mmseg.engine.runs import RARE_CLASS_FILE
from mmseg.utils.files import remove_parts, write_text

_OF_EVALUATION = re.compile(r'iter_(\d+)')
_IN_TEXT = re.compile(r' - Iter(?:\(val\))? \[(\d+)')


def forget_after(work_dir, iteration):
    """Drop the lines of later iterations from the text and JSON logs: they will be written again.

    A line that a killed process left unfinished is dropped, too. The files of later evaluations and
    a record of Rare Class Sampling that is ahead are removed.

    Args:
        work_dir (str): Of the run.
        iteration (int): The number of completed iterations that the run goes on from.
    """
    folder = glob.escape(work_dir)
    for pattern, iteration_of in (('*.log', _of_text), ('*.log.json', _of_json)):
        for path in glob.glob(osp.join(folder, pattern)):
            with open(path, encoding='utf-8') as file:
                lines = file.readlines()
            whole = [line for line in lines if line.endswith('\n')]
            kept = [line for line in whole if iteration_of(line) <= iteration]
            if kept != lines:
                write_text(path, ''.join(kept))
    _forget_records(work_dir, iteration)


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


def forget_in_tensorboard(runner):
    """Tell TensorBoard, which only appends, to hide what came after a runner's iteration."""
    for hook in runner.hooks:
        if isinstance(hook, TensorboardLoggerHook):
            start = SessionLog(status=SessionLog.START)
            hook.writer.file_writer.add_event(Event(session_log=start), runner.iter + 1)


def _of_text(line):
    found = _IN_TEXT.search(line)
    return int(found[1]) if found else 0


def _of_json(line):
    return json.loads(line).get('iter', 0)
