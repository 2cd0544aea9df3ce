"""Mix Transformer (MiT-B0 to B5): the hierarchical transformer encoder of DAFormer.

Source: Xie et al., SegFormer, NeurIPS 2021 (arXiv 2105.15203), section 3.1. Features are tokens
(batch, height * width, channels) within a stage and maps (batch, channels, height, width) between.
"""

import math

import torch.nn.functional as F
from timm.layers import DropPath, trunc_normal_
from torch import nn

from mmseg.models.adapters.base import AdaptedEncoder
from mmseg.models.backbones.mit_weights import to_our_names
from mmseg.models.builder import BACKBONES
from mmseg.models.memory import checkpointed, in_format_of
from mmseg.models.style_hallucination import StyleHallucination, fit_prototypes
from mmseg.models.weights import pretrained_init_cfg


def to_tokens(feature):
    """Make tokens of a map."""
    return feature.flatten(2).transpose(1, 2)


def to_map(tokens, size):
    """Make a map of tokens, as a view."""
    return tokens.transpose(1, 2).unflatten(2, size)


class OverlapPatchEmbed(nn.Module):
    """Downsampling by a convolution whose windows overlap, then LayerNorm."""

    def __init__(self, in_channels, embed_dim, kernel_size, stride):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, embed_dim, kernel_size, stride, kernel_size // 2)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, feature):
        """Return the tokens and the (height, width) that they came from."""
        feature = self.proj(feature)
        return self.norm(to_tokens(feature)), feature.shape[2:]


class EfficientAttention(nn.Module):
    """Self-attention; keys and values come from a map that a strided convolution reduces."""

    attention = staticmethod(F.scaled_dot_product_attention)

    def __init__(self, dim, num_heads, reduction):
        super().__init__()
        self.num_heads = num_heads
        self.reduction = reduction
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        if reduction > 1:
            self.sr = nn.Conv2d(dim, dim, reduction, stride=reduction)
            self.norm = nn.LayerNorm(dim)

    def forward(self, tokens, size):
        reduced = tokens
        if self.reduction > 1:
            reduced = self.norm(to_tokens(self.sr(to_map(tokens, size))))
        query = self.q(tokens).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        key_value = self.kv(reduced).unflatten(2, (2, self.num_heads, -1))
        key, value = key_value.permute(2, 0, 3, 1, 4).unbind(0)
        out = self.attention(query, key, value)
        return self.proj(out.transpose(1, 2).flatten(2))


class DepthwiseConv(nn.Module):
    """3x3 depthwise convolution on the map: the only positional information there is."""

    def __init__(self, dim):
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, tokens, size):
        return to_tokens(self.dwconv(to_map(tokens, size)))


class MixFeedForward(nn.Module):
    """Linear, depthwise convolution, GELU, Linear."""

    def __init__(self, dim, hidden_dim):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.dwconv = DepthwiseConv(hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, tokens, size):
        return self.fc2(F.gelu(self.dwconv(self.fc1(tokens), size)))


class Block(nn.Module):
    """Pre-norm transformer block with stochastic depth on both residuals."""

    def __init__(self, dim, num_heads, reduction, drop_path_rate):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = EfficientAttention(dim, num_heads, reduction)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = MixFeedForward(dim, 4 * dim)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, tokens, size):
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens), size))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens), size))


