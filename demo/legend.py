"""A legend of classes below a picture: colour, name and share of the pixels."""

import functools
import os.path as osp

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

_FONT = osp.join(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf')
_SMALLEST, _LARGEST = 12, 96  # height of the letters, pixels
_LONGEST_NAME = 40  # letters
_WHITE, _BLACK, _GREY = (255, 255, 255), (0, 0, 0), (128, 128, 128)


def with_legend(picture, label, classes, palette, of_all=False):
    """Put a legend below a picture.

    Letters grow with the picture, so that both can be read at once; they are at least 12 pixels
    high, and a picture that is narrower than one entry is widened with white.

    Args:
        picture (np.ndarray): (H, W, 3) BGR uint8.
        label (np.ndarray): Train ids (H, W).
        classes (Sequence[str]): Name per train id.
        palette (list): RGB colour per train id.
        of_all (bool): List all classes in their order, so that the size of the legend depends on
            that of the picture alone; or those that occur, the largest first.

    Returns:
        np.ndarray: (H + h, W or more, 3) BGR uint8.
    """
    counts = np.bincount(label.ravel(), minlength=len(classes))
    train_ids = np.arange(len(classes))
    if not of_all:
        present = np.flatnonzero(counts)
        train_ids = present[np.argsort(-counts[present], kind='stable')]
    names = [_shortened(classes[train_id]) for train_id in train_ids]
    shares = [_share(counts[train_id] / label.size) for train_id in train_ids]
    colors = [tuple(palette[train_id]) for train_id in train_ids]
    legend = _draw(picture.shape[1], list(zip(names, shares, colors, strict=True)))
    missing = legend.shape[1] - picture.shape[1]
    picture = np.pad(picture, ((0, 0), (0, missing), (0, 0)), constant_values=255)
    return np.concatenate([picture, legend[..., ::-1]])


def _shortened(name):
    return name if len(name) <= _LONGEST_NAME else f'{name[: _LONGEST_NAME - 1]}…'


def _share(share):
    percent = 100 * share
    return '< 0.1 %' if 0 < percent < 0.1 else f'{percent:.1f} %'


@functools.lru_cache(maxsize=4)
def _font(size):
    return ImageFont.truetype(_FONT, size)


def _draw(width, entries):
    """Draw entries (name, share, RGB colour) in columns, as a picture of a width or more, RGB."""
    size = min(max(round(width / 64), _SMALLEST), _LARGEST)
    font = _font(size)
    gap, line = size // 2, round(1.6 * size)
    name_width = max(round(font.getlength(name)) for name, _, _ in entries)
    # All shares have the same place, so that they do not jump about in a video.
    share_width = round(font.getlength('100.0 %'))
    column = line + name_width + gap + share_width + 3 * gap
    columns = min(max(1, (width - gap) // column), len(entries))
    rows = -(-len(entries) // columns)
    canvas = Image.new('RGB', (max(width, gap + column), rows * line + 2 * gap), _WHITE)
    draw = ImageDraw.Draw(canvas)
    for number, (name, share, color) in enumerate(entries):
        x, y = gap + number // rows * column, gap + number % rows * line
        draw.rectangle((x, y + line // 8, x + size, y + line // 8 + size), color, _GREY)
        middle = y + line // 8 + size / 2
        draw.text((x + line, middle), name, _BLACK, font, anchor='lm')
        right = x + line + name_width + gap + share_width
        draw.text((right, middle), share, _BLACK, font, anchor='rm')
    return np.asarray(canvas)
