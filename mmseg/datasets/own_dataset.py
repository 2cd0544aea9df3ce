"""A data set of the user's own, which the config alone describes: folders, suffixes, classes."""

from mmseg.datasets.builder import DATASETS
from mmseg.datasets.custom import CustomDataset
from mmseg.datasets.id_map import TRAIN_IDS_SUFFIX, read_id_map
from mmseg.utils.palette import distinct_palette
from mmseg.utils.user_error import UserError


@DATASETS.register_module()
class OwnDataset(CustomDataset):
    """Images and, but for a target, labels beside them: ``x.jpg`` with ``x.png``.

    With an ``id_map`` the labels hold ids or colours of their own, which
    tools/convert_datasets/custom.py maps to train ids, ``x_labelTrainIds.png`` beside them; those
    are then read. Without one the labels hold train ids (positions in the class list, 255 = no
    class) and are read as they are.

    Args:
        data_root (str): Folder of all; the class index of a source is written there.
        img_dir (str): Images, also in folders below.
        ann_dir (str | None): Labels, in the same folders below; a target needs none.
        classes (list[str]): The class list. A config states it once, at its top level.
        palette (list | None): An RGB colour per class; None: :func:`distinct_palette`.
        id_map (dict | None): As in :mod:`mmseg.datasets.id_map`.
        img_suffix, seg_map_suffix (str): How the names of images and of labels end, the latter
            before they are converted.

    Raises:
        UserError: If these do not go together.
    """

    def __init__(
        self, data_root=None, classes=None, palette=None, id_map=None,
        img_suffix='.jpg', seg_map_suffix='.png', **kwargs,
    ):  # fmt: skip
        if data_root is None:
            raise UserError('OwnDataset needs data_root, the folder of its images and labels')
        if classes is None:
            raise UserError("OwnDataset needs the class list: classes = [...] in the config's file")
        self.own_suffix, self.id_map = seg_map_suffix, None
        if id_map is not None:
            self.id_map = read_id_map(id_map, classes)
            if seg_map_suffix.endswith(TRAIN_IDS_SUFFIX):
                raise UserError(
                    f'id_map maps labels whose names end in {seg_map_suffix}, where their train '
                    'ids would be written. Leave id_map out if they hold train ids, or rename them'
                )
        super().__init__(
            data_root=data_root,
            classes=list(classes),
            palette=palette or distinct_palette(len(classes)),
            img_suffix=img_suffix,
            seg_map_suffix=seg_map_suffix if self.id_map is None else TRAIN_IDS_SUFFIX,
            **kwargs,
        )

    def load_annotations(self, img_dir, img_suffix, ann_dir, seg_map_suffix, split):
        """As MMSegmentation's, with labels paired by the end of the name alone.

        Labels that are in the folder of the images are no images.
        """
        infos = super().load_annotations(img_dir, img_suffix, ann_dir, seg_map_suffix, split)
        of_labels = tuple(
            suffix
            for suffix in (self.own_suffix, TRAIN_IDS_SUFFIX)
            if suffix != img_suffix and suffix.endswith(img_suffix)
        )
        infos = [info for info in infos if not info['filename'].endswith(of_labels)]
        for info in infos if ann_dir is not None else ():
            stem = info['filename'].removesuffix(img_suffix)
            info['ann'] = dict(seg_map=stem + seg_map_suffix)
        return infos

    def own_label(self, seg_map):
        """The name of the label, as the user has it, that a train-id label is made from."""
        return seg_map.removesuffix(self.seg_map_suffix) + self.own_suffix
