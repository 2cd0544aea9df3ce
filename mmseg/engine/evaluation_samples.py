"""A few images of a validation set beside their ground truth, prediction and errors."""

import os.path as osp

import cv2
import numpy as np

from mmseg.datasets.readable import read_image
from mmseg.utils.drawing import draw_panels, paint

_COUNT = 4
_PANEL_WIDTH = 512
_RED = (0, 0, 255)  # BGR


def sample_indices(count):
    """Choose up to four evenly spaced images of ``count``; their indices ascend."""
    return np.linspace(0, count - 1, min(_COUNT, count)).round().astype(int).tolist()


def draw_sample(dataset, index, label, truth):
    """Draw image, ground truth, prediction and error map side by side.

    In the error map wrong pixels are red, over the grey image, and ignored ones black.

    Args:
        dataset (CustomDataset): Knows the image file and the colours.
        index (int): Index of the image.
        label, truth (np.ndarray): Predicted and true train ids (H, W), uint8.

    Returns:
        np.ndarray: BGR uint8.
    """
    name = dataset.img_infos[index]['filename']
    image = read_image(osp.join(dataset.img_dir, name), dataset.load_image)
    ignored = truth == dataset.ignore_index
    wrong = (label != truth) & ~ignored
    ratio = wrong.sum() / max(1, (~ignored).sum())
    # Labels are drawn at the size of the panels: painting them is most of the work.
    height, width = label.shape
    size = (_PANEL_WIDTH, round(_PANEL_WIDTH * height / width))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    label, truth, ignored, wrong = (
        cv2.resize(array.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        for array in (label, truth, ignored, wrong)
    )
    error = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    error[wrong > 0] = _RED
    error[ignored > 0] = 0
    panels = [
        (f'Image {osp.basename(name)}', image),
        ('Ground truth', paint(truth, dataset.PALETTE)),
        ('Prediction', paint(label, dataset.PALETTE)),
        (f'Error: {ratio:.1%} of the pixels are wrong (red); black: ignored', error),
    ]
    return draw_panels([panels], _PANEL_WIDTH)
