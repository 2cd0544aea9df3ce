"""Predictions as files: coloured pictures for the eye, id maps for benchmark servers."""

import os.path as osp

import cityscapesscripts.helpers.labels as cityscapes_labels
import cv2
import numpy as np
from PIL import Image

from mmseg.utils.files import moved_into_place
from mmseg.utils.palette import color_label
from mmseg.utils.user_error import UserError


def paint(label, palette, image=None, opacity=1.0):
    """Colour a label, over its image if there is one.

    Args:
        label (np.ndarray): (H, W) train ids; ids beyond the palette become black.
        palette (list): RGB colour per train id.
        image (np.ndarray | None): (H, W, 3) BGR uint8.
        opacity (float): Of the colours over the image, in (0, 1].

    Returns:
        np.ndarray: (H, W, 3) BGR uint8.
    """
    painted = color_label(label, palette)[..., ::-1]
    if image is None or opacity == 1:
        return painted
    return cv2.addWeighted(painted, opacity, image, 1 - opacity, 0)


def write_picture(picture, path):
    """Write a BGR picture, whole or not at all.

    Raises:
        UserError: If the path's ending names no picture format.
    """
    ending = osp.splitext(path)[1]
    try:
        ok, encoded = cv2.imencode(ending, picture)
    except cv2.error:
        ok = False
    if not ok:
        raise UserError(f'{path}: no picture format ends in {ending!r}; use .png or .jpg.')
    with moved_into_place(path) as file:
        file.write(encoded.tobytes())


def write_id_map(label, path, to_label_id, palette):
    """Write the PNG that a benchmark server takes.

    Args:
        label (np.ndarray): (H, W) train ids, uint8.
        path (str): Ends in ``.png``.
        to_label_id (bool): True for Cityscapes, which wants label ids; False keeps train ids, for
            ACDC and Dark Zurich.
        palette (list): RGB colour per train id, so that a viewer shows something.
    """
    ids = label
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = palette
    if to_label_id:
        table = np.zeros(256, np.uint8)
        label_colors = np.zeros_like(colors)
        for train_id in range(len(palette)):
            entry = cityscapes_labels.trainId2label[train_id]
            table[train_id] = entry.id
            label_colors[entry.id] = entry.color
        ids, colors = table[label], label_colors
    picture = Image.fromarray(ids)
    picture.putpalette(colors.tobytes())
    with moved_into_place(path) as file:
        picture.save(file, format='PNG')
