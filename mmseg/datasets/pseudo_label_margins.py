"""Margins of target images whose pseudo-labels get no weight, wherever a crop lies in its image."""

import mmcv
import numpy as np

from mmseg.datasets.builder import PIPELINES


@PIPELINES.register_module()
class MarkMargins:
    """Adds ``valid_pseudo_mask``: 0 in the margins of an image, 1 elsewhere, 255 where padded.

    Comes right after the image is loaded; later transforms treat the mask as a label.

    Args:
        margins (list[float]): Top, bottom, left and right, of the image as it is on disk: whole
            numbers are pixels; numbers below 1 are fractions of its height or width.
    """

    def __init__(self, margins):
        self.margins = margins

    def __call__(self, results):
        height, width = results['ori_shape'][:2]  # resized_dir loads a smaller one
        sides = (height, height, width, width)
        top, bottom, left, right = (
            int(margin * side) if margin < 1 else margin
            for margin, side in zip(self.margins, sides, strict=True)
        )
        mask = np.zeros((height, width), np.uint8)
        mask[top : max(height - bottom, 0), left : max(width - right, 0)] = 1
        loaded = results['img'].shape[1::-1]
        results['valid_pseudo_mask'] = mmcv.imresize(mask, loaded, interpolation='nearest')
        results['seg_fields'].append('valid_pseudo_mask')
        return results
