"""Writes scenes as the real data sets are written.

GTA has palette PNGs, Cityscapes polygons, and ACDC train ids.
"""

import io
import json
from pathlib import Path

import numpy as np
from cityscapesscripts.helpers.labels import id2label, name2label
from PIL import Image, ImageDraw

from tools.convert_datasets.gta import TRAIN_ID_TABLE
from tools.convert_datasets.train_ids import as_png, write_atomically
from tools.street_scenes.paint import Picture

CITIES = {'train': ('arlen', 'brackwede', 'corvin'), 'val': ('dunmore',)}
DRIVES = {'train': ('0101', '0102', '0103'), 'val': ('0201',)}  # numbers of ACDC's sequences


def gta_paths(root: Path, index: int) -> tuple[Path, Path]:
    """Returns where image and label of source scene ``index`` go; GTA counts from 1."""
    name = f'{index + 1:05d}.png'
    return root / 'gta' / 'images' / name, root / 'gta' / 'labels' / name


def cityscapes_paths(root: Path, split: str, index: int) -> tuple[Path, Path]:
    """Returns where image and annotation of scene ``index`` of a split go."""
    city = CITIES[split][index % len(CITIES[split])]
    stem = f'{city}_{index // len(CITIES[split]):06d}_000019'
    folder = root / 'cityscapes'
    return (
        folder / 'leftImg8bit' / split / city / f'{stem}_leftImg8bit.png',
        folder / 'gtFine' / split / city / f'{stem}_gtFine_polygons.json',
    )


def acdc_paths(root: Path, condition: str, split: str, index: int) -> tuple[Path, Path]:
    """Returns where image and label of scene ``index`` of a condition's split go."""
    drives = DRIVES[split]
    sequence = f'{condition.upper()}{drives[index % len(drives)]}'
    below = Path(condition, split, sequence)
    stem = f'{sequence}_frame_{index // len(drives) + 1:06d}'
    folder = root / 'acdc'
    return (
        folder / 'rgb_anon' / below / f'{stem}_rgb_anon.png',
        folder / 'gt' / below / f'{stem}_gt_labelTrainIds.png',
    )


def label_ids(picture: Picture) -> np.ndarray:
    """Returns the label ids, uint8 (H, W), that painting the polygons in order gives."""
    height, width = picture.owner.shape
    canvas = Image.new('L', (width, height), name2label['unlabeled'].id)
    draw = ImageDraw.Draw(canvas)
    for label, polygon in picture.objects:
        draw.polygon([tuple(point) for point in polygon], fill=name2label[label].id)
    return np.asarray(canvas)


def write_gta(picture: Picture, image_path: Path, label_path: Path) -> None:
    """Writes an image and its label, a palette PNG of label ids; the label last."""
    label = Image.fromarray(label_ids(picture))
    label.putpalette(
        [c for i in range(256) for c in (id2label[i].color if i in id2label else (0,) * 3)]
    )
    _write(image_path, _png(Image.fromarray(picture.image)))
    _write(label_path, _png(label))


def write_cityscapes(picture: Picture, image_path: Path, annotation_path: Path) -> None:
    """Writes an image and its polygons; the polygons last."""
    height, width = picture.owner.shape
    objects = [{'label': label, 'polygon': polygon} for label, polygon in picture.objects]
    annotation = {'imgHeight': height, 'imgWidth': width, 'objects': objects}
    _write(image_path, _png(Image.fromarray(picture.image)))
    _write(annotation_path, json.dumps(annotation).encode())


def write_acdc(picture: Picture, image_path: Path, label_path: Path) -> None:
    """Writes an image and its label, a PNG of train ids; the label last."""
    _write(image_path, _png(Image.fromarray(picture.image)))
    _write(label_path, as_png(TRAIN_ID_TABLE[label_ids(picture)]))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, 'PNG')
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
