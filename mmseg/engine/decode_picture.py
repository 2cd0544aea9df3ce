"""Decoding picture files of any kind to what networks take: 8 bits, three channels, upright."""

import io

import cv2
import numpy as np
from PIL import Image, ImageOps

from mmseg.utils.user_error import UserError

# What OpenCV prints about a damaged file names no file; the error raised here does.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_PNG_START, _PNG_END = b'\x89PNG', b'IEND'
# How many bits cameras fill of the 16 that a file has for them.
_DEPTHS = (8, 10, 12, 14, 16)


def decode_picture(content, name):
    """Decode a picture: OpenCV does, as for training, and Pillow what OpenCV does not know.

    The picture is turned as its EXIF orientation says. Grey becomes three equal channels, palettes
    their colours, and of an animation the first frame is taken. Alpha is dropped, as in training:
    a transparent pixel has the colour that is stored for it. For 16 bits see :func:`to_8_bits`.

    Args:
        content (bytes): Of the file.
        name (str): For messages.

    Returns:
        np.ndarray: (H, W, 3) BGR uint8.

    Raises:
        UserError: It is no picture, a damaged one, or of floating-point numbers.
    """
    # libpng would print a line of its own before it gives up.
    is_cut_off = content.startswith(_PNG_START) and _PNG_END not in content
    picture = None
    if content and not is_cut_off:
        picture = _by_opencv(content)
        if picture is None:
            picture = _by_pillow(content)
    if picture is None:
        raise UserError(f'{name} cannot be read as a picture: it is damaged, or none.')
    if picture.dtype.kind == 'f':
        raise UserError(f'{name} holds floating-point numbers; make it a picture of 8 or 16 bits.')
    if picture.dtype != np.uint8:
        picture = to_8_bits(picture)
    return picture if picture.ndim == 3 else cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)


def to_8_bits(picture):
    """Scale a picture of more than 8 bits, so that its white becomes 255.

    White is the largest number of 8, 10, 12, 14 or 16 bits, whichever first holds all of the
    picture's numbers: many files of 16 bits hold a sensor's 12, and would be nearly black.

    Args:
        picture (np.ndarray): Of non-negative integers, any shape.

    Returns:
        np.ndarray: The same shape, uint8.
    """
    largest = int(picture.max())
    white = next((2**bits - 1 for bits in _DEPTHS if largest < 2**bits), largest)
    if white > 0xFFFF:
        return np.round(picture * (255 / white)).astype(np.uint8)
    # As a table it takes no float copy of a large picture.
    table = np.round(np.arange(white + 1) * (255 / white)).astype(np.uint8)
    return table[picture]


def _by_opencv(content):
    """Decode to BGR of 8, 16 or 32 bits; None if OpenCV cannot."""
    try:
        return cv2.imdecode(
            np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH
        )
    except cv2.error:
        return None


def _by_pillow(content):
    """Decode to BGR, or to grey of more than 8 bits; None if Pillow cannot."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode[0] in 'IF':
                return np.asarray(image).clip(min=0)
            return np.asarray(image.convert('RGB'))[..., ::-1].copy()
    except Exception:  # damaged files raise whatever the decoder trips over
        return None
