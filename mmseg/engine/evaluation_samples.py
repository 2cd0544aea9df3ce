"""A few images of a validation set as pictures: what is true, what was predicted, what is wrong."""

import os.path as osp

import cv2
import numpy as np

from mmseg.datasets.readable import read_image
from mmseg.engine.predictions import paint
from mmseg.utils.panels import draw_panels

EVALUATION_FOLDER = 'evaluation'  # in the run's
_COUNT = 4
_PANEL_WIDTH = 512
_RED = (0, 0, 255)  # BGR


def evaluation_stem(work_dir, iteration):
    """Path of what an evaluation leaves in a run's folder, without ``.json`` or ``_K.png``.

    The ``.json`` is written last: if it is missing, so is the evaluation.
    """
    return osp.join(work_dir, EVALUATION_FOLDER, f'iter_{iteration:06d}')


def sample_indices(count):
    """Which images are shown: four, or all if there are fewer, evenly spaced.

    Args:
        count (int): Images of the data set, above 0.

    Returns:
        list[int]: In ascending order.
    """
    return np.linspace(0, count - 1, min(_COUNT, count)).round().astype(int).tolist()


def draw_sample(dataset, index, label, truth):
    """Image, truth, prediction and error side by side.

    Args:
        dataset (CustomDataset): Knows the image file and the colours.
        index (int): Of the image.
        label (np.ndarray): Predicted train ids (H, W) uint8.
        truth (np.ndarray): True ones.

    Returns:
        np.ndarray: BGR uint8. In the error map wrong pixels are red, over a grey version of the
        image, and ignored ones black.
    """
    name = dataset.img_infos[index]['filename']
    image = read_image(osp.join(dataset.img_dir, name), dataset.load_image)
    ignored = truth == dataset.ignore_index
    wrong = (label != truth) & ~ignored
    share = wrong.sum() / max(1, (~ignored).sum())
    # Labels are drawn at the size of the panels: painting them is most of the work.
    height, width = label.shape
    size = (_PANEL_WIDTH, round(_PANEL_WIDTH * height / width))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    label, truth, ignored, wrong = (
        cv2.resize(map_.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        for map_ in (label, truth, ignored, wrong)
    )
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    error = np.repeat(grey[..., None], 3, axis=2)
    error[wrong > 0] = _RED
    error[ignored > 0] = 0
    panels = [
        (f'Image {osp.basename(name)}', image),
        ('Truth', paint(truth, dataset.PALETTE)),
        ('Prediction', paint(label, dataset.PALETTE)),
        (f'Error: {share:.1%} of the pixels are wrong (red); black: ignored', error),
    ]
    return draw_panels([panels], _PANEL_WIDTH)