def init_module(module):
    """Initialize a module without ImageNet weights, as the SegFormer authors do."""
    if isinstance(module, nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        nn.init.zeros_(module.bias)


class MixTransformer(AdaptedEncoder):
    """Encoder with four stages at strides 4, 8, 16 and 32; `mit_b0` to `mit_b5` give its sizes.

    Args:
        pretrained: a weight file or its address, loaded by `init_weights()`; None draws weights.
        drop_path_rate: rate of the last block; the rates rise linearly from 0 at the first.
        with_cp: activation checkpointing of each block: less memory, more time.
        adapt: an adapter, all that is trained: dict(type='LoRA') or 'SoMA', with the options of
            that class in mmseg/models/adapters.
        style_hallucination_cfg: options of `StyleHallucination`, which a method lets add images of
            other styles behind the first stage; None: no such thing.
        style, ema_drop_path_rate: stand in published configs and mean nothing.
    """

    out_channels: tuple  # of the four levels
    depths: tuple
    num_heads = (1, 2, 5, 8)
    reductions = (8, 4, 2, 1)

    def __init__(
        self, pretrained=None, init_cfg=None, drop_path_rate=0.1, with_cp=False, adapt=None,
        style_hallucination_cfg=None, style=None, ema_drop_path_rate=None,
    ):  # fmt: skip
        super().__init__(pretrained_init_cfg(pretrained, init_cfg))
        self.with_cp = with_cp
        last_block = sum(self.depths) - 1
        in_channels, first = 3, 0
        for stage, (dim, depth) in enumerate(zip(self.out_channels, self.depths, strict=True)):
            embed = OverlapPatchEmbed(in_channels, dim, *((7, 4) if stage == 0 else (3, 2)))
            rates = [drop_path_rate * i / last_block for i in range(first, first + depth)]
            blocks = nn.ModuleList(
                Block(dim, self.num_heads[stage], self.reductions[stage], rate) for rate in rates
            )
            self.add_module(f'patch_embed{stage + 1}', embed)
            self.add_module(f'block{stage + 1}', blocks)
            self.add_module(f'norm{stage + 1}', nn.LayerNorm(dim, eps=1e-6))
            in_channels, first = dim, first + depth
        self.style_hallucination = None
        if style_hallucination_cfg is not None:
            self.style_hallucination = StyleHallucination(
                self.out_channels[0], **style_hallucination_cfg
            )
        self.adapt(adapt)

    def init_weights(self):
        """Load the weight file if there is one, else draw random weights."""
        if not self.init_cfg:
            self.apply(init_module)
        super().init_weights()

    def convert_weights(self, weights):
        """Translate the names of a weight file (see `StrictPretrained`)."""
        return fit_prototypes(to_our_names(weights), self.state_dict())

    def forward(self, img):
        """Return four maps (batch, out_channels[i], height / stride, width / stride)."""
        features = [self.first_map(img)]
        if self.style_hallucination is not None:
            features = [self.style_hallucination(*features)]
        for stage in range(2, 5):
            features.append(self._stage(stage, features[-1]))
        return features

    def first_map(self, img):
        """Return the first of the maps alone, whose channels have the style of an image."""
        return self._stage(1, img)

    def _stage(self, stage, feature):
        tokens, size = getattr(self, f'patch_embed{stage}')(feature)
        for block in getattr(self, f'block{stage}'):
            tokens = checkpointed(block, tokens, size) if self.with_cp else block(tokens, size)
        return in_format_of(to_map(getattr(self, f'norm{stage}')(tokens), size), feature)


def _variant(name, out_channels, depths):
    attributes = {'out_channels': out_channels, 'depths': depths, '__doc__': MixTransformer.__doc__}
    variant = type(name, (MixTransformer,), {**attributes, '__module__': __name__})
    return BACKBONES.register_module(name=name)(variant)


mit_b0 = _variant('mit_b0', (32, 64, 160, 256), (2, 2, 2, 2))
mit_b1 = _variant('mit_b1', (64, 128, 320, 512), (2, 2, 2, 2))
mit_b2 = _variant('mit_b2', (64, 128, 320, 512), (3, 4, 6, 3))
mit_b3 = _variant('mit_b3', (64, 128, 320, 512), (3, 4, 18, 3))
mit_b4 = _variant('mit_b4', (64, 128, 320, 512), (3, 8, 27, 3))
mit_b5 = _variant('mit_b5', (64, 128, 320, 512), (3, 6, 40, 3))
