"""Cityscapes' train ids from labels of data sets as they are delivered."""

import io

import cv2
import numpy as np
from cityscapesscripts.helpers.labels import labels
from PIL import Image

IGNORED = 255


class LabelTable:
    """Maps the ids of a label image to train ids, while it is loaded.

    Args:
        train_ids (dict[int, int]): Train id by id.
        num_ids (int): Ids below it that are no class are ignored. Higher ones, but for 255, stay,
            and are refused as foreign.
        in_first_channel (bool): Whether the labels have several channels, the ids in the first.
    """

    def __init__(self, train_ids, num_ids=256, in_first_channel=False):
        self.in_first_channel = in_first_channel
        self.table = np.arange(256, dtype=np.uint8)
        self.table[:num_ids] = [train_ids.get(i, IGNORED) for i in range(num_ids)]

    def __call__(self, content):
        """Return the train ids (H, W) of a label's file; colours and 16 bits stay, as foreign."""
        ids = self._decode(content)
        if self.in_first_channel and ids.ndim == 3:
            ids = ids[..., 0]
        return self.table[ids] if ids.ndim == 2 and ids.dtype == np.uint8 else ids

    def _decode(self, content):
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image)


class SynthiaTable(LabelTable):
    """As :class:`LabelTable`, of files with 16 bits per channel, whose red one holds the ids."""

    def _decode(self, content):
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if image is None or image.ndim != 3 or image.dtype != np.uint16:
            raise ValueError('it is no PNG of 16 bits and several channels')
        red = image[..., 2]  # OpenCV's order is blue, green, red
        return np.minimum(red, IGNORED).astype(np.uint8)


def _by_class(*ids):
    """Train id by id, from the ids of each train id in order."""
    each = (entry if isinstance(entry, tuple) else (entry,) for entry in ids)
    return {i: train_id for train_id, entry in enumerate(each) for i in entry}


CITYSCAPES = LabelTable({label.id: label.trainId for label in labels if 0 <= label.trainId < 19})
# Its 22 classes have no terrain, truck or train of Cityscapes' in use.
SYNTHIA = SynthiaTable(_by_class(3, 4, 2, 21, 5, 7, 15, 9, 6, 16, 1, 10, 17, 8, 18, 19, 20, 12, 11))
URBANSYN = LabelTable(_by_class(*range(19)), num_ids=20, in_first_channel=True)

# Results on Mapillary Vistas v1.2 are comparable only if they were counted with the same table.
_NUM_MAPILLARY_IDS = 66
MAPILLARY = {
    # HRDA's domain generalisation, VFM-UDA: a manhole is road, doubtful classes are ignored.
    'vfm_uda': LabelTable(
        _by_class(
            (13, 24, 41), (2, 15), 17, 6, 3, (45, 47), 48, 50,
            30, 29, 27, 19, (20, 21, 22), 55, 61, 54, 58, 57, 52,
        ),
        _NUM_MAPILLARY_IDS,
    ),
    # Rein, DDB, SoMA: nearly all that is driven or walked on, and the backs of signs, count.
    'rein': LabelTable(
        _by_class(
            (7, 8, 10, 13, 14, 23, 24), (2, 9, 11, 15), 17, 6, 3, (44, 45, 47), 48, (46, 49, 50),
            30, 29, 27, 19, (20, 21, 22), 55, 61, 54, 58, 57, 52,
        ),
        _NUM_MAPILLARY_IDS,
    ),
}  # fmt: skip

# Sets whose labels are converted on disk, but mapped while they are loaded from zips: how the names
# of the delivered ones end, and the table.
IN_ZIPS = {
    'GTADataset': ('.png', CITYSCAPES),
    'SynthiaDataset': ('.png', SYNTHIA),
    'CityscapesDataset': ('_gtFine_labelIds.png', CITYSCAPES),
}
