"""Colouring labels."""

import numpy as np


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
