"""Foggy Zurich: real fog, 1920×1080; 40 images have labels (test v2)."""

from mmseg.datasets.builder import DATASETS
from mmseg.datasets.cityscapes import CityscapesDataset


@DATASETS.register_module()
class FoggyZurichDataset(CityscapesDataset):
    """``RGB/DRIVE/X.png`` with train ids in ``gt_labelTrainIds/DRIVE/X.png``.

    ``split`` is one of the delivered lists of images, with lines ``RGB/DRIVE/X.png``.
    """

    def __init__(self, img_suffix='.png', seg_map_suffix='.png', **kwargs):
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    def load_annotations(self, img_dir, img_suffix, ann_dir, seg_map_suffix, split):
        """List the files as MMSegmentation does, from lists that name folder and suffix, too."""
        infos = super().load_annotations(img_dir, img_suffix, ann_dir, seg_map_suffix, split)
        for info in infos if split is not None else ():
            line = info['filename'].removesuffix(img_suffix)
            stem = line.removesuffix(img_suffix).removeprefix('RGB/')
            info['filename'] = stem + img_suffix
            if 'ann' in info:
                info['ann']['seg_map'] = stem + seg_map_suffix
        return infos
