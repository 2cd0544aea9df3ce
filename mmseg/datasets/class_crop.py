"""Redraws a crop until it holds enough of a class, looking at the label alone.

The draws are those of MMSegmentation's ``RandomCrop``, called again and again: from the same state
of numpy's global generator comes the same crop. But the pixels of a crop are counted once for both
questions that are asked of them, without sorting them, and nothing is cut before the crop is found.
"""

import numpy as np

from mmseg.datasets.pipelines.transforms import RandomCrop

MAX_CROP_REDRAWS = 10
_BALANCING_REDRAWS = 10  # of RandomCrop


def crop_with_class(random_crop, results, class_id, min_pixels):
    """Crop image and label where the label has more than ``min_pixels`` of a class.

    Args:
        random_crop (RandomCrop): Draws crops, and says how large and how balanced they are.
        results (dict): Of the pipeline so far: uint8 ``img`` (H, W, 3) and ``gt_semantic_seg``
            (H, W), among others.
        class_id (int): The class.
        min_pixels (float): After ``MAX_CROP_REDRAWS`` redraws the last crop stays.

    Returns:
        dict: ``results`` with crops.
    """
    for _ in range(1 + MAX_CROP_REDRAWS):
        box, counts = _balanced_box(random_crop, results['img'], results['gt_semantic_seg'])
        if counts[class_id] > min_pixels:
            break
    return _CropAt(box)(results)


def _balanced_box(random_crop, image, label):
    """What ``random_crop`` would choose: (y1, y2, x1, x2), and its pixels of each id, (256,)."""
    box, counts = _draw(random_crop, image, label)
    if random_crop.cat_max_ratio < 1:
        counted = np.arange(len(counts)) != random_crop.ignore_index
        for _ in range(_BALANCING_REDRAWS):
            classes = counts[counted & (counts > 0)]
            if len(classes) > 1 and classes.max() / classes.sum() < random_crop.cat_max_ratio:
                break
            box, counts = _draw(random_crop, image, label)
    return box, counts


def _draw(random_crop, image, label):
    box = random_crop.get_crop_bbox(image)
    return box, np.bincount(random_crop.crop(label, box).ravel(), minlength=256)


class _CropAt(RandomCrop):
    """Crops there, and draws nothing."""

    def __init__(self, box):
        y1, y2, x1, x2 = box
        super().__init__((y2 - y1, x2 - x1))
        self.box = box

    def get_crop_bbox(self, _):
        return self.box
