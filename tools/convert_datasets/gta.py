"""GTA: palette PNGs of Cityscapes label ids -> ``…_labelTrainIds.png`` and the class index."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import tools.openmp  # noqa: F401

import numpy as np
from cityscapesscripts.helpers.labels import labels

from tools.convert_datasets.train_ids import LabelError, convert_dataset, lookup_table, opened

TRAIN_ID_TABLE = lookup_table({label.id: label.trainId for label in labels if label.id >= 0})


def read_train_ids(path: Path) -> np.ndarray:
    """Read a label, a palette PNG or a grey one of label ids: uint8 train ids (H, W)."""
    with opened(path) as image:
        if image.mode not in ('P', 'L'):
            raise LabelError(
                f'{path}: expected label ids in a palette or grey PNG, found {image.mode}'
            )
        return TRAIN_ID_TABLE[np.asarray(image)]


def main(argv=None) -> None:
    convert_dataset(
        argv, __doc__, read_train_ids, root='data/gta', labels='labels', images='images'
    )


if __name__ == '__main__':
    main()
