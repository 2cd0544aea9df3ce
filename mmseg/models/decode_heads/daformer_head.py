"""DAFormer's decoder: every feature level is embedded, brought to stride 4, stacked and fused.

Source: DAFormer, section 3.2, Figure 2. An `aspp` fusion is the decoder of the paper, the others
are its ablations (Table 7).
"""

from torch import nn

from mmseg.models.builder import HEADS
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.decode_heads.decoder_layers import build_layer, fuse_levels
from mmseg.utils.user_error import UserError


@HEADS.register_module(name=['DAFormerHead', 'UniHead'])  # UniHead: its name in older configs
class DAFormerHead(BaseDecodeHead):
    """Context-aware multi-level feature fusion; `decoder_params` are those of `build_decoder`."""

    def __init__(self, decoder_params, **kwargs):
        super().__init__(input_transform='multiple_select', **kwargs)
        if self.align_corners:
            raise UserError('DAFormerHead needs align_corners=False')
        self.build_decoder(**decoder_params)

    def build_decoder(self, embed_dims, embed_cfg, embed_neck_cfg, fusion_cfg):
        """Build the layers; `embed_dims` are one for each level or one for all."""
        count = len(self.in_channels)
        dims = [embed_dims] * count if isinstance(embed_dims, int) else embed_dims
        last_cfg = embed_cfg if embed_neck_cfg == 'same_as_embed_cfg' else embed_neck_cfg
        cfgs = [embed_cfg] * (count - 1) + [last_cfg]
        levels = enumerate(zip(cfgs, self.in_channels, dims, strict=True))
        self.embed_layers = nn.ModuleDict({str(i): build_layer(*level) for i, level in levels})
        fusion_cfg = dict(fusion_cfg)
        fusion_cfg.pop('fusion', None)  # stands in published configs and means nothing
        self.fuse_layer = build_layer(fusion_cfg, sum(dims), self.channels)

    def forward(self, inputs):
        """Return logits (batch, num_classes, height_0, width_0) for the encoder's maps."""
        levels = self._transform_inputs(inputs)
        layers = self.embed_layers.values()
        embedded = [layer(level) for layer, level in zip(layers, levels, strict=True)]
        return self.cls_seg(fuse_levels(embedded, self.fuse_layer))
