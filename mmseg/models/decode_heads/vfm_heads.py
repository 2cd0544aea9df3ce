"""Decode heads for plain ViTs, as published with vision foundation models (VFMs).

Their `channels` follow from the encoder's width. Weights have the names that they have in published
checkpoints of VFM-UDA and VFM-UDA++, but for the classifier: `conv_seg` here, `out` there.
"""

from itertools import pairwise

import torch
from mmcv.cnn import ConvModule, build_norm_layer
from torch import nn

from mmseg.models.builder import HEADS
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.layer_norm import LayerNorm2d
from mmseg.ops import resize
from mmseg.utils.user_error import UserError

CLASSIFIER_INIT = {'type': 'Normal', 'std': 0.1, 'override': {'name': 'conv_seg'}}


def kaiming_uniform(layer, mode):
    """Return the init_cfg of a layer that ReLU follows."""
    kaiming = {'type': 'Kaiming', 'distribution': 'uniform', 'nonlinearity': 'relu'}
    return {**kaiming, 'layer': layer, 'mode': mode}


def fraction(width, divisor):
    """Return a part of an encoder's width."""
    if not isinstance(width, int) or width % divisor:
        raise UserError(f'in_channels is {width!r}; it has to be a multiple of {divisor} here')
    return width // divisor


def upsampling(in_channels, out_channels, bias=True):
    """Return a transposed convolution that doubles height and width."""
    return nn.ConvTranspose2d(in_channels, out_channels, 2, stride=2, bias=bias)


class VFMDecodeHead(BaseDecodeHead):
    """What the heads of VFM-UDA and VFM-UDA++ share: `upscale`, and a classifier without bias."""

    def __init__(self, in_channels, channels, dropout_ratio=0, init_cfg=None, **kwargs):
        super().__init__(
            in_channels, channels, dropout_ratio=dropout_ratio, init_cfg=init_cfg, **kwargs
        )
        self.conv_seg = nn.Conv2d(self.channels, self.out_channels, 1, bias=False)

    def forward(self, inputs):
        """Return logits (batch, num_classes, height, width), four times the last level's size or
        the finest level's.
        """
        return self.cls_seg(self.upscale(self._transform_inputs(inputs)))


@HEADS.register_module()
class VFMHead(VFMDecodeHead):
    """VFM-UDA's head (Englert et al., CVPR workshops 2024): the last level, upsampled 4 times."""

    def __init__(self, in_channels, init_cfg=CLASSIFIER_INIT, **kwargs):
        half, quarter = fraction(in_channels, 2), fraction(in_channels, 4)
        super().__init__(in_channels, quarter, init_cfg=init_cfg, **kwargs)
        self.upscale = nn.Sequential(
            upsampling(in_channels, half, bias=False),
            LayerNorm2d(half),
            nn.GELU(),
            upsampling(half, quarter, bias=False),
            LayerNorm2d(quarter),
            nn.Conv2d(quarter, quarter, 3, padding=1, bias=False),
            LayerNorm2d(quarter),
        )


class TopDownPath(nn.Module):
    """Upsamples the coarsest of four levels, at each step adding the next finer one.

    The width halves at each step.
    """

    def __init__(self, in_channels, norm_cfg):
        super().__init__()
        widths = [fraction(in_channels[-1], 2**step) for step in range(4)]
        for step, (wide, narrow) in enumerate(pairwise(widths), 1):
            setattr(self, f'up_conv{step}', upsampling(wide, narrow))
            setattr(self, f'reduce_conv{step}', nn.Conv2d(in_channels[-1 - step], narrow, 1))
            setattr(self, f'smooth_conv{step}', nn.Conv2d(narrow, narrow, 3, padding=1))
            setattr(self, f'norm{step}', build_norm_layer(norm_cfg, narrow)[1])
        self.smooth_conv4 = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)

    def forward(self, levels):
        """Return a map (batch, channels / 8, height_0, width_0) of levels, finest first."""
        *finer, feature = levels
        for step, level in enumerate(reversed(finer), 1):
            feature = getattr(self, f'up_conv{step}')(feature)
            skip = getattr(self, f'reduce_conv{step}')(level)
            if feature.shape != skip.shape:  # a coarser level's size was rounded down
                size = skip.shape[2:]
                feature = resize(feature, size=size, mode='bilinear', align_corners=False)
            feature = getattr(self, f'smooth_conv{step}')(feature + skip)
            feature = torch.relu(getattr(self, f'norm{step}')(feature))
        return self.smooth_conv4(feature)


@HEADS.register_module()
class VFMPyramidHead(VFMDecodeHead):
    """VFM-UDA++'s head on four levels of the strides 4, 8, 16 and 32 (Englert et al., 2025)."""

    def __init__(self, in_channels, norm_cfg=None, init_cfg=None, **kwargs):
        if len(in_channels) != 4:
            raise UserError(f'VFMPyramidHead needs four levels; in_channels is {in_channels}')
        super().__init__(
            in_channels,
            fraction(in_channels[-1], 8),
            input_transform='multiple_select',
            norm_cfg=norm_cfg or {'type': 'SyncBN', 'momentum': 0.01},
            init_cfg=init_cfg or [
                kaiming_uniform('Conv2d', 'fan_in'),
                kaiming_uniform('ConvTranspose2d', 'fan_out'),
                CLASSIFIER_INIT,
            ],
            **kwargs,
        )  # fmt: skip
        self.upscale = TopDownPath(in_channels, self.norm_cfg)


@HEADS.register_module()
class VFMSegHead(BaseDecodeHead):
    """VFMSeg's head: levels of one stride are fused, then upsampled four times."""

    def __init__(self, in_channels, norm_cfg=None, **kwargs):
        width = in_channels[-1]
        half, quarter = fraction(width, 2), fraction(width, 4)
        super().__init__(
            in_channels,
            quarter,
            input_transform='multiple_select',
            norm_cfg=norm_cfg or {'type': 'SyncBN'},
            **kwargs,
        )
        groups = {'type': 'GN', 'num_groups': 32}
        self.fuse = ConvModule(sum(in_channels), width, 1, norm_cfg=groups, act_cfg=self.act_cfg)
        self.upscale = nn.Sequential(
            upsampling(width, half),
            build_norm_layer(self.norm_cfg, half)[1],
            nn.GELU(),
            upsampling(half, quarter),
            nn.GELU(),
        )

    def forward(self, inputs):
        """Return logits (batch, num_classes, 4 * height, 4 * width)."""
        fused = self.fuse(torch.cat(self._transform_inputs(inputs), dim=1))
        return self.cls_seg(self.upscale(fused))
