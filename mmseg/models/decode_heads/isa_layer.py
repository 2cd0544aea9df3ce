"""Interlaced sparse self-attention as a decoder layer: attention across cells, then within them.

Source: Huang et al., arXiv 1907.12273; DAFormer, Table 7. As in MMSegmentation's `ISAHead`, but
with a 1x1 input convolution and no residual.
"""

import math

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import nn

from mmseg.models.decode_heads.decoder_layers import RELU, register_layer
from mmseg.models.decode_heads.isa_head import SelfAttentionBlock


class RelationBlock(SelfAttentionBlock):
    """MMSegmentation's block with any number of key and query convolutions (there: two)."""

    def __init__(self, channels, key_channels, key_query_num_convs, norm_cfg, act_cfg):
        convs = {'conv_cfg': None, 'norm_cfg': norm_cfg, 'act_cfg': act_cfg}
        super().__init__(channels, key_channels, **convs)
        self.key_project, self.query_project = (
            self.build_project(channels, key_channels, key_query_num_convs, True, **convs)
            for _ in range(2)
        )


@register_layer('isa')
class ISALayer(nn.Module):
    """The map is cut into cells; pixels at the same place of all cells attend to each other, then
    the pixels within each cell.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the attention's values and of the output.
        isa_channels: channels of its keys and queries.
        down_factor: (height, width) of a cell in pixels; the map is padded to whole cells.
        key_query_num_convs: number of 1x1 convolutions that make keys and queries.
        norm_cfg: normalisation of all convolutions.
        act_cfg: activation of all convolutions.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        isa_channels,
        down_factor=(8, 8),
        key_query_num_convs=2,
        norm_cfg=None,
        act_cfg=RELU,
    ):
        super().__init__()
        self.cell = tuple(down_factor)
        self.in_conv = ConvModule(in_channels, out_channels, 1, norm_cfg=norm_cfg, act_cfg=act_cfg)
        relation = (out_channels, isa_channels, key_query_num_convs, norm_cfg, act_cfg)
        self.global_relation = RelationBlock(*relation)
        self.local_relation = RelationBlock(*relation)

    def forward(self, feature):
        feature = self.in_conv(feature)
        (cell_h, cell_w), (height, width) = self.cell, feature.shape[2:]
        rows, columns = math.ceil(height / cell_h), math.ceil(width / cell_w)
        pad_h, pad_w = rows * cell_h - height, columns * cell_w - width
        top, left = pad_h // 2, pad_w // 2
        feature = F.pad(feature, (left, pad_w - left, top, pad_h - top))
        batch, channels = feature.shape[:2]

        # (batch, channels, row, y in cell, column, x in cell)
        feature = feature.unflatten(3, (columns, cell_w)).unflatten(2, (rows, cell_h))
        across = feature.permute(0, 3, 5, 1, 2, 4)
        across = self.global_relation(across.reshape(-1, channels, rows, columns))
        across = across.view(batch, cell_h, cell_w, channels, rows, columns)
        within = across.permute(0, 4, 5, 3, 1, 2)
        within = self.local_relation(within.reshape(-1, channels, cell_h, cell_w))
        within = within.view(batch, rows, columns, channels, cell_h, cell_w)
        feature = within.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
        return feature[:, :, top : top + height, left : left + width].contiguous()
