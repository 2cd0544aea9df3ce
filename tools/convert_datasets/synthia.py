"""SYNTHIA-RAND-CITYSCAPES: 16-bit PNGs -> ``…_labelTrainIds.png`` and the class index."""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import tools.openmp  # noqa: F401

import cv2
import numpy as np

from tools.convert_datasets.train_ids import LabelError, convert_dataset

RED = 2  # OpenCV's order is blue, green, red


def read_train_ids(path: Path, table: np.ndarray) -> np.ndarray:
    """Read a label, whose class is the red channel of 16 bits: uint8 train ids (H, W)."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise LabelError(f'{path}: cannot be read as a PNG')
    if image.ndim != 3 or image.dtype != np.uint16:
        raise LabelError(
            f'{path}: expected 16 bits and several channels, '
            f'found {image.dtype} of shape {image.shape}'
        )
    return table[np.minimum(image[:, :, RED], 255)]


def main(argv=None) -> None:
    # The processes that convert need not import mmseg.
    from mmseg.datasets.label_tables import SYNTHIA

    read = partial(read_train_ids, table=SYNTHIA.table)
    convert_dataset(argv, __doc__, read, root='data/synthia', labels='GT/LABELS', images='RGB')


if __name__ == '__main__':
    main()
