"""Synscapes: 25,000 rendered frames, 2048×1024 with labels of 1440×720."""

from mmseg.datasets.builder import DATASETS
from mmseg.datasets.cityscapes import CityscapesDataset
from mmseg.datasets.label_tables import CITYSCAPES


@DATASETS.register_module()
class SynscapesDataset(CityscapesDataset):
    """``img/rgb-2k/N.png`` with Cityscapes' label ids in ``img/class/N.png``.

    The pipeline's ``Resize`` brings images and labels to one size.
    """

    label_ids = CITYSCAPES
    labels_are_smaller = True

    def __init__(self, img_suffix='.png', seg_map_suffix='.png', **kwargs):
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)
