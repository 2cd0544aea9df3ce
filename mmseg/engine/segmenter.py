"""Trained networks in Python: load one, segment images, train on (docs/python.md)."""

import os
import os.path as osp
import signal
import sys
import threading
from typing import NamedTuple

import numpy as np

from mmseg.datasets.file_errors import image_loader
from mmseg.engine.checkpoint import last_checkpoint
from mmseg.engine.config import load_config
from mmseg.engine.data_sets import first_named
from mmseg.engine.distributed import choose_device, init_distributed, main_process_first
from mmseg.engine.given_images import ORDERS, as_bgr, each_image, is_folder, is_path, is_single
from mmseg.engine.predict import predict_images
from mmseg.engine.run import read_run, train_run
from mmseg.engine.trained import load_trained
from mmseg.utils import drawing
from mmseg.utils.user_error import UserError


def load(
    checkpoint, config=None, device=None, weights='student', channel_order='rgb', overrides=None
):
    """Load a trained network.

    Args:
        checkpoint (str): A run's, or a published one.
        config (str | None): A config file, for checkpoints that hold none.
        device (str | None): As ``--device``: ``'cuda:1'``; None takes a GPU if there is one.
        weights (str): ``'student'`` or ``'teacher'``.
        channel_order (str): Of arrays, given and returned: ``'rgb'``, or ``'bgr'`` as OpenCV's.
        overrides (dict | None): Keys of the config, dotted or nested, to values.

    Returns:
        Segmenter: Call it with images.
    """
    for name, value, choices in (
        ('weights', weights, ('student', 'teacher')),
        ('channel_order', channel_order, ORDERS),
    ):
        if value not in choices:
            raise UserError(f'{name}={value!r} has to be {choices[0]!r} or {choices[1]!r}.')
    checkpoint, device = os.fspath(checkpoint), choose_device(device)
    cfg = None if config is None else load_config(os.fspath(config), overrides)
    model = load_trained(cfg, checkpoint, device, weights, overrides)
    return Segmenter(model, checkpoint, device, weights, channel_order)


def train(config, work_dir=None, device=None, channel_order='rgb', **overrides):
    """Train a config; return its student as :func:`load` does. See :meth:`Segmenter.fit`."""
    checkpoint = _train(config, work_dir, device, overrides)
    return load(checkpoint, device=device, channel_order=channel_order)


class Prediction(NamedTuple):
    """What :meth:`Segmenter.stream` finds in an image."""

    name: str | int  # path of a file; of other images their number, from 0
    image: np.ndarray  # (H, W, 3) uint8 in the segmenter's channel order
    labels: np.ndarray  # (H, W) uint8 train ids: places in the list of classes
    confidence: np.ndarray | None  # (H, W) float32 probability of what is predicted


