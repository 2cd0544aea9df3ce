"""Cityscapes: polygons -> ``…_labelTrainIds.png``, class index of train, lists of the splits."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import tools.openmp  # noqa: F401

import numpy as np
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.preparation.json2labelImg import createLabelImage

from tools.convert_datasets.train_ids import LabelError, convert_dataset, visible, write_atomically

POLYGONS = '_polygons.json'
IMAGE = '_leftImg8bit.png'


def read_train_ids(path: Path) -> np.ndarray:
    """Paint the polygons of one annotation, with cityscapesscripts: uint8 train ids (H, W)."""
    annotation = Annotation()
    try:
        annotation.fromJsonFile(str(path))
        return np.array(createLabelImage(annotation, 'trainIds'))
    # SystemExit: of a class that Cityscapes does not have, after its name was printed
    except (OSError, ValueError, KeyError, TypeError, SystemExit) as error:
        raise LabelError(f'{path}: no Cityscapes annotation ({error!r})') from error


def write_split_lists(root: Path, out: Path) -> None:
    """Write train.txt, val.txt, test.txt: a line ``city/city_000000_000019`` for each image."""
    for split in ('train', 'val', 'test'):
        folder = root / 'leftImg8bit' / split
        images = visible(folder, f'*/*{IMAGE}')
        names = [path.relative_to(folder).as_posix().removesuffix(IMAGE) for path in images]
        write_atomically(out / f'{split}.txt', ''.join(f'{name}\n' for name in names).encode())


def main(argv=None) -> None:
    convert_dataset(
        argv, __doc__.splitlines()[0], read_train_ids, root='data/cityscapes', labels='gtFine',
        pattern=f'*/*/*_gtFine{POLYGONS}', ending=POLYGONS, source='gtFine/train',
        images='leftImg8bit/SPLIT', extra=write_split_lists,
    )  # fmt: skip


if __name__ == '__main__':
    main()
