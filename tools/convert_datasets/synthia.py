"""SYNTHIA-RAND-CITYSCAPES: 16-bit PNGs -> ``…_labelTrainIds.png`` and the class index."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import tools.openmp  # noqa: F401

import cv2
import numpy as np

from tools.convert_datasets.train_ids import LabelError, convert_dataset, lookup_table

# Synthia's own class ids; its 22 classes have no terrain, truck or train of Cityscapes' in use.
TRAIN_ID_TABLE = lookup_table(
    {3: 0, 4: 1, 2: 2, 21: 3, 5: 4, 7: 5, 15: 6, 9: 7, 6: 8, 16: 9}
    | {1: 10, 10: 11, 17: 12, 8: 13, 18: 14, 19: 15, 20: 16, 12: 17, 11: 18}
)
RED = 2  # OpenCV's order is blue, green, red


def read_train_ids(path: Path) -> np.ndarray:
    """Read a label, whose class is the red channel of 16 bits: uint8 train ids (H, W)."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise LabelError(f'{path}: cannot be read as a PNG')
    if image.ndim != 3 or image.dtype != np.uint16:
        raise LabelError(
            f'{path}: expected 16 bits and several channels, '
            f'found {image.dtype} of shape {image.shape}'
        )
    return TRAIN_ID_TABLE[np.minimum(image[:, :, RED], 255)]


def main(argv=None) -> None:
    convert_dataset(
        argv, __doc__, read_train_ids, root='data/synthia', labels='GT/LABELS', images='RGB'
    )


if __name__ == '__main__':
    main()