class Segmenter:
    """A trained network that segments images and can be trained further.

    Args:
        model (EncoderDecoder): As :func:`load_trained` returns it.
        checkpoint (str): Where its weights are from.
        device (torch.device): Where it is.
        weights (str): ``'student'`` or ``'teacher'``.
        channel_order (str): ``'rgb'`` or ``'bgr'``: of arrays, given and returned.

    Attributes:
        config (mmcv.Config): Of the run.
        classes (list[str]): Names by train id.
        palette (list): RGB colours by train id.
        iteration (int | None): How long it was trained.
    """

    def __init__(self, model, checkpoint, device, weights='student', channel_order='rgb'):
        self.device, self.weights, self.channel_order = device, weights, channel_order
        self._hold(model, checkpoint)

    def __call__(self, images, confidence=False):
        """Segment images of any size.

        Args:
            images: A path, an array (H, W, 3) of uint8 or an image of PIL; several of these (a
                list, or another iterable); or a folder, for all images below it.
            confidence (bool): Return the probability of what is predicted, too.

        Returns:
            Train ids (H, W) uint8, or a pair of them and their probabilities (H, W) float32. A list
            of these of several images, in their order; a dict by path of a folder.
        """
        found = {}
        for number, each in enumerate(self.stream(images, confidence)):
            key = each.name if is_folder(images) else number
            found[key] = (each.labels, each.confidence) if confidence else each.labels
        if is_folder(images):
            return found
        return found[0] if is_single(images) else list(found.values())

    def stream(self, images, confidence=False, skip=None):
        """Segment image by image, while the next one is read: for more than memory holds.

        Args:
            images: As for a call.
            confidence (bool): As for a call.
            skip (callable | None): Called with the name of each image that cannot be read and the
                :class:`UserError`; None raises that.

        Returns:
            iterator[Prediction]: In the images' order.
        """
        pairs = self._read(each_image(images), skip)
        return (
            Prediction(name, self._in_order(image), labels, probabilities)
            for name, image, labels, probabilities in predict_images(self.model, pairs, confidence)
        )

    def paint(self, labels, image=None, opacity=0.5):
        """Colour train ids (H, W), over their image if it is given; gives (H, W, 3) uint8.

        Args:
            labels (np.ndarray): Of a call.
            image: As for a call, a single one.
            opacity (float): Of the colours over the image.
        """
        if image is not None:
            image = as_bgr(image, self.channel_order, self._load_file)
            if image.shape[:2] != labels.shape:
                raise UserError(f'labels {labels.shape} are not of an image {image.shape[:2]}.')
        return self._in_order(drawing.paint(labels, self.palette, image, opacity))

    def fit(self, config, work_dir=None, **overrides):
        """Train a config from this network's weights, and hold the result.

        As ``tools/train.py CONFIG --load-from CHECKPOINT``: checks, logs, evaluations, checkpoints.
        The same call again resumes. Ctrl-C saves the state first, and leaves this object as it was.

        Args:
            config (str | mmcv.Config): A config file, or such as :attr:`config`.
            work_dir (str | None): Folder of the run; None takes the config's, or work_dirs/NAME.
            **overrides: Settings over the config's, as in a config that has it as its ``_base_``:
                ``seed=1, runner=dict(max_iters=2000)``.

        Returns:
            Segmenter: This one.
        """
        if self.weights == 'teacher':
            raise UserError(
                "fit starts from a student, and this is a teacher: load with weights='student', or "
                'publish the teacher (tools/publish_model.py --weights teacher) and load that.'
            )
        checkpoint = _train(config, work_dir, self.device, overrides, start=self)
        self._hold(load_trained(None, checkpoint, self.device), checkpoint)
        return self

    def _hold(self, model, checkpoint):
        self.model, self.checkpoint = model, checkpoint
        self.config, self.iteration = model.cfg, model.iteration
        self.classes, self.palette = list(model.CLASSES), model.PALETTE
        self._load_file = image_loader(first_named(self.config.data.test).pipeline)

    def _read(self, images, skip):
        for number, image in enumerate(images):
            name = os.fspath(image) if is_path(image) else number
            try:
                array = as_bgr(image, self.channel_order, self._load_file, f'image {number}')
            except UserError as error:
                if skip is None:
                    raise
                skip(name, error)
                continue
            yield name, array

    def _in_order(self, image):
        return np.ascontiguousarray(image[..., ::-1]) if self.channel_order == 'rgb' else image


def _train(config, work_dir, device, overrides, start=None):
    """Train a run to its end; return the path of its last checkpoint."""
    if threading.current_thread() is not threading.main_thread():
        raise UserError('training needs the main thread, where signals that stop it arrive.')
    config = os.fspath(config) if is_path(config) else config
    work_dir = None if work_dir is None else os.fspath(work_dir)
    if start is not None:
        overrides = overrides | {'load_from': start.checkpoint}
    with init_distributed(device) as device:
        cfg = read_run(config, work_dir, overrides)
        if start is not None and _is_trained_in(start, cfg.work_dir):
            cfg.load_from = start.config.get('load_from')  # it resumes what began from there
        stopped_by = train_run(cfg, device)
        # The others must not read the checkpoint before rank 0 has written it.
        with main_process_first():
            pass
    if stopped_by == signal.SIGINT:
        raise KeyboardInterrupt
    if stopped_by is not None:
        sys.exit(128 + stopped_by)
    return last_checkpoint(cfg.work_dir, cfg.runner.max_iters)


def _is_trained_in(segmenter, work_dir):
    return osp.realpath(osp.dirname(segmenter.checkpoint)) == osp.realpath(work_dir)
