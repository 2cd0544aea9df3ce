"""Mix Transformer (MiT-B0 to B5): the hierarchical transformer encoder of DAFormer.

Source: Xie et al., SegFormer, NeurIPS 2021 (arXiv 2105.15203), section 3.1. Within a stage the
features are tokens (batch, height * width, channels); between stages they are maps
(batch, channels, height, width).
"""

import math

import torch.nn.functional as F
from mmcv.runner import BaseModule
from timm.layers import DropPath, trunc_normal_
from torch import nn

from mmseg.models.backbones.mit_weights import load_mit_weights
from mmseg.models.builder import BACKBONES
from mmseg.models.recompute import run_again_for_gradients
from mmseg.utils.user_error import UserError


def to_tokens(feature):
    """(batch, channels, height, width) to (batch, height * width, channels)."""
    return feature.flatten(2).transpose(1, 2)


def to_map(tokens, size):
    """(batch, height * width, channels) to (batch, channels, height, width), as a view."""
    return tokens.transpose(1, 2).unflatten(2, size)


class OverlapPatchEmbed(nn.Module):
    """Downsampling by a convolution whose windows overlap, then LayerNorm."""

    def __init__(self, in_channels, embed_dim, kernel_size, stride):
        super().__init__()
        self.proj = nn.Conv2d(
            in_channels, embed_dim, kernel_size, stride=stride, padding=kernel_size // 2
        )
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, feature):
        """Returns the tokens and the (height, width) that they came from."""
        feature = self.proj(feature)
        return self.norm(to_tokens(feature)), feature.shape[2:]


class EfficientAttention(nn.Module):
    """Self-attention whose keys and values come from a spatially reduced map.

    Args:
        dim: channels C.
        num_heads: heads; they split the channels contiguously.
        reduction: stride of the convolution that makes the map for keys and values (1: none).
    """

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
        out = F.scaled_dot_product_attention(query, key, value)
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
    """Initialisation without ImageNet weights, as the SegFormer authors have it."""
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


class MixTransformer(BaseModule):
    """Encoder with four stages at strides 4, 8, 16 and 32; `mit_b0` to `mit_b5` give its sizes.

    Args:
        pretrained: a weight file or its address (see `mit_weights`), read by `init_weights()`;
            None starts from random weights.
        init_cfg: MMSegmentation's way to say the same: dict(type='Pretrained', checkpoint=path).
        drop_path_rate: rate of the last block; the rates rise linearly from 0 at the first.
        with_cp: the backward pass computes each block once more instead of remembering what is in
            it: less memory, more time, the same gradients.
        style, ema_drop_path_rate: stand in published configs and mean nothing.

    Raises:
        UserError: `init_cfg` is anything else, or contradicts `pretrained`.
    """

    embed_dims: tuple
    depths: tuple
    num_heads = (1, 2, 5, 8)
    reductions = (8, 4, 2, 1)

    def __init__(
        self,
        pretrained=None,
        init_cfg=None,
        drop_path_rate=0.1,
        with_cp=False,
        style=None,
        ema_drop_path_rate=None,
    ):
        super().__init__()
        self.with_cp = with_cp
        self.pretrained = _weight_file(pretrained, init_cfg)
        last_block = sum(self.depths) - 1
        in_channels, first = 3, 0
        for stage, (dim, depth) in enumerate(zip(self.embed_dims, self.depths, strict=True)):
            embed = OverlapPatchEmbed(in_channels, dim, *((7, 4) if stage == 0 else (3, 2)))
            rates = [drop_path_rate * i / last_block for i in range(first, first + depth)]
            blocks = nn.ModuleList(
                Block(dim, self.num_heads[stage], self.reductions[stage], rate) for rate in rates
            )
            self.add_module(f'patch_embed{stage + 1}', embed)
            self.add_module(f'block{stage + 1}', blocks)
            self.add_module(f'norm{stage + 1}', nn.LayerNorm(dim, eps=1e-6))
            in_channels, first = dim, first + depth

    def init_weights(self):
        """Loads the weight file where there is one, else draws random weights.

        Raises:
            UserError: the file is missing, unreadable or does not fit.
        """
        if self.pretrained is None:
            self.apply(init_module)
        else:
            load_mit_weights(self, self.pretrained)
        self._is_init = True

    def forward(self, img):
        """Encodes images.

        Args:
            img: (batch, 3, height, width), normalised.

        Returns:
            Four contiguous maps (batch, embed_dims[i], height / stride, width / stride).
        """
        features, feature = [], img
        for stage in range(1, 5):
            tokens, size = getattr(self, f'patch_embed{stage}')(feature)
            for block in getattr(self, f'block{stage}'):
                if self.with_cp:
                    tokens = run_again_for_gradients(block, tokens, size)
                else:
                    tokens = block(tokens, size)
            tokens = getattr(self, f'norm{stage}')(tokens)
            # A transposed view is a channels_last map, which slows down all that follows on a CPU.
            feature = to_map(tokens, size).contiguous()
            features.append(feature)
        return features


def _weight_file(pretrained, init_cfg):
    if init_cfg is None:
        return pretrained
    if pretrained is not None:
        raise UserError('the encoder has both pretrained and init_cfg: leave one of them out')
    if init_cfg.get('type') != 'Pretrained' or set(init_cfg) != {'type', 'checkpoint'}:
        raise UserError(
            f'the encoder cannot use init_cfg={dict(init_cfg)}: '
            "write init_cfg=dict(type='Pretrained', checkpoint='FILE') or pretrained='FILE'"
        )
    return init_cfg['checkpoint']


def _variant(name, embed_dims, depths):
    attributes = {'embed_dims': embed_dims, 'depths': depths, '__doc__': MixTransformer.__doc__}
    variant = type(name, (MixTransformer,), {**attributes, '__module__': __name__})
    return BACKBONES.register_module(name=name)(variant)


mit_b0 = _variant('mit_b0', (32, 64, 160, 256), (2, 2, 2, 2))
mit_b1 = _variant('mit_b1', (64, 128, 320, 512), (2, 2, 2, 2))
mit_b2 = _variant('mit_b2', (64, 128, 320, 512), (3, 4, 6, 3))
mit_b3 = _variant('mit_b3', (64, 128, 320, 512), (3, 4, 18, 3))
mit_b4 = _variant('mit_b4', (64, 128, 320, 512), (3, 8, 27, 3))
mit_b5 = _variant('mit_b5', (64, 128, 320, 512), (3, 6, 40, 3))
