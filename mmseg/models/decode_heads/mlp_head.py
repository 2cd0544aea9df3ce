"""SegFormer's all-MLP decoder (Xie et al., NeurIPS 2021, arXiv 2105.15203, section 3.2).

MMSegmentation's `SegformerHead` has other layers: published DAFormer checkpoints do not fit it.
"""

from torch import nn

from mmseg.models.builder import HEADS
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.decode_heads.decoder_layers import ChannelLinear, convolution, fuse_levels
from mmseg.utils.user_error import UserError


@HEADS.register_module()
class SegFormerHead(BaseDecodeHead):
    """Every level through a linear layer, brought to stride 4, fused and classified."""

    def __init__(self, decoder_params, **kwargs):
        super().__init__(input_transform='multiple_select', **kwargs)
        if self.align_corners:
            raise UserError('SegFormerHead needs align_corners=False')
        self.conv_seg.requires_grad_(False)  # unused, but in published checkpoints
        self.build_decoder(**decoder_params)

    def build_decoder(self, embed_dims, conv_kernel_size):
        """Build the layers; `conv_kernel_size` is of their fusion."""
        levels = len(self.in_channels)
        self.linear_c = nn.ModuleDict(
            {str(i): ChannelLinear(c, embed_dims) for i, c in enumerate(self.in_channels)}
        )
        self.linear_fuse = convolution(
            levels * embed_dims, embed_dims, conv_kernel_size, self.norm_cfg, self.act_cfg
        )
        self.linear_pred = nn.Conv2d(embed_dims, self.out_channels, 1)

    def forward(self, inputs):
        """Return logits (batch, num_classes, height_0, width_0) for the encoder's maps."""
        levels = self._transform_inputs(inputs)
        layers = self.linear_c.values()
        embedded = [layer(level) for layer, level in zip(layers, levels, strict=True)]
        fused = fuse_levels(embedded, self.linear_fuse)
        if self.dropout is not None:
            fused = self.dropout(fused)
        return self.linear_pred(fused)
