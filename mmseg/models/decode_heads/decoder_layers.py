"""The layers that DAFormerHead is put together from, by name: `LAYERS`, at the end."""

import functools
import math

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from torch import nn

from mmseg.models.decode_heads.aspp_head import ASPPModule
from mmseg.models.decode_heads.isa_head import SelfAttentionBlock
from mmseg.models.decode_heads.sep_aspp_head import DepthwiseSeparableASPPModule
from mmseg.models.memory import checkpointed, in_format_of, pointwise
from mmseg.ops import resize
from mmseg.utils.user_error import UserError

RELU = {'type': 'ReLU'}


def build_layer(cfg, in_channels, out_channels):
    """Build the layer that `cfg`, a dict(type=NAME, **options), describes."""
    options = dict(cfg)
    name = options.pop('type', None)
    if name not in LAYERS:
        raise UserError(f'no decoder layer {name!r}; there are {", ".join(sorted(LAYERS))}')
    return LAYERS[name](in_channels, out_channels, **options)


def fuse_levels(levels, layer):
    """Bring maps to the size of the first, concatenate their channels and apply a layer.

    A 1x1 convolution commutes with bilinear upsampling. So each level goes through its part of the
    weights at its own size, which is a third of the work, and nothing is concatenated.
    """
    size = levels[0].shape[2:]
    if not (isinstance(layer, ConvModule) and layer.conv.kernel_size == (1, 1)):
        return layer(torch.cat([_upsample(level, size) for level in levels], dim=1))
    weights = layer.conv.weight.flatten(1).split([level.shape[1] for level in levels], dim=1)
    fused = pointwise(levels[0], weights[0], layer.conv.bias)
    for level, weight in zip(levels[1:], weights[1:], strict=True):
        fused = fused + _upsample(pointwise(level, weight), size)
    if layer.with_norm:
        fused = layer.norm(fused)
    return layer.activate(fused) if layer.with_activation else fused


def _upsample(feature, size):
    if feature.shape[2:] == size:
        return feature
    return resize(feature, size=size, mode='bilinear', align_corners=False)


def identity(in_channels, out_channels):
    """Return a layer that passes the features on."""
    if in_channels != out_channels:
        raise UserError(f"decoder layer 'id': its embed_dims must be its channels, {in_channels}")
    return nn.Identity()


class ChannelLinear(nn.Module):
    """SegFormer's MLP, a linear layer; published configs give it a norm and activation in vain."""

    def __init__(self, in_channels, out_channels, norm_cfg=None, act_cfg=None):
        super().__init__()
        self.proj = nn.Linear(in_channels, out_channels)

    def forward(self, feature):
        return pointwise(feature, self.proj.weight, self.proj.bias)


def convolution(
    in_channels, out_channels, kernel_size, norm_cfg=None, act_cfg=RELU, module=ConvModule
):
    """Return a convolution that keeps the size, with norm and activation."""
    convs = {'norm_cfg': norm_cfg, 'act_cfg': act_cfg}
    return module(in_channels, out_channels, kernel_size, padding=kernel_size // 2, **convs)


class ASPPLayer(nn.Module):
    """Atrous spatial pyramid pooling: parallel dilated convolutions, then one 3x3 over all of them.

    Source: DAFormer, section 3.2 (context-aware feature fusion); Chen et al., ECCV 2018.

    Args:
        sep: depthwise-separable branches (a branch with dilation 1 stays a plain 1x1).
        dilations: one branch for each.
        pool: adds a branch with the image's mean.
        with_cp: activation checkpointing of the dilated branches, which take most of a training
            step's memory.
    """

    def __init__(
        self, in_channels, out_channels, sep, dilations, pool, norm_cfg=None, act_cfg=RELU,
        with_cp=False,
    ):  # fmt: skip
        super().__init__()
        self.with_cp = with_cp
        convs = {'norm_cfg': norm_cfg, 'act_cfg': act_cfg}
        self.image_pool = None
        if pool:
            self.image_pool = nn.Sequential(
                nn.AdaptiveAvgPool2d(1), ConvModule(in_channels, out_channels, 1, **convs)
            )
        aspp = DepthwiseSeparableASPPModule if sep else ASPPModule
        channels = {'in_channels': in_channels, 'channels': out_channels}
        self.aspp_modules = aspp(dilations=dilations, conv_cfg=None, **channels, **convs)
        branches = len(dilations) + bool(pool)
        self.bottleneck = ConvModule(branches * out_channels, out_channels, 3, padding=1, **convs)

    def forward(self, feature):
        branches = []
        if self.image_pool is not None:
            branches.append(_upsample(self.image_pool(feature), feature.shape[2:]))
        for branch in self.aspp_modules:
            branches.append(checkpointed(branch, feature) if self.with_cp else branch(feature))
        return self.bottleneck(torch.cat(branches, dim=1))


def plain_convolution_and_aspp(in_channels, out_channels, kernel_size, **options):
    """Return a convolution without norm and activation, then an ASPP with the other options."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2),
        ASPPLayer(out_channels, out_channels, **options),
    )


class RelationBlock(SelfAttentionBlock):
    """MMSegmentation's block with any number of key and query convolutions (there: two)."""

    def __init__(self, channels, key_channels, key_query_num_convs, norm_cfg, act_cfg):
        convs = {'conv_cfg': None, 'norm_cfg': norm_cfg, 'act_cfg': act_cfg}
        super().__init__(channels, key_channels, **convs)
        self.key_project, self.query_project = (
            self.build_project(channels, key_channels, key_query_num_convs, True, **convs)
            for _ in range(2)
        )


class ISALayer(nn.Module):
    """Interlaced sparse self-attention: pixels at the same place of all cells attend to each other,
    then the pixels within each cell.

    Source: Huang et al., arXiv 1907.12273; DAFormer, Table 7. As in MMSegmentation's `ISAHead`, but
    with a 1x1 input convolution and no residual.

    Args:
        down_factor: (height, width) of a cell in pixels; the map is padded to whole cells.
        key_query_num_convs: number of 1x1 convolutions that make keys and queries.
    """

    def __init__(
        self, in_channels, out_channels, isa_channels, down_factor=(8, 8), key_query_num_convs=2,
        norm_cfg=None, act_cfg=RELU,
    ):  # fmt: skip
        super().__init__()
        self.cell = tuple(down_factor)
        self.in_conv = ConvModule(in_channels, out_channels, 1, norm_cfg=norm_cfg, act_cfg=act_cfg)
        relation = (out_channels, isa_channels, key_query_num_convs, norm_cfg, act_cfg)
        self.global_relation = RelationBlock(*relation)
        self.local_relation = RelationBlock(*relation)

    def forward(self, feature):
        feature = projected = self.in_conv(feature)
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
        across = across.reshape(batch, cell_h, cell_w, channels, rows, columns)
        within = across.permute(0, 4, 5, 3, 1, 2)
        within = self.local_relation(within.reshape(-1, channels, cell_h, cell_w))
        within = within.reshape(batch, rows, columns, channels, cell_h, cell_w)
        feature = within.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
        return in_format_of(feature[:, :, top : top + height, left : left + width], projected)


# Callables `(in_channels, out_channels, **options)` that return a module from maps to maps.
LAYERS = {
    'id': identity,
    'mlp': ChannelLinear,
    'conv': convolution,
    'sep_conv': functools.partial(convolution, module=DepthwiseSeparableConvModule),
    'aspp': ASPPLayer,
    'rawconv_and_aspp': plain_convolution_and_aspp,
    'isa': ISALayer,
}
