"""The test pipeline of a config for pictures in memory, of any size."""

import cv2
import numpy as np
import torch
from mmcv.parallel import DataContainer

from mmseg.datasets.pipelines import Compose
from mmseg.datasets.readable import image_loader, is_image_loader
from mmseg.utils.user_error import UserError

# Longer ones would be resized to a side of 0 pixels.
_LONGEST = 32  # long side : short side
# An encoder halves its input five times, and MiT reduces the keys of its attention by 8 at a
# quarter of the input size; it cannot take less.
_SMALLEST = 32  # pixels


class PicturePipeline:
    """Makes samples of pictures, as ``data.test.pipeline`` does of files.

    Very long pictures are continued at their right or lower edge by copies of the last column or
    row, until they are 32 times as long as wide; network inputs of less than 32 pixels likewise.
    Predictions then have to be cut to the picture's size.

    Args:
        cfg (mmcv.Config): Of the run.

    Attributes:
        load (Callable): The pipeline's transform that loads images, for :func:`read_image`.

    Raises:
        UserError: The pipeline does not begin with loading a colour image.
    """

    def __init__(self, cfg):
        load, *transforms = cfg.data.test.pipeline
        if not is_image_loader(load) or load.get('color_type', 'color') != 'color':
            raise UserError(
                'data.test.pipeline has to begin with LoadImageFromFile for colour images.'
            )
        self.load = image_loader([load])
        self.dtype = np.float32 if load.get('to_float32') else np.uint8
        self.transforms = Compose(transforms)

    def __call__(self, picture, name):
        """Prepare a picture.

        Args:
            picture (np.ndarray): (H, W, 3) BGR uint8.
            name (str): For the sample's meta.

        Returns:
            dict: ``img`` and ``img_metas``, lists over the versions of the picture.
        """
        picture = _not_too_long(picture).astype(self.dtype, copy=False)
        # What LoadImageFromFile leaves behind.
        sample = self.transforms(
            dict(
                filename=name,
                ori_filename=name,
                img=picture,
                img_shape=picture.shape,
                ori_shape=picture.shape,
                pad_shape=picture.shape,
                scale_factor=1.0,
                img_norm_cfg=dict(mean=np.zeros(3), std=np.ones(3), to_rgb=False),
            )
        )
        return dict(sample, img=[_not_too_small(img) for img in sample['img']])


def _not_too_long(picture):
    height, width = picture.shape[:2]
    below = max(0, -(-width // _LONGEST) - height)
    right = max(0, -(-height // _LONGEST) - width)
    if not below and not right:
        return picture
    return cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REPLICATE)


def _not_too_small(img):
    """Continue a network input (3, h, w); what is added is padding, which is cut off later."""
    if isinstance(img, DataContainer):
        return DataContainer(_not_too_small(img.data), stack=img.stack)
    below, right = (max(0, _SMALLEST - side) for side in img.shape[-2:])
    if not below and not right:
        return img
    return torch.nn.functional.pad(img[None], (0, right, 0, below), mode='replicate')[0]
