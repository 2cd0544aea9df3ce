"""Predictions as images: coloured, beside the ground truth, and as id maps for servers."""

import hashlib
import json
import os.path as osp
from collections import Counter

import cityscapesscripts.helpers.labels as cityscapes_labels
import cv2
import numpy as np
from PIL import Image, PngImagePlugin

from mmseg.datasets.file_errors import read_image
from mmseg.utils.drawing import draw_panels, paint
from mmseg.utils.files import DECODING_ERRORS, atomic_write, visible_files
from mmseg.utils.user_error import UserError

_ORIGIN_KEYWORD = 'origin'  # of the texts in a PNG
_COUNT = 4
_PANEL_WIDTH = 512
_RED = (0, 0, 255)  # BGR


def write_image(image, path, origin=None):
    """Write an image (H, W, 3) BGR or (H, W) grey, uint8, in the format of the path's ending."""
    rgb = image[..., ::-1] if image.ndim == 3 else image
    # Several times as fast as Pillow's default compression, for slightly larger files.
    _save(Image.fromarray(np.ascontiguousarray(rgb)), path, origin, compress_level=1)


def write_id_map(label, path, to_label_id, palette, origin):
    """Write the PNG of train ids, or label ids as Cityscapes wants them, that a server takes."""
    ids = np.arange(256)
    if to_label_id:
        ids[:] = 0
        ids[: len(palette)] = [cityscapes_labels.trainId2label[i].id for i in range(len(palette))]
        label = ids.astype(np.uint8)[label]
    colors = np.zeros((256, 3), np.uint8)
    colors[ids[: len(palette)]] = palette
    image = Image.fromarray(label)
    image.putpalette(colors.tobytes())
    _save(image, path, origin, compress_level=6)


def write_confidence(levels, path, origin):
    """Write the PNG of confidences, whole numbers (H, W) uint16, as grey of 16 bits."""
    _save(Image.fromarray(levels), path, origin, compress_level=1)


def _save(image, path, origin, **options):
    ending = osp.splitext(path)[1]
    image_format = Image.registered_extensions().get(ending.lower())
    if image_format not in Image.SAVE:
        raise UserError(f'{path}: no image format ends in {ending!r}; use .png or .jpg.')
    if image_format == 'JPEG':
        options['quality'] = 95
    if origin is not None:
        options['pnginfo'] = PngImagePlugin.PngInfo()
        options['pnginfo'].add_text(_ORIGIN_KEYWORD, origin)
    with atomic_write(path) as file:
        image.save(file, format=image_format, **options)


def origin_of(path):
    """Read the origin that a PNG records; None if it has none, or is no PNG."""
    try:
        # Image.open refuses images above 179 million pixels, which we write.
        with PngImagePlugin.PngImageFile(path) as image:
            return image.info.get(_ORIGIN_KEYWORD)
    except DECODING_ERRORS:
        return None


class PredictionFolder:
    """A folder with one PNG per image of a data set (``paths``), all of one command.

    PNGs record ``origin``, a digest of what the predictions are made of. Without ``keep_folders``
    all lie in ``folder`` itself, unless images in different folders have the same name.
    """

    def __init__(self, folder, names, made_of, keep_folders=True):
        self.folder = folder
        text = json.dumps(made_of, sort_keys=True, default=str)
        self.origin = hashlib.sha256(text.encode()).hexdigest()
        stems = {name: osp.splitext(name)[0] for name in names}
        if not keep_folders:
            base_names = Counter(osp.basename(stem) for stem in stems.values())
            keep_folders = max(base_names.values(), default=0) > 1
            if not keep_folders:
                stems = {name: osp.basename(stem) for name, stem in stems.items()}
        self.paths = {
            name: osp.normpath(osp.join(folder, f'{stem}.png')) for name, stem in stems.items()
        }

    def check_is_free(self, option):
        """Refuse to mix with what another command wrote; ``option`` chooses the folder."""
        own = set(self.paths.values())
        found = visible_files(self.folder) if osp.isdir(self.folder) else []
        pngs = [osp.normpath(osp.join(self.folder, n)) for n in found if n.lower().endswith('.png')]
        others = [png for png in pngs if png not in own or origin_of(png) != self.origin]
        if others:
            raise UserError(
                f'{self.folder} holds PNGs of another test, such as {others[0]}. Choose another '
                f'folder with {option}, or delete that one.'
            )


def sample_indices(count):
    """Choose up to four evenly spaced images of ``count``; their indices ascend."""
    return np.linspace(0, count - 1, min(_COUNT, count)).round().astype(int).tolist()


def draw_sample(dataset, index, label, gt):
    """Draw an image of a data set, its true and predicted train ids and an error map; BGR uint8."""
    name = dataset.img_infos[index]['filename']
    image = read_image(osp.join(dataset.img_dir, name), dataset.load_image)
    ignored = gt == dataset.ignore_index
    wrong = (label != gt) & ~ignored
    ratio = wrong.sum() / max(1, (~ignored).sum())
    # Labels are drawn at the size of the panels: painting them is most of the work.
    height, width = label.shape
    size = (_PANEL_WIDTH, round(_PANEL_WIDTH * height / width))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    label, gt, ignored, wrong = (
        cv2.resize(array.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        for array in (label, gt, ignored, wrong)
    )
    error = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    error[wrong > 0] = _RED
    error[ignored > 0] = 0
    panels = [
        (f'Image {osp.basename(name)}', image),
        ('Ground truth', paint(gt, dataset.PALETTE)),
        ('Prediction', paint(label, dataset.PALETTE)),
        (f'Error: {ratio:.1%} of the pixels are wrong (red); black: ignored', error),
    ]
    return draw_panels([panels], _PANEL_WIDTH)
