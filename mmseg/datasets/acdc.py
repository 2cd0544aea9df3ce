"""ACDC: driving in fog, night, rain and snow, 1920×1080."""

import os.path as osp

from mmseg.datasets.archives import is_folder
from mmseg.datasets.builder import DATASETS
from mmseg.datasets.cityscapes import CityscapesDataset
from mmseg.utils.user_error import UserError

CONDITIONS = ('fog', 'night', 'rain', 'snow')


@DATASETS.register_module()
class ACDCDataset(CityscapesDataset):
    """``rgb_anon/…_rgb_anon.png`` with ``gt/…_gt_labelTrainIds.png``; Cityscapes' classes.

    Where ``rgb_anon/SPLIT`` is missing, as in ACDC as it is delivered, the images are those of
    ``rgb_anon/CONDITION/SPLIT`` of all four conditions, and the labels likewise.

    Args:
        conditions (str | Sequence[str] | None): Of ``fog``, ``night``, ``rain`` and ``snow``, those
            that are read; only with ACDC as it is delivered.
    """

    def __init__(
        self, conditions=None, img_suffix='_rgb_anon.png', seg_map_suffix='_gt_labelTrainIds.png',
        **kwargs,
    ):  # fmt: skip
        self.conditions = conditions
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)

    @staticmethod
    def folders(folder, conditions=None):
        """List the folders that hold the files of a configured one."""
        chosen = [conditions] if isinstance(conditions, str) else list(conditions or CONDITIONS)
        if not set(chosen) <= set(CONDITIONS):
            raise UserError(f'conditions={conditions}: ACDC has {", ".join(CONDITIONS)}.')
        parent, split = osp.split(osp.normpath(folder))
        delivered = [osp.join(parent, condition, split) for condition in chosen]
        is_delivered = any(map(is_folder, delivered)) and not is_folder(folder)
        return delivered if conditions or is_delivered else [folder]

    def load_annotations(self, img_dir, img_suffix, ann_dir, seg_map_suffix, split):
        """List the files as MMSegmentation does, of one condition after the other."""
        folders = self.folders(img_dir, self.conditions)
        if split is not None or folders == [img_dir]:
            return super().load_annotations(img_dir, img_suffix, ann_dir, seg_map_suffix, split)
        self.img_dir = osp.dirname(osp.normpath(img_dir))
        self.ann_dir = ann_dir and osp.dirname(osp.normpath(ann_dir))
        self.takes_all_files = False
        infos = []
        for folder in folders:
            below = osp.relpath(folder, self.img_dir)
            for info in super().load_annotations(folder, img_suffix, ann_dir, seg_map_suffix, None):
                info['filename'] = osp.join(below, info['filename'])
                if 'ann' in info:
                    info['ann']['seg_map'] = osp.join(below, info['ann']['seg_map'])
                infos.append(info)
        return infos
