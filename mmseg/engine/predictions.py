"""Predictions as files: coloured pictures for the eye, id maps for benchmark servers."""

import hashlib
import json
import os.path as osp
from collections import Counter

import cityscapesscripts.helpers.labels as cityscapes_labels
import cv2
import numpy as np
from PIL import Image, PngImagePlugin

from mmseg.utils.files import moved_into_place
from mmseg.utils.image_files import DECODING_ERRORS, visible_files
from mmseg.utils.palette import color_label
from mmseg.utils.user_error import UserError

# Under this keyword PNGs keep which command made them, so that no other one mixes with them.
_ORIGIN_KEYWORD = 'origin'


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


def write_picture(picture, path, origin=None):
    """Write a BGR or grey picture, whole or not at all.

    Args:
        picture (np.ndarray): (H, W, 3) or (H, W) uint8.
        path (str): The target.
        origin (str | None): What a PNG keeps of how it was made, see :func:`origin_text`.

    Raises:
        UserError: If the path's ending names no picture format.
    """
    ending = osp.splitext(path)[1]
    if origin is not None and ending.lower() == '.png':
        rgb = picture[..., ::-1] if picture.ndim == 3 else picture
        # Several times as fast as Pillow's default, for slightly larger files.
        _save_png(Image.fromarray(np.ascontiguousarray(rgb)), path, origin, compress_level=1)
        return
    try:
        ok, encoded = cv2.imencode(ending, picture)
    except cv2.error:
        ok = False
    if not ok:
        raise UserError(f'{path}: no picture format ends in {ending!r}; use .png or .jpg.')
    with moved_into_place(path) as file:
        file.write(encoded.tobytes())


def write_id_map(label, path, to_label_id, palette, origin):
    """Write the PNG that a benchmark server takes.

    Args:
        label (np.ndarray): (H, W) train ids, uint8.
        path (str): Ends in ``.png``.
        to_label_id (bool): True for Cityscapes, which wants label ids; False keeps train ids, for
            ACDC and Dark Zurich.
        palette (list): RGB colour per train id, so that a viewer shows something.
        origin (str): Of the :class:`PredictionFolder`.
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
    _save_png(picture, path, origin, compress_level=6)


def _save_png(picture, path, origin, compress_level):
    texts = PngImagePlugin.PngInfo()
    texts.add_text(_ORIGIN_KEYWORD, origin)
    with moved_into_place(path) as file:
        picture.save(file, format='PNG', pnginfo=texts, compress_level=compress_level)


def origin_of(path):
    """What :func:`origin_text` gave for a PNG; None if it says nothing, or is no PNG."""
    try:
        # Image.open refuses images above 179 million pixels, which we write.
        with PngImagePlugin.PngImageFile(path) as picture:
            return picture.info.get(_ORIGIN_KEYWORD)
    except DECODING_ERRORS:
        return None


def origin_text(made_of):
    """What a PNG keeps of how it was made: a digest, since paths are not for others.

    Args:
        made_of (object): As JSON can hold it.
    """
    text = json.dumps(made_of, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class PredictionFolder:
    """A folder for one PNG per image of a data set, all of one command.

    Args:
        folder (str): Need not exist.
        names (list[str]): Of the images, relative to their folder.
        made_of (dict): What the predictions depend on, as JSON can hold it.
        keep_folders (bool): False writes all PNGs into ``folder`` itself, as benchmark servers want
            them, unless images in different folders have the same name.

    Attributes:
        paths (dict[str, str]): The PNG of each image.
        keeps_folders (bool): Whether PNGs are in the folders that their images are in.
        origin (str): What PNGs keep of ``made_of``.
    """

    def __init__(self, folder, names, made_of, keep_folders=True):
        self.folder = folder
        self.origin = origin_text(made_of)
        stems = {name: osp.splitext(name)[0] for name in names}
        if not keep_folders:
            base_names = Counter(osp.basename(stem) for stem in stems.values())
            keep_folders = max(base_names.values(), default=0) > 1
            if not keep_folders:
                stems = {name: osp.basename(stem) for name, stem in stems.items()}
        self.keeps_folders = keep_folders
        self.paths = {
            name: osp.normpath(osp.join(folder, f'{stem}.png')) for name, stem in stems.items()
        }

    def check_is_free(self, option):
        """Refuse to mix with, or to replace, what another command wrote.

        Args:
            option (str): Which chooses the folder, for the message.

        Raises:
            UserError: If the folder has PNGs that this command would not write, or that another one
                wrote.
        """
        mine = set(self.paths.values())
        found = visible_files(self.folder) if osp.isdir(self.folder) else []
        pngs = [osp.join(self.folder, name) for name in found if name.lower().endswith('.png')]
        others = [
            png for png in pngs
            if osp.normpath(png) not in mine or origin_of(png) != self.origin
        ]  # fmt: skip
        if others:
            raise UserError(
                f'{self.folder} holds {len(others)} PNG(s) of another data set, checkpoint, '
                f'network or way of testing, such as {others[0]}. Choose another folder with '
                f'{option}, or delete that one.'
            )
