"""Colouring labels, and colours for classes that come without."""

import numpy as np

_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)  # pixels without a class; paper


def color_label(label, palette):
    """Paint train ids.

    Args:
        label (np.ndarray): (H, W) train ids.
        palette (list): RGB colour per train id; ids beyond it become black.

    Returns:
        np.ndarray: (H, W, 3) RGB uint8.
    """
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = palette
    return colors[label.astype(np.uint8)]


def distinct_palette(count):
    """Colours that can be told apart: each is as far from all before it as the RGB cube allows.

    Args:
        count (int): Of classes, at most 255.

    Returns:
        list[list[int]]: ``count`` RGB colours, the first ones the same whatever the count; none is
        black, which stands for pixels without a class.
    """
    levels = np.linspace(0, 255, 7).round()
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing='ij'), axis=-1).reshape(-1, 3)
    colors = []
    nearest = np.minimum(*(np.linalg.norm(cube - taken, axis=1) for taken in (_BLACK, _WHITE)))
    for _ in range(count):
        color = cube[nearest.argmax()]
        colors.append([int(channel) for channel in color])
        nearest = np.minimum(nearest, np.linalg.norm(cube - color, axis=1))
    return colors
