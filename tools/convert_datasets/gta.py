"""GTA: palette PNGs of Cityscapes label ids -> ``…_labelTrainIds.png`` and the class index."""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import tools.openmp  # noqa: F401

import numpy as np
from cityscapesscripts.helpers.labels import labels as cityscapes_labels
from PIL import Image

from tools.convert_datasets.class_index import write_class_index
from tools.convert_datasets.train_ids import (
    DECODING_ERRORS,
    IGNORE_INDEX,
    LabelError,
    convert_labels,
    find_labels,
    lookup_table,
    moved,
    parse_root,
    reporting_errors,
)

TRAIN_ID_TABLE = lookup_table(
    {
        label.id: label.trainId
        for label in cityscapes_labels
        if label.id >= 0 and label.trainId != IGNORE_INDEX
    }
)


def read_train_ids(path: Path) -> np.ndarray:
    """Reads a label. Most are palette PNGs, some are grey: the pixel value is the label id in both.

    Returns:
        uint8 train ids (H, W).

    Raises:
        LabelError: the file is no image or holds colours.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ('P', 'L'):
                raise LabelError(
                    f'{path}: expected label ids in a palette or grey PNG, found {image.mode}'
                )
            return TRAIN_ID_TABLE[np.asarray(image)]
    except LabelError:
        raise
    except DECODING_ERRORS as error:
        raise LabelError(f'{path}: cannot be read ({error})') from error


def train_ids_path(source: Path) -> Path:
    return source.with_name(f'{source.stem}_labelTrainIds.png')


def main(argv=None) -> None:
    args = parse_root(__doc__, 'data/gta', argv)
    sources = find_labels(args.root / 'labels', '*.png')
    destination_of = partial(moved, root=args.root, out=args.out, name_of=train_ids_path)
    with reporting_errors(args, 'images'):
        counts = convert_labels(sources, read_train_ids, destination_of, args.nproc)
        write_class_index(args.out, [destination_of(source) for source in sources], counts)


if __name__ == '__main__':
    main()
