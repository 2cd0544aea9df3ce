"""The layers that DAFormerHead is put together from, by name, and the simple ones among them.

A layer is a callable `(in_channels, out_channels, **options)` that returns a module from
(batch, in_channels, height, width) to (batch, out_channels, height, width).
"""

import inspect

import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from torch import nn

from mmseg.ops import resize
from mmseg.utils.user_error import UserError

LAYERS = {}
RELU = {'type': 'ReLU'}
# Keys that published configs carry and that mean nothing.
IGNORED_OPTIONS = {'mlp': {'act_cfg', 'norm_cfg'}}


def register_layer(name):
    """Decorator: makes a layer available under `name`."""

    def register(layer):
        LAYERS[name] = layer
        return layer

    return register


def layer_options(name):
    """Returns the options of a layer: a dict of name → `inspect.Parameter`."""
    return dict(list(inspect.signature(LAYERS[name]).parameters.items())[2:])


def build_layer(cfg, in_channels, out_channels):
    """Builds a layer.

    Args:
        cfg: dict(type=NAME, **options).
        in_channels: channels of its input.
        out_channels: channels of its output.

    Raises:
        UserError: the type does not exist, or one of its options does not, or one is missing.
    """
    options = dict(cfg)
    name = options.pop('type', None)
    if name not in LAYERS:
        raise UserError(
            f'there is no decoder layer {name!r}; there are {", ".join(sorted(LAYERS))}'
        )
    ignored = IGNORED_OPTIONS.get(name, ())
    options = {key: value for key, value in options.items() if key not in ignored}
    parameters = layer_options(name)
    unknown = set(options) - set(parameters)
    if unknown:
        raise UserError(
            f'the decoder layer {name!r} has no option {", ".join(sorted(unknown))}; '
            f'it has {", ".join(parameters) or "none"}'
        )
    needed = {key for key, value in parameters.items() if value.default is value.empty}
    if needed - set(options):
        missing = ', '.join(sorted(needed - set(options)))
        raise UserError(f'the decoder layer {name!r} needs the option {missing}')
    return LAYERS[name](in_channels, out_channels, **options)


def stack_levels(levels):
    """Upsamples maps bilinearly to the size of the first and concatenates their channels."""
    size = levels[0].shape[2:]
    return torch.cat([_upsample(level, size) for level in levels], dim=1)


def fuse_levels(levels, layer):
    """Stacks maps (see `stack_levels`) and puts them through a layer.

    A 1x1 convolution commutes with bilinear upsampling. So each level goes through its share of
    the weights at its own size, which is a third of the work, and nothing is stacked.

    Args:
        levels: maps (batch, channels_i, height_i, width_i), the first the largest.
        layer: a module; only a `ConvModule` of kernel size 1 takes the short way.
    """
    if not (isinstance(layer, ConvModule) and layer.conv.kernel_size == (1, 1)):
        return layer(stack_levels(levels))
    size = levels[0].shape[2:]
    weights = layer.conv.weight.split([level.shape[1] for level in levels], dim=1)
    fused = F.conv2d(levels[0], weights[0], layer.conv.bias)
    for level, weight in zip(levels[1:], weights[1:], strict=True):
        fused = fused + _upsample(F.conv2d(level, weight), size)
    if layer.with_norm:
        fused = layer.norm(fused)
    return layer.activate(fused) if layer.with_activation else fused


def _upsample(feature, size):
    if feature.shape[2:] == size:
        return feature
    return resize(feature, size=size, mode='bilinear', align_corners=False)


@register_layer('id')
def identity(in_channels, out_channels):
    """Passes the features on.

    Raises:
        UserError: the numbers of channels differ.
    """
    if in_channels != out_channels:
        raise UserError(
            f"the decoder layer 'id' has {in_channels} channels and cannot give {out_channels}: "
            f'set its embed_dims to {in_channels}'
        )
    return nn.Identity()


@register_layer('mlp')
class ChannelLinear(nn.Module):
    """A linear layer over the channels (SegFormer's MLP)."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.proj = nn.Linear(in_channels, out_channels)

    def forward(self, feature):
        # As a 1x1 convolution the map keeps its memory format. Through nn.Linear it would come out
        # as a transposed (channels_last) view, which slows down all that follows on a CPU.
        return F.conv2d(feature, self.proj.weight[:, :, None, None], self.proj.bias)


@register_layer('conv')
def convolution(in_channels, out_channels, kernel_size, norm_cfg=None, act_cfg=RELU):
    """A convolution that keeps the size, with norm and activation."""
    return ConvModule(
        in_channels,
        out_channels,
        kernel_size,
        padding=kernel_size // 2,
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
    )


@register_layer('sep_conv')
def separable_convolution(in_channels, out_channels, kernel_size, norm_cfg=None, act_cfg=RELU):
    """A depthwise-separable convolution that keeps the size, with norms and activations."""
    return DepthwiseSeparableConvModule(
        in_channels,
        out_channels,
        kernel_size,
        padding=kernel_size // 2,
        norm_cfg=norm_cfg,
        act_cfg=act_cfg,
    )
