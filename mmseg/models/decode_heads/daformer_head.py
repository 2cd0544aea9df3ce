"""DAFormer's decoder: every feature level is embedded, brought to stride 4, stacked and fused.

Source: DAFormer, section 3.2, Figure 2. The embedding and fusion layers are chosen by name; with
an `aspp` fusion this is the decoder of the paper, the others are its ablations (Table 7).
"""

from torch import nn

# Registers the context layers.
import mmseg.models.decode_heads.aspp_layer
import mmseg.models.decode_heads.isa_layer  # noqa: F401
from mmseg.models.builder import HEADS
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.decode_heads.decoder_layers import build_layer, fuse_levels
from mmseg.utils.user_error import UserError


@HEADS.register_module(name=['DAFormerHead', 'UniHead'])  # UniHead: its name in older configs
class DAFormerHead(BaseDecodeHead):
    """Context-aware multi-level feature fusion.

    Args:
        decoder_params: dict of
            embed_dims: channels per level after its embedding, one number or one for each;
            embed_cfg: the layer (see `decoder_layers`) that embeds a level;
            embed_neck_cfg: the layer for the last level, or 'same_as_embed_cfg';
            fusion_cfg: the layer that fuses the stacked levels into `channels`.
        **kwargs: of MMSegmentation's `BaseDecodeHead`; in_channels and in_index are lists.

    Raises:
        UserError: an option is missing, unknown or impossible.
    """

    OPTIONS = ('embed_dims', 'embed_cfg', 'embed_neck_cfg', 'fusion_cfg')

    def __init__(self, decoder_params, **kwargs):
        super().__init__(input_transform='multiple_select', **kwargs)
        if self.align_corners:
            raise UserError('DAFormerHead needs align_corners=False')
        self.require_options(decoder_params)
        embed_dims = self.per_level(decoder_params['embed_dims'])
        embed_cfg, neck_cfg = decoder_params['embed_cfg'], decoder_params['embed_neck_cfg']
        if neck_cfg == 'same_as_embed_cfg':
            neck_cfg = embed_cfg
        cfgs = [embed_cfg] * (len(embed_dims) - 1) + [neck_cfg]
        self.embed_layers = nn.ModuleDict(
            {
                str(i): build_layer(cfg, self.in_channels[i], embed_dims[i])
                for i, cfg in enumerate(cfgs)
            }
        )
        fusion_cfg = dict(decoder_params['fusion_cfg'])
        fusion_cfg.pop('fusion', None)  # stands in published configs and means nothing
        self.fuse_layer = build_layer(fusion_cfg, sum(embed_dims), self.channels)

    def require_options(self, decoder_params):
        """Raises UserError, naming the key, where decoder_params has one too many or too few."""
        unknown = ', '.join(sorted(set(decoder_params) - set(self.OPTIONS)))
        missing = ', '.join(sorted(set(self.OPTIONS) - set(decoder_params)))
        if unknown or missing:
            problem = f'has the unknown key {unknown}' if unknown else f'lacks {missing}'
            raise UserError(
                f'decoder_params of DAFormerHead {problem}; its keys are {", ".join(self.OPTIONS)}'
            )

    def per_level(self, embed_dims):
        """Returns one number of channels per level."""
        levels = len(self.in_channels)
        if isinstance(embed_dims, int):
            return [embed_dims] * levels
        if len(embed_dims) != levels:
            raise UserError(f'embed_dims={list(embed_dims)} needs {levels} entries, one per level')
        return list(embed_dims)

    def forward(self, inputs):
        """Decodes features.

        Args:
            inputs: the encoder's maps; level i is (batch, in_channels[i], height_i, width_i).

        Returns:
            Logits (batch, num_classes, height_0, width_0).
        """
        levels = self._transform_inputs(inputs)
        embedded = [
            layer(level) for layer, level in zip(self.embed_layers.values(), levels, strict=True)
        ]
        return self.cls_seg(fuse_levels(embedded, self.fuse_layer))
