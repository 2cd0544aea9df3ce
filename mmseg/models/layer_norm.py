"""LayerNorm over the channels of a map, as a ``norm_cfg`` of type LN2d."""

import timm.layers
from mmcv.cnn import NORM_LAYERS

from mmseg.models.memory import in_format_of


@NORM_LAYERS.register_module(name='LN2d')
class LayerNorm2d(timm.layers.LayerNorm2d):
    """timm's LayerNorm2d (eps 1e-6; mmcv's ``norm_cfg`` makes it 1e-5 unless it has an eps) that
    keeps the memory format.
    """

    def forward(self, feature):
        return in_format_of(super().forward(feature), feature)
