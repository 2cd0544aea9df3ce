"""Labels of any data set with an id map -> ``…_labelTrainIds.png``, one label at a time.

The map is kept in the PNG, as text, so that labels of another map or class list are known as such
and made again. So are the pixels that the map does not know.
"""

import contextlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from tools.convert_datasets.train_ids import (
    DECODING_ERRORS,
    IGNORE_INDEX,
    PNG_OPTIONS,
    LabelError,
    count_classes,
    is_finished,
    write_atomically,
)

UNKNOWN_KEYWORD = 'unknown_ids'
MOST_UNKNOWN = 50  # of one label: smooth edges in a coloured label have thousands of colours
REST = 'others'
_AFTER_HEADER = 8 + 25  # of a PNG: its signature and IHDR, of 13 bytes in 12
_ORIENTATION = 0x0112  # EXIF's tag; from 5 on width and height change places


@dataclass(frozen=True)
class OwnLabels:
    """How the labels of one data set become train ids. It travels to other processes.

    Attributes:
        train_ids: of each id, or of each colour as 0xRRGGBB.
        of_colors: whether labels are coloured.
        text, keyword: what train-id PNGs keep of the map, and under which keyword.
        label_dir, suffix: where labels are, and how their names end.
        train_ids_dir, train_ids_suffix: the same of train-id PNGs.
    """

    train_ids: dict[int, int]
    of_colors: bool
    text: str
    keyword: str
    label_dir: Path
    suffix: str
    train_ids_dir: Path
    train_ids_suffix: str

    def destination_of(self, label: Path) -> Path:
        name = label.relative_to(self.label_dir).as_posix()
        return self.train_ids_dir / (name.removesuffix(self.suffix) + self.train_ids_suffix)

    def convert(self, pair: tuple[Path, Path]) -> tuple[dict[int, int], dict[str, int]]:
        """Writes one label's train ids unless an earlier run has.

        Args:
            pair: the label and its image.

        Returns:
            The pixels of each class in it, and those of ids or colours that the map does not know.

        Raises:
            LabelError: it cannot be read, does not fit the map or its image, or would be written
                over a file of somebody else's.
        """
        label, picture = pair
        destination = self.destination_of(label)
        known = self._read_finished(label, destination)
        if known is not None:
            return known
        with _opened(label) as image:
            _check_size(label, image.size, picture)
            codes = self._codes(label, image)
        train_ids, unknown = self._mapped(codes)
        png = cv2.imencode('.png', train_ids, PNG_OPTIONS)[1].tobytes()
        texts = {self.keyword: self.text, UNKNOWN_KEYWORD: json.dumps(unknown)}
        write_atomically(destination, with_texts(png, texts))
        return count_classes(train_ids), unknown

    def _read_finished(self, label, destination):
        if not destination.exists():
            return None
        with _opened(destination) as image:
            if UNKNOWN_KEYWORD not in image.info:
                raise LabelError(
                    f'{destination} stands where the train ids of {label.name} go, and was not '
                    'made by this tool: move it away'
                )
            if image.info.get(self.keyword) != self.text or not is_finished(label, destination):
                return None
            return count_classes(np.asarray(image)), json.loads(image.info[UNKNOWN_KEYWORD])

    def _codes(self, label, image):
        """The id, or the colour as 0xRRGGBB, of each pixel: (H, W) of integers."""
        bands = [band for band in image.getbands() if band not in 'Aa']  # alpha says nothing
        if self.of_colors:
            if len(bands) == 1 and bands != ['P']:
                raise LabelError(
                    f'{label}: id_map has colours, but the image is grey (mode {image.mode}). Give '
                    'its ids instead: id_map=dict(road=7, ...)'
                )
            red, green, blue = np.moveaxis(np.asarray(image.convert('RGB'), np.int32), -1, 0)
            return red << 16 | green << 8 | blue
        if len(bands) > 1:
            raise LabelError(
                f'{label}: id_map has ids, but the image is coloured (mode {image.mode}). Give its '
                'RGB colours instead: id_map=dict(road=[[128, 64, 128]], ...)'
            )
        stored = np.asarray(image)
        stored = stored[..., 0] if stored.ndim == 3 else stored
        with np.errstate(invalid='ignore'):  # NaN is no id either
            ids = stored.astype(np.int64)
        if (ids != stored).any():
            raise LabelError(
                f'{label} holds {stored[ids != stored][0]}, but ids are whole numbers: write its '
                'classes as such'
            )
        return ids

    def _mapped(self, codes):
        """Train ids, uint8, of (H, W) codes, and the pixels of each unknown one."""
        keys = np.array(sorted(self.train_ids), np.int32)
        values = np.array([self.train_ids[key] for key in keys.tolist()], np.uint8)
        place = np.searchsorted(keys, codes).clip(max=len(keys) - 1)
        is_known = keys[place] == codes
        strange, counts = np.unique(codes[~is_known], return_counts=True)
        unknown = {
            f'#{strange[i]:06x}' if self.of_colors else str(strange[i]): int(counts[i])
            for i in np.argsort(-counts, kind='stable')[:MOST_UNKNOWN]
        }
        if len(strange) > MOST_UNKNOWN:
            unknown[REST] = int(counts.sum()) - sum(unknown.values())
        return np.where(is_known, values[place], np.uint8(IGNORE_INDEX)), unknown


def count_train_ids(label: Path, num_classes: int) -> dict[int, int]:
    """Counts the classes of a label that holds train ids already.

    Raises:
        LabelError: it cannot be read, or holds something else.
    """
    with _opened(label) as image:
        ids = np.asarray(image)
    with np.errstate(invalid='ignore'):
        fits = ids.ndim == 2 and (ids.astype(np.uint8) == ids).all()
    if not fits:
        raise LabelError(f'{label}: mode {image.mode} instead of train ids. Give an id_map.')
    counts = count_classes(ids.astype(np.uint8))
    strange = [train_id for train_id in counts if train_id >= num_classes]
    if strange:
        raise LabelError(
            f'{label} holds {", ".join(map(str, strange[:3]))}, which are neither 0..'
            f'{num_classes - 1} nor {IGNORE_INDEX}: these are no train ids. Give an id_map.'
        )
    return counts


def with_texts(png: bytes, texts: dict[str, str]) -> bytes:
    """Returns a PNG that holds texts (ASCII) by keyword, which OpenCV cannot write."""
    chunks = b''
    for keyword, text in texts.items():
        body = b'tEXt' + keyword.encode('latin-1') + b'\0' + text.encode('latin-1')
        chunks += (len(body) - 4).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)
    return png[:_AFTER_HEADER] + chunks + png[_AFTER_HEADER:]


def _check_size(label, size, picture):
    try:
        with _opened(picture) as image:
            turned = image.getexif().get(_ORIENTATION, 1) >= 5
            expected = image.size[::-1] if turned else image.size
    except LabelError as error:
        # OpenCV knows kinds of images that Pillow does not; the check before training sees those.
        if isinstance(error.__cause__, UnidentifiedImageError):
            return
        raise
    if size != expected:
        raise LabelError(
            f'{label} has {size[0]}×{size[1]} pixels, but its image {picture} '
            f'{expected[0]}×{expected[1]}: replace the one that is wrong'
        )


@contextlib.contextmanager
def _opened(path: Path):
    """A picture to read from; what goes wrong with its file is a ``LabelError`` that names it."""
    try:
        with Image.open(path) as image:
            yield image
    except LabelError:
        raise
    except DECODING_ERRORS as error:
        raise LabelError(f'{path}: cannot be read ({error})') from error
