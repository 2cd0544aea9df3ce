"""UrbanSyn: 7,539 rendered frames, 2048×1024."""

from mmseg.datasets.builder import DATASETS
from mmseg.datasets.cityscapes import CityscapesDataset
from mmseg.datasets.label_tables import URBANSYN


@DATASETS.register_module()
class UrbanSynDataset(CityscapesDataset):
    """``rgb/rgb_NNNN.png`` with labels ``ss/ss_NNNN.png``: train ids in the first channel.

    Id 19 is void, which is ignored.
    """

    label_ids = URBANSYN

    def __init__(self, img_suffix='.png', seg_map_suffix='.png', **kwargs):
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    def load_annotations(self, *args, **kwargs):
        """List the files as MMSegmentation does, with the labels' own prefix."""
        infos = super().load_annotations(*args, **kwargs)
        for info in infos:
            if 'ann' in info:
                info['ann']['seg_map'] = info['ann']['seg_map'].replace('rgb_', 'ss_')
        return infos
