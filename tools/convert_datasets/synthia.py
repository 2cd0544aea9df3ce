"""SYNTHIA-RAND-CITYSCAPES: 16-bit PNGs -> ``…_labelTrainIds.png`` and the class index."""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import tools.openmp  # noqa: F401

import cv2
import numpy as np

from tools.convert_datasets.class_index import write_class_index
from tools.convert_datasets.train_ids import (
    LabelError,
    convert_labels,
    find_labels,
    lookup_table,
    moved,
    parse_root,
    reporting_errors,
)

# Synthia's own class ids; its 22 classes have no terrain, truck or train of Cityscapes' in use.
TRAIN_ID_TABLE = lookup_table(
    {3: 0, 4: 1, 2: 2, 21: 3, 5: 4, 7: 5, 15: 6, 9: 7, 6: 8, 16: 9}
    | {1: 10, 10: 11, 17: 12, 8: 13, 18: 14, 19: 15, 20: 16, 12: 17, 11: 18}
)
RED = 2  # OpenCV's order is blue, green, red


def read_train_ids(path: Path) -> np.ndarray:
    """Reads a label, whose class is the red channel of 16 bits.

    Returns:
        uint8 train ids (H, W).

    Raises:
        LabelError: the file is no image or has another format.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise LabelError(f'{path}: cannot be read as a PNG')
    if image.ndim != 3 or image.dtype != np.uint16:
        raise LabelError(
            f'{path}: expected 16 bits and several channels, '
            f'found {image.dtype} of shape {image.shape}'
        )
    return TRAIN_ID_TABLE[np.minimum(image[:, :, RED], 255)]


def train_ids_path(source: Path) -> Path:
    return source.with_name(f'{source.stem}_labelTrainIds.png')


def main(argv=None) -> None:
    args = parse_root(__doc__, 'data/synthia', argv)
    sources = find_labels(args.root / 'GT' / 'LABELS', '*.png')
    destination_of = partial(moved, root=args.root, out=args.out, name_of=train_ids_path)
    with reporting_errors(args, 'RGB'):
        counts = convert_labels(sources, read_train_ids, destination_of, args.nproc)
        write_class_index(args.out, [destination_of(source) for source in sources], counts)


if __name__ == '__main__':
    main()
