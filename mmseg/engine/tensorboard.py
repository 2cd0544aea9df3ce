"""TensorBoard beside mmcv's scalars: pictures of the run, and what a resume makes undone."""

import json
import os.path as osp

from mmcv.runner.hooks import Hook
from mmcv.runner.hooks.logger import TensorboardLoggerHook
from tensorboard.compat.proto.event_pb2 import Event, SessionLog

from mmseg.datasets.readable import read_image
from mmseg.engine.logs import RARE_CLASS_FILE
from mmseg.models.uda.debug_pictures import DEBUG_FOLDER
from mmseg.utils.drawing import as_image, draw_confusion, draw_sampling


def purge_after_resume(runner):
    """Tell TensorBoard, which only appends, to hide what came after a runner's iteration."""
    for writer in _writers(runner):
        start = SessionLog(status=SessionLog.START)
        writer.file_writer.add_event(Event(session_log=start), runner.iter + 1)


class TensorboardPictures(Hook):
    """Shows what an iteration mixed, as it has left it in the run's folder."""

    def after_train_iter(self, runner):
        interval = runner.model.debug_img_interval
        if runner.rank > 0 or not interval or runner.iter % interval:
            return
        # Those of this rank: the others may not have written theirs yet.
        for image in range(runner.outputs['num_samples']):
            name = osp.join(DEBUG_FOLDER, f'{runner.iter + 1:06d}_{image}.png')
            if osp.isfile(osp.join(runner.work_dir, name)):
                picture = read_image(osp.join(runner.work_dir, name))
                _show(runner, f'class_mix/{image}', picture)


def show_evaluation(runner, pictures, confusion, classes):
    """Show images (number to BGR uint8) and the confusion matrix of an evaluation, on rank 0."""
    if not _writers(runner):
        return
    for number, picture in sorted(pictures.items()):
        _show(runner, f'evaluation/{number}', picture)
    _show(runner, 'evaluation/confusion', as_image(draw_confusion(confusion, classes)))
    path = osp.join(runner.work_dir, RARE_CLASS_FILE)
    if osp.isfile(path):
        with open(path, encoding='utf-8') as file:
            found = json.load(file)
        _show(runner, 'rare_class_sampling', as_image(draw_sampling(found)))


def _writers(runner):
    return [hook.writer for hook in runner.hooks if isinstance(hook, TensorboardLoggerHook)]


def _show(runner, tag, picture):
    for writer in _writers(runner):
        writer.add_image(tag, picture[..., ::-1], runner.iter + 1, dataformats='HWC')
