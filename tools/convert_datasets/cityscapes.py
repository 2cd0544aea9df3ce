"""Cityscapes: polygons -> ``…_labelTrainIds.png``, class index of train, and lists of the splits.

A split without images gets an empty list. Without labels in train (a target needs images only)
there is no class index.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import tools.openmp  # noqa: F401

import numpy as np
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.helpers.labels import name2label
from cityscapesscripts.preparation.json2labelImg import createLabelImage

from tools.convert_datasets.class_index import write_class_index
from tools.convert_datasets.train_ids import (
    LabelError,
    convert_labels,
    find_labels,
    moved,
    parse_root,
    reporting_errors,
    visible,
    write_atomically,
)

SPLITS = ('train', 'val', 'test')
POLYGONS = '_polygons.json'
IMAGE = '_leftImg8bit.png'


def read_train_ids(path: Path) -> np.ndarray:
    """Paints the polygons of one annotation in train ids, with cityscapesscripts.

    Returns:
        uint8 train ids (H, W).

    Raises:
        LabelError: the file is no annotation, or holds something that cannot be painted.
    """
    annotation = Annotation()
    try:
        annotation.fromJsonFile(str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LabelError(f'{path}: no Cityscapes annotation ({error!r})') from error
    for item in annotation.objects:
        # createLabelImage would end the whole process here, with the name of no file
        if item.label not in name2label and item.label.removesuffix('group') not in name2label:
            raise LabelError(f'{path}: Cityscapes has no class {item.label!r}')
        if len(item.polygon) < 2:
            raise LabelError(f'{path}: a polygon of {item.label!r} has fewer than two points')
    return np.array(createLabelImage(annotation, 'trainIds'))


def train_ids_path(source: Path) -> Path:
    return source.with_name(source.name.removesuffix(POLYGONS) + '_labelTrainIds.png')


def write_split_lists(root: Path, out: Path) -> None:
    """Writes train.txt, val.txt, test.txt: a line ``city/city_000000_000019`` for each image."""
    for split in SPLITS:
        folder = root / 'leftImg8bit' / split
        images = visible(folder, f'*/*{IMAGE}')
        names = [path.relative_to(folder).as_posix().removesuffix(IMAGE) for path in images]
        write_atomically(out / f'{split}.txt', ''.join(f'{name}\n' for name in names).encode())


def main(argv=None) -> None:
    args = parse_root(__doc__.splitlines()[0], 'data/cityscapes', argv)
    sources = find_labels(args.root / 'gtFine', f'*/*/*_gtFine{POLYGONS}')
    destination_of = partial(moved, root=args.root, out=args.out, name_of=train_ids_path)
    train_folder = args.root / 'gtFine' / 'train'
    with reporting_errors(args, 'leftImg8bit/SPLIT'):
        counts = convert_labels(sources, read_train_ids, destination_of, args.nproc)
        train = [i for i, source in enumerate(sources) if train_folder in source.parents]
        if train:
            labels = [destination_of(sources[i]) for i in train]
            write_class_index(args.out, labels, [counts[i] for i in train])
        else:
            print(f'{train_folder}: no labels, so no class index (only a source needs one).')
        write_split_lists(args.root, args.out)


if __name__ == '__main__':
    main()
