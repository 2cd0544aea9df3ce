"""Atrous spatial pyramid pooling as a decoder layer: parallel dilated convolutions, then one 3x3.

Source: DAFormer, section 3.2 (context-aware feature fusion); Chen et al., DeepLabV3+, ECCV 2018.
"""

import torch
from mmcv.cnn import ConvModule
from torch import nn

from mmseg.models.decode_heads.aspp_head import ASPPModule
from mmseg.models.decode_heads.decoder_layers import RELU, build_layer, register_layer
from mmseg.models.decode_heads.sep_aspp_head import DepthwiseSeparableASPPModule
from mmseg.models.recompute import run_again_for_gradients
from mmseg.ops import resize


@register_layer('aspp')
class ASPPLayer(nn.Module):
    """Image pooling, a context layer and one branch per dilation, concatenated and fused.

    Args:
        in_channels: channels of the input.
        out_channels: channels of every branch and of the output.
        sep: depthwise-separable branches (a branch with dilation 1 stays a plain 1x1).
        dilations: one branch for each.
        pool: adds a branch with the image's mean.
        norm_cfg: normalisation of all convolutions.
        act_cfg: activation of all convolutions.
        context_cfg: another decoder layer as an additional branch, or None.
        with_cp: keeps only the outputs of the dilated branches for the backward pass, which
            computes the rest again. The branches take most of a training step's memory.
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        sep,
        dilations,
        pool,
        norm_cfg=None,
        act_cfg=RELU,
        context_cfg=None,
        with_cp=False,
    ):
        super().__init__()
        self.with_cp = with_cp
        convs = {'norm_cfg': norm_cfg, 'act_cfg': act_cfg}
        self.image_pool = self.context_layer = None
        if pool:
            self.image_pool = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), ConvModule(in_channels, out_channels, 1, **convs)
            )
        if context_cfg is not None:
            self.context_layer = build_layer(context_cfg, in_channels, out_channels)
        self.aspp_modules = (DepthwiseSeparableASPPModule if sep else ASPPModule)(
            dilations=dilations,
            in_channels=in_channels,
            channels=out_channels,
            conv_cfg=None,
            **convs,
        )
        branches = len(dilations) + bool(pool) + (context_cfg is not None)
        self.bottleneck = ConvModule(branches * out_channels, out_channels, 3, padding=1, **convs)

    def forward(self, feature):
        branches = []
        if self.image_pool is not None:
            pooled = self.image_pool(feature)
            branches.append(
                resize(pooled, size=feature.shape[2:], mode='bilinear', align_corners=False)
            )
        if self.context_layer is not None:
            branches.append(self.context_layer(feature))
        for branch in self.aspp_modules:
            branches.append(
                run_again_for_gradients(branch, feature) if self.with_cp else branch(feature)
            )
        return self.bottleneck(torch.cat(branches, dim=1))


@register_layer('rawconv_and_aspp')
def plain_convolution_and_aspp(
    in_channels,
    out_channels,
    kernel_size,
    sep,
    dilations,
    pool,
    norm_cfg=None,
    act_cfg=RELU,
    context_cfg=None,
):
    """A convolution without norm and activation, then an ASPP."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2),
        ASPPLayer(out_channels, out_channels, sep, dilations, pool, norm_cfg, act_cfg, context_cfg),
    )
