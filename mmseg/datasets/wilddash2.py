"""WildDash 2, the beta package ``wd_public_02``: hard scenes of the whole world, 1920×1080."""

from mmseg.datasets.builder import DATASETS
from mmseg.datasets.cityscapes import CityscapesDataset
from mmseg.datasets.label_tables import CITYSCAPES


@DATASETS.register_module()
class WildDash2Dataset(CityscapesDataset):
    """``images/X.jpg`` with Cityscapes' label ids in ``labels/X.png``; further ids are ignored.

    ``split`` names the list of the images of a split, a line ``X`` for each.
    """

    label_ids = CITYSCAPES

    def __init__(self, img_suffix='.jpg', seg_map_suffix='.png', **kwargs):
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)
