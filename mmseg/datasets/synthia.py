"""SYNTHIA-RAND-CITYSCAPES: 9,400 rendered frames, 1280×760, without 3 of Cityscapes' classes."""

from mmseg.datasets.builder import DATASETS
from mmseg.datasets.cityscapes import CityscapesDataset

# The classes that Synthia labels, and those that are left when the thin and ambiguous ones (wall,
# fence, pole) are left out as well: the two means that papers report.
CLASSES_16 = tuple(
    name for name in CityscapesDataset.CLASSES if name not in ('terrain', 'truck', 'train')
)
CLASSES_13 = tuple(name for name in CLASSES_16 if name not in ('wall', 'fence', 'pole'))


@DATASETS.register_module()
class SynthiaDataset(CityscapesDataset):
    """``RGB/NNNNNNN.png`` with ``GT/LABELS/NNNNNNN_labelTrainIds.png``; Cityscapes' classes."""

    def __init__(self, img_suffix='.png', seg_map_suffix='_labelTrainIds.png', **kwargs):
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)
