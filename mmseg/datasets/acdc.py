"""ACDC: driving in fog, night, rain and snow, 1920×1080."""

from mmseg.datasets.builder import DATASETS
from mmseg.datasets.cityscapes import CityscapesDataset


@DATASETS.register_module()
class ACDCDataset(CityscapesDataset):
    """``rgb_anon/…_rgb_anon.png`` with ``gt/…_gt_labelTrainIds.png``; Cityscapes' classes."""

    def __init__(
        self, img_suffix='_rgb_anon.png', seg_map_suffix='_gt_labelTrainIds.png', **kwargs
    ):
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)
