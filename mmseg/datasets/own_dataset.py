"""A data set of the user's own, which the config alone describes: folders, suffixes, classes."""

import os.path as osp

import mmcv
from mmcv.utils import print_log

from mmseg.datasets.archives import is_archived, unpacked, visible_files
from mmseg.datasets.builder import DATASETS
from mmseg.datasets.custom import CustomDataset
from mmseg.datasets.id_map import TRAIN_IDS_SUFFIX, read_id_map
from mmseg.utils import get_root_logger
from mmseg.utils.drawing import distinct_palette
from mmseg.utils.user_error import UserError


@DATASETS.register_module()
class OwnDataset(CustomDataset):
    """Images and, but for a target, labels beside them: ``x.jpg`` with ``x.png``.

    With an ``id_map`` tools/convert_datasets/custom.py maps labels to train ids, which are then
    read, in ``train_ids_dir`` or beside the labels. Without one the labels hold train ids.
    ``img_suffix`` may be a list, in upper or lower case; ``palette`` has an RGB colour per class.
    """

    def __init__(
        self, data_root=None, classes=None, palette=None, id_map=None,
        img_suffix='.jpg', seg_map_suffix='.png', ann_dir=None, train_ids_dir=None, **kwargs,
    ):  # fmt: skip
        if data_root is None or classes is None:
            raise UserError("OwnDataset needs data_root and, in the config's file, classes = [...]")
        # Labels as the user has them, before they are converted.
        self.own_suffix = seg_map_suffix
        self.own_ann_dir = ann_dir and osp.join(data_root, ann_dir)
        self.id_map = None if id_map is None else read_id_map(id_map, classes)
        if self.id_map is not None and seg_map_suffix.endswith(TRAIN_IDS_SUFFIX):
            raise UserError(
                f'id_map maps labels whose names end in {seg_map_suffix}, where their train ids '
                'would be written. Leave id_map out if they hold train ids, or rename them'
            )
        if self.id_map is not None and is_archived(self.own_ann_dir or ''):
            raise UserError(
                f'id_map is for labels that are unpacked, not for {self.own_ann_dir}: unpack them, '
                'and let ann_dir be the absolute path of their folder. Images may stay in their zip'
            )
        if train_ids_dir is not None and is_archived(data_root):
            train_ids_dir = osp.abspath(unpacked(osp.join(data_root, train_ids_dir)))
        super().__init__(
            data_root=data_root,
            classes=list(classes),
            palette=palette or distinct_palette(len(classes)),
            img_suffix=(img_suffix,) if isinstance(img_suffix, str) else tuple(img_suffix),
            ann_dir=ann_dir and (train_ids_dir or ann_dir),
            seg_map_suffix=seg_map_suffix if self.id_map is None else TRAIN_IDS_SUFFIX,
            **kwargs,
        )

    def load_annotations(self, img_dir, img_suffix, ann_dir, seg_map_suffix, split):
        """List the files as MMSegmentation does, with several endings of the images."""
        stems = None
        if split is not None:
            lines = mmcv.list_from_file(split, file_client_args=self.file_client_args)
            stems = [line.strip() for line in lines if line.strip()]
        images = self._images_by_stem(img_dir, img_suffix, stems)
        infos = []
        for stem in images if stems is None else stems:
            info = dict(filename=images.get(stem, stem + img_suffix[0]))
            if ann_dir is not None:
                info['ann'] = dict(seg_map=stem + seg_map_suffix)
            infos.append(info)
        print_log(f'Loaded {len(infos)} images', logger=get_root_logger())
        return infos

    def _images_by_stem(self, img_dir, img_suffix, stems):
        """Name without suffix to name, in the order of the names; only these stems, if given."""
        suffixes = sorted((suffix.lower() for suffix in img_suffix), key=len, reverse=True)
        # Labels that are in the folder of the images are no images.
        of_labels = {self.own_suffix.lower(), TRAIN_IDS_SUFFIX.lower()} - {*suffixes}
        of_labels = tuple(suffix for suffix in of_labels if suffix.endswith(tuple(suffixes)))
        images, wanted = {}, stems and {*stems}
        for name in visible_files(img_dir):
            suffix = next((end for end in suffixes if name.lower().endswith(end)), None)
            if suffix is None or name.lower().endswith(of_labels):
                continue
            stem = name[: -len(suffix)]
            if stems is not None and stem not in wanted:
                continue
            if stem in images:
                raise UserError(
                    f'{img_dir} has {images[stem]} and {name}, whose label and prediction would be '
                    'one file: rename or remove one, or leave its ending out of img_suffix.'
                )
            images[stem] = name
        return images

    def own_label(self, seg_map):
        """The name of the label that a train-id label is made from."""
        return seg_map.removesuffix(self.seg_map_suffix) + self.own_suffix
