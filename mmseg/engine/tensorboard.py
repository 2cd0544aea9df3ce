"""Images of a run in TensorBoard, beside mmcv's scalars."""

import json
import os.path as osp

from mmcv.runner.hooks import Hook
from mmcv.runner.hooks.logger import TensorboardLoggerHook
from tensorboard.compat.proto.event_pb2 import Event, SessionLog

from mmseg.datasets.file_errors import read_image
from mmseg.engine.logs import RARE_CLASS_FILE
from mmseg.models.uda.debug_images import debug_image
from mmseg.utils.drawing import as_image, draw_confusion, draw_sampling


class TensorboardImages(Hook):
    """Shows what an iteration mixed, as it has left it in the run's folder."""

    def after_train_iter(self, runner):
        interval = runner.model.debug_img_interval
        if runner.rank > 0 or not interval or runner.iter % interval:
            return
        # Those of this rank: the others may not have written theirs yet.
        for number in range(runner.outputs['num_samples']):
            path = debug_image(runner.work_dir, runner.iter + 1, number)
            if osp.isfile(path):
                _show(runner, f'class_mix/{number}', read_image(path))


def purge_after_resume(runner):
    """Tell TensorBoard, which only appends, to hide what came after a runner's iteration."""
    for hook in runner.hooks:
        if isinstance(hook, TensorboardLoggerHook):
            start = Event(session_log=SessionLog(status=SessionLog.START))
            hook.writer.file_writer.add_event(start, runner.iter + 1)


def show_evaluation(runner, dataset_name, images, confusion, classes):
    """Show images (number to BGR uint8) and the confusion matrix of a data set, on rank 0."""
    if not _writers(runner):
        return
    folder = f'evaluation/{dataset_name}' if dataset_name else 'evaluation'
    for number, image in sorted(images.items()):
        _show(runner, f'{folder}/{number}', image)
    _show(runner, f'{folder}/confusion', as_image(draw_confusion(confusion, classes)))


def show_sampling(runner):
    """Show what Rare Class Sampling should draw and drew so far, where it is on."""
    path = osp.join(runner.work_dir, RARE_CLASS_FILE)
    if osp.isfile(path) and _writers(runner):
        with open(path, encoding='utf-8') as file:
            found = json.load(file)
        _show(runner, 'rare_class_sampling', as_image(draw_sampling(found)))


def _writers(runner):
    return [hook.writer for hook in runner.hooks if isinstance(hook, TensorboardLoggerHook)]


def _show(runner, tag, image):
    for writer in _writers(runner):
        writer.add_image(tag, image[..., ::-1], runner.iter + 1, dataformats='HWC')
