"""Mapillary Vistas v1.2: 18,000 + 2,000 images of many sizes, whose classes two tables map."""

from mmseg.datasets.builder import DATASETS
from mmseg.datasets.cityscapes import CityscapesDataset
from mmseg.datasets.label_tables import MAPILLARY
from mmseg.utils.user_error import UserError


@DATASETS.register_module()
class MapillaryDataset(CityscapesDataset):
    """``SPLIT/images/X.jpg`` with Mapillary's ids in ``SPLIT/labels/X.png``; Cityscapes' classes.

    ``label_table`` has no default, as results of two tables are not comparable: it is ``'vfm_uda'``
    (also of HRDA's domain generalisation) or ``'rein'`` (also of DDB and SoMA).
    """

    def __init__(self, label_table=None, img_suffix='.jpg', seg_map_suffix='.png', **kwargs):
        if label_table not in MAPILLARY:
            names = ' or '.join(map(repr, MAPILLARY))
            raise UserError(f'MapillaryDataset has label_table={label_table!r}; choose {names}.')
        self.label_table, self.label_ids = label_table, MAPILLARY[label_table]
        super().__init__(img_suffix=img_suffix, seg_map_suffix=seg_map_suffix, **kwargs)
