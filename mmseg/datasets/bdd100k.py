"""BDD100K, its 10k images with semantic labels: 7,000 for training, 1,000 for validation."""

from mmseg.datasets.builder import DATASETS
from mmseg.datasets.cityscapes import CityscapesDataset


@DATASETS.register_module()
class BDD100KDataset(CityscapesDataset):
    """``images/10k/SPLIT/X.jpg`` with train ids in ``labels/sem_seg/masks/SPLIT/X.png``."""

    def __init__(self, img_suffix='.jpg', seg_map_suffix='.png', **kwargs):
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)
