"""What is in image and label files: sizes, ids, and whether they can be read to their end."""

import multiprocessing
import os.path as osp
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from mmseg.datasets.id_map import PNG_KEYWORD
from mmseg.datasets.readable import image_loader, read_image, unused_range
from mmseg.utils.image_files import DECODING_ERRORS
from mmseg.utils.user_error import UserError

SAMPLE_SIZE = 8
_NO_VERDICT = (UnidentifiedImageError, Image.DecompressionBombError)
# Linux only forks: a spawned process spends seconds on importing mmseg.
_CONTEXT = 'fork' if 'fork' in multiprocessing.get_all_start_methods() else None


@dataclass(frozen=True)
class Examined:
    """An image and its label.

    Attributes:
        image, label: Names relative to their folders; no label where none is needed or there.
        image_size, label_size: (width, height); None if unreadable.
        image_error, label_error: Why the file cannot be read; None if it can.
        pixels: Number of pixels by id in the label.
        id_map: That a converted label says it was made with; None if it says nothing.
        unused_range: Of an image, as :func:`unused_range` gives it.
    """

    image: str
    label: str | None
    image_size: tuple[int, int] | None = None
    label_size: tuple[int, int] | None = None
    image_error: str | None = None
    label_error: str | None = None
    pixels: dict[int, int] = field(default_factory=dict)
    id_map: str | None = None
    unused_range: int | None = None


def sample(pairs):
    """At most ``SAMPLE_SIZE`` of the pairs, evenly spread, the first and the last among them."""
    places = np.linspace(0, len(pairs) - 1, min(SAMPLE_SIZE, len(pairs)))
    return [pairs[int(place)] for place in places]


def examine(pairs, img_dir, ann_dir, nproc=1, load=None):
    """Decode images and labels.

    Args:
        pairs (list[tuple[str, str | None]]): Image and label relative to the folders.
        img_dir, ann_dir (str): The folders; ``ann_dir`` may be None if no pair has a label.
        nproc (int): Processes. On a terminal, a bar shows the progress if there is more to read
            than a sample.
        load (Callable | None): As :func:`read_image` takes it.

    Returns:
        list[Examined]: In the order of ``pairs``.
    """
    job = partial(_examine_pair, img_dir=img_dir, ann_dir=ann_dir, load=load or image_loader([]))
    if nproc == 1:
        return _collect(map(job, pairs), img_dir, len(pairs))
    with ProcessPoolExecutor(nproc, multiprocessing.get_context(_CONTEXT)) as pool:
        try:
            return _collect(pool.map(job, pairs, chunksize=8), img_dir, len(pairs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _collect(results, name, total):
    hidden = True if total <= SAMPLE_SIZE else None  # None: shown on a terminal
    return list(tqdm(results, str(name), total, unit='image', disable=hidden))


def _examine_pair(pair, img_dir, ann_dir, load):
    image, label = pair
    image_size, largest, image_error = _examine_image(osp.join(img_dir, image), load)
    label_size, pixels, id_map, label_error = None, {}, None, None
    if label is not None:
        found, error = _read(osp.join(ann_dir, label), _ids_of)
        label_size, pixels, id_map = found or (None, {}, None)
        label_error = _reason(error)
    return Examined(
        image, label, image_size, label_size, image_error, label_error, pixels, id_map, largest
    )


def _examine_image(path, load):
    """(width, height) as training sees it, its unused range, and why it cannot be read."""
    # OpenCV 4 takes what there is of a truncated JPEG; Pillow does not know all that OpenCV does.
    _, error = _read(path, lambda image: None)
    if error is not None and not isinstance(error, _NO_VERDICT):
        return None, None, _reason(error)
    try:
        image = read_image(path, load)
    except UserError:
        return None, None, _reason(error) or f'{load!r} cannot decode it'
    return image.shape[1::-1], unused_range(path, image, load), None


def _read(path, look):
    """What ``look`` finds in a decoded file and None, or None and why Pillow cannot decode it."""
    try:
        with Image.open(path) as image:
            image.load()  # to the end: the header of a truncated file looks well
            return look(image), None
    except DECODING_ERRORS as error:
        return None, error


def _reason(error):
    if isinstance(error, UnidentifiedImageError):
        return 'no image'
    return error and (getattr(error, 'strerror', None) or str(error))


def _ids_of(image):
    """(width, height) of a label, its pixels by id, and the id map that it says it is of."""
    return image.size, _count_ids(image), image.info.get(PNG_KEYWORD)


def _count_ids(image):
    ids = np.asarray(image)
    if ids.ndim != 2:
        what = 'transparency' if image.mode in ('LA', 'PA') else 'colours'
        raise ValueError(f'{what} ({image.mode}) instead of ids')
    if ids.dtype == np.uint8:  # nearly always, and much faster
        counts = np.bincount(ids.ravel())
        return {int(i): int(counts[i]) for i in np.flatnonzero(counts)}
    found, counts = np.unique(ids, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
