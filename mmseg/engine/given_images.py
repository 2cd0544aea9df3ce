"""What a caller gives as images: files, folders, arrays, PIL's images, and several of them."""

import os
import os.path as osp

import numpy as np
from PIL import Image

from mmseg.datasets.file_errors import read_image
from mmseg.utils.files import images_below
from mmseg.utils.user_error import UserError

ORDERS = ('rgb', 'bgr')
_FORMS = 'a path, an array (H, W, 3) of uint8 or an image of PIL'


def is_path(images):
    """Whether something is a path, of an image or a folder."""
    return isinstance(images, str | os.PathLike)


def is_folder(images):
    """Whether something is the path of a folder."""
    return is_path(images) and osp.isdir(images)


def is_single(images):
    """Whether something is one image, not several of them."""
    return isinstance(images, np.ndarray | Image.Image) or (
        is_path(images) and not is_folder(images)
    )


def each_image(images):
    """Return an iterable over the images: of one, of a folder (all below it), or of an iterable."""
    if is_single(images):
        return [images]
    if is_folder(images):
        paths = images_below(os.fspath(images))
        if not paths:
            raise UserError(f'no images in {images}.')
        return paths
    try:
        return iter(images)
    except TypeError as error:
        raise UserError(f'{type(images).__name__}: an image is {_FORMS}.') from error


def as_bgr(image, order, load, name='the image'):
    """Return an image (H, W, 3) BGR uint8.

    Args:
        image (str | PathLike | np.ndarray | PIL.Image.Image): The image.
        order (str): Of an array's channels, ``'rgb'`` or ``'bgr'``.
        load (callable): Of :func:`image_loader`, for files.
        name: What messages call an image that is not a file.
    """
    if is_folder(image):
        raise UserError(f'{image} is a folder: give it alone, not among images.')
    if is_path(image):
        return read_image(os.fspath(image), load)
    if isinstance(image, Image.Image):
        # Pillow would clip these to 255 instead of scaling them.
        if image.mode.startswith(('I', 'F')):
            raise UserError(f'{name} has mode {image.mode}: make it 8 bits per channel.')
        return np.asarray(image.convert('RGB'))[..., ::-1]
    if not isinstance(image, np.ndarray):
        raise UserError(f'{name} is a {type(image).__name__}: an image is {_FORMS}.')
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise UserError(
            f'{name} has the shape {image.shape}: an array has (H, W, 3); several are a list.'
        )
    if image.dtype != np.uint8:
        raise UserError(f'{name} has the dtype {image.dtype}: an array is uint8, from 0 to 255.')
    return image[..., ::-1] if order == 'rgb' else image
