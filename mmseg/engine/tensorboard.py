"""TensorBoard beside mmcv's scalars: pictures of the run, and what a resume makes undone."""

import glob
import json
import os.path as osp

from mmcv.runner.hooks import Hook
from mmcv.runner.hooks.logger import TensorboardLoggerHook
from tensorboard.compat.proto.event_pb2 import Event, SessionLog

from mmseg.datasets.readable import read_image
from mmseg.engine.charts import draw_confusion, draw_sampling
from mmseg.engine.evaluation_samples import EVALUATION_FOLDER
from mmseg.engine.rare_class_record import RARE_CLASS_FILE
from mmseg.models.uda.dacs import DACS
from mmseg.models.uda.debug_pictures import DEBUG_FOLDER


def forget_in_tensorboard(runner):
    """Tell TensorBoard, which only appends, to hide what came after a runner's iteration."""
    for writer in _writers(runner):
        start = SessionLog(status=SessionLog.START)
        writer.file_writer.add_event(Event(session_log=start), runner.iter + 1)


class TensorboardPictures(Hook):
    """Shows the pictures that an iteration has left in the run's folder.

    Runs after what writes them.

    Args:
        evaluation (EvaluationHook | None): Whose iterations have samples and charts.
    """

    def __init__(self, evaluation):
        self.evaluation = evaluation

    def after_train_iter(self, runner):
        if runner.rank > 0:
            return
        if isinstance(runner.model, DACS):
            self._show_debug_pictures(runner)
        if self.evaluation is not None and self.evaluation.is_due(runner):
            self._show_evaluation(runner)

    def _show_debug_pictures(self, runner):
        interval = runner.model.debug_img_interval
        if not interval or runner.iter % interval:
            return
        # Those of this rank: the others may not have written theirs yet.
        for image in range(runner.outputs['num_samples']):
            name = osp.join(DEBUG_FOLDER, f'{runner.iter + 1:06d}_{image}.png')
            if osp.isfile(osp.join(runner.work_dir, name)):
                _show_file(runner, f'class_mix/{image}', name)

    def _show_evaluation(self, runner):
        stem = osp.join(EVALUATION_FOLDER, f'iter_{runner.iter + 1:06d}')
        pattern = osp.join(glob.escape(runner.work_dir), f'{stem}_*.png')
        for number in range(len(glob.glob(pattern))):
            _show_file(runner, f'evaluation/{number}', f'{stem}_{number}.png')
        found = _read(runner, f'{stem}.json')
        picture = draw_confusion(found['confusion'], found['classes'])
        _show(runner, 'evaluation/confusion', picture)
        if osp.isfile(osp.join(runner.work_dir, RARE_CLASS_FILE)):
            found = _read(runner, RARE_CLASS_FILE)
            picture = draw_sampling(found['classes'], found['wanted'], found['drawn'])
            _show(runner, 'rare_class_sampling', picture)


def _writers(runner):
    return [hook.writer for hook in runner.hooks if isinstance(hook, TensorboardLoggerHook)]


def _read(runner, name):
    with open(osp.join(runner.work_dir, name), encoding='utf-8') as file:
        return json.load(file)


def _show_file(runner, tag, name):
    _show(runner, tag, read_image(osp.join(runner.work_dir, name)))


def _show(runner, tag, picture):
    for writer in _writers(runner):
        writer.add_image(tag, picture[..., ::-1], runner.iter + 1, dataformats='HWC')
