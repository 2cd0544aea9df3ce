"""GTA5 (Playing for Data): 24,966 labelled frames of a game, 1914×1052."""

from mmseg.datasets.builder import DATASETS
from mmseg.datasets.cityscapes import CityscapesDataset


@DATASETS.register_module()
class GTADataset(CityscapesDataset):
    """``images/NNNNN.png`` with ``labels/NNNNN_labelTrainIds.png``; Cityscapes' classes."""

    def __init__(self, img_suffix='.png', seg_map_suffix='_labelTrainIds.png', **kwargs):
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)
