"""Upsampled deep feature maps, for decoders that expect a CNN's output stride 8."""

import torch
from torch import nn

from mmseg.models.builder import NECKS
from mmseg.ops import resize


@NECKS.register_module()
class SegFormerAdapter(nn.Module):
    """Replaces the last map with those at `out_layers`, upsampled by `scales` and concatenated."""

    def __init__(self, out_layers=(3,), scales=(4,)):
        super().__init__()
        self.out_layers = tuple(out_layers)
        self.scales = tuple(scales)

    def forward(self, features):
        """Return a new list of maps; the shapes of all but the last stay."""
        upsampled = [
            resize(features[i], scale_factor=scale, mode='bilinear', align_corners=False)
            for i, scale in zip(self.out_layers, self.scales, strict=True)
        ]
        return [*features[:-1], torch.cat(upsampled, dim=1)]
