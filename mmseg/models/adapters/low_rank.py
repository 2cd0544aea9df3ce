"""Low-rank adaptation of linear layers: LoRA, and SoMA, which tunes minor singular components.

Sources: Hu et al., LoRA, ICLR 2022 (arXiv 2106.09685); Yun et al., SoMA, CVPR 2025 (arXiv
2412.04077), section 3. LoRA's defaults are those of VFMSeg, SoMA's those of its paper.
"""

import math
import re
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from mmseg.models.adapters.base import ADAPTERS, Adapter
from mmseg.utils.user_error import UserError

ATTENTION_INPUTS = ('qkv', 'q', 'kv', 'q_proj', 'k_proj', 'v_proj')
FEED_FORWARD = ('fc1', 'fc1_g', 'fc1_x', 'fc2')  # in gated ones the first layer is two
ROW_BLOCKS = {'qkv': 3, 'kv': 2}
_BLOCK = re.compile(r'(.*?\bblocks?\d*\.\d+)\.')


class Factor(nn.Module):
    """A matrix; no nn.Linear, so that an encoder's own way to draw weights passes it by."""

    def __init__(self, rows, columns):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, columns))


class LowRankLinear(nn.Linear):
    """A linear layer of W + scaling * B A, into which :meth:`extend` turns one of W.

    With n row blocks (query, key and value in one layer) A is (n * r, in) and B (out, r); the i-th
    n-th of the rows of each are a pair.
    """

    @classmethod
    def extend(cls, layer, r, alpha, dropout=0.0, blocks=1):
        """Add A, drawn as LoRA does, and B = 0 to an nn.Linear, whose own names stay."""
        layer.__class__ = cls
        layer.scaling = (r if alpha is None else alpha) / r
        layer.blocks = blocks
        layer.lora_dropout = nn.Dropout(dropout)
        layer.lora_A = Factor(blocks * r, layer.in_features)
        layer.lora_B = Factor(layer.out_features, r)
        nn.init.kaiming_uniform_(layer.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(layer.lora_B.weight)

    def forward(self, tokens):
        hidden = F.linear(self.lora_dropout(tokens), self.lora_A.weight) * self.scaling
        pairs = zip(hidden.chunk(self.blocks, -1), self._row_blocks(self.lora_B), strict=True)
        parts = [F.linear(hidden_block, rows) for hidden_block, rows in pairs]
        change = parts[0] if self.blocks == 1 else torch.cat(parts, -1)
        return super().forward(tokens) + change

    def change(self):
        """Return scaling * B A (out, in)."""
        pairs = zip(self._row_blocks(self.lora_B), self._row_blocks(self.lora_A), strict=True)
        return self.scaling * torch.cat([b @ a for b, a in pairs])

    @torch.no_grad()
    def take_minor_components(self):
        """Move the r smallest singular components of each row block of W to A and B."""
        r = self.lora_B.weight.shape[1]
        for w, a, b in zip(*map(self._row_blocks, (self, self.lora_A, self.lora_B)), strict=True):
            left, values, right = torch.linalg.svd(w, full_matrices=False)
            root = (values[-r:] / self.scaling).sqrt()
            a.copy_(root[:, None] * right[-r:])
            b.copy_(left[:, -r:] * root)
        self.weight.sub_(self.change())

    @torch.no_grad()
    def merge(self):
        """Become the nn.Linear of W + scaling * B A."""
        self.weight.add_(self.change())
        del self.lora_A, self.lora_B, self.lora_dropout, self.scaling, self.blocks
        self.__class__ = nn.Linear

    def _row_blocks(self, module):
        return module.weight.chunk(self.blocks)


class LowRank(Adapter):
    """What LoRA and SoMA have in common."""

    def extend(self, encoder, names, row_blocks, **options):
        """Extend the layers of these names; `row_blocks` gives their number by the last name."""
        for name in names:
            parent, _, last = name.rpartition('.')
            layer, blocks = encoder.get_submodule(name), row_blocks.get(last, 1)
            most = min(layer.out_features // blocks, layer.in_features)
            if self.r > most:
                raise UserError(
                    f'backbone.adapt.r is {self.r}: the rank of {name} is {most}, use less'
                )
            LowRankLinear.extend(layer, self.r, self.alpha, blocks=blocks, **options)
            attention = encoder.get_submodule(parent)
            # timm's attention with separate biases takes the bare weight of qkv otherwise.
            if last == 'qkv' and hasattr(attention, 'qkv_bias_separate'):
                attention.qkv_bias_separate = True

    def modules(self, encoder):
        """List the extended layers."""
        return [each for each in encoder.modules() if isinstance(each, LowRankLinear)]

    def merge(self, encoder):
        """Make plain linear layers of them."""
        for layer in self.modules(encoder):
            layer.merge()


@ADAPTERS.register_module()
@dataclass
class LoRA(LowRank):
    """W + alpha / r * B A, of which A and B are trained; the start is the encoder's own map.

    Options:
        r: rank of B A.
        alpha: None: r.
        dropout: of what A gets.
        targets: last names of linear layers, e.g. ['qkv', 'attn.proj']; None: those that make
            queries, keys and values. One pair A, B serves a layer as a whole.
    """

    r: int = 32
    alpha: float | None = None
    dropout: float = 0.1
    targets: list | None = None

    def install(self, encoder):
        """Extend the layers of `targets`."""
        layers = linear_layers(encoder)
        targets = ATTENTION_INPUTS if self.targets is None else self.targets
        names = [name for name in layers if is_called(name, targets)]
        missing = [t for t in targets if not any(is_called(name, [t]) for name in layers)]
        known = sorted({name.rpartition('.')[2] for name in layers})
        if not known:
            raise UserError(
                'backbone.adapt: the encoder has no linear layers that LoRA could adapt'
            )
        if not names or (self.targets and missing):
            what = ', '.join(missing) if self.targets else 'of queries, keys and values'
            raise UserError(
                f'the encoder has no linear layer {what}: set backbone.adapt.targets, a list of '
                f'names from {", ".join(known)}'
            )
        self.extend(encoder, names, {}, dropout=self.dropout)


@ADAPTERS.register_module()
@dataclass
class SoMA(LowRank):
    """Trains the r smallest singular components of each linear layer of the later blocks.

    These are q, k, v (each by itself also where they are rows of one layer), the attention's
    output and the feed-forward layers. Their biases are trained, too.

    Options:
        r: number of components.
        alpha: W + alpha / r * B A is the layer; None: r.
        start_block: the first adapted block, counted from 0 over all stages; None: after a third
            of them (the published 8 of 24).
        init: 'svd', of the loaded weights; 'none' subtracts nothing from them and starts as LoRA,
            close to what the released code does.
    """

    r: int = 16
    alpha: float | None = None
    start_block: int | None = None
    init: str = 'svd'

    def install(self, encoder):
        """Extend the layers of the later blocks."""
        matches = (_BLOCK.match(f'{name}.') for name, _ in encoder.named_modules())
        blocks = list(dict.fromkeys(match[1] for match in matches if match))
        start = len(blocks) // 3 if self.start_block is None else self.start_block
        adapted = tuple(f'{block}.' for block in blocks[start:])
        targets = (*ATTENTION_INPUTS, 'attn.proj', *FEED_FORWARD)
        names = [
            name for name in linear_layers(encoder)
            if name.startswith(adapted) and is_called(name, targets)
        ]  # fmt: skip
        if not names:
            raise UserError(
                f'backbone.adapt: SoMA finds no linear layers in the blocks from {start} of '
                f'{len(blocks)}: use a smaller start_block, or a transformer'
            )
        self.extend(encoder, names, ROW_BLOCKS)
        for name in names:
            parent = encoder.get_submodule(name.rpartition('.')[0])
            biases = [encoder.get_submodule(name).bias]
            if name.endswith('.qkv'):
                biases += [getattr(parent, key, None) for key in ('q_bias', 'v_bias')]
            for bias in biases:
                if bias is not None:
                    bias.requires_grad_(True)

    def start(self, encoder):
        """Split the loaded weights, unless A and B have come with them."""
        if self.init == 'svd':
            for layer in self.modules(encoder):
                if not layer.lora_B.weight.any():
                    layer.take_minor_components()


def linear_layers(encoder):
    """List the names of all plain linear layers."""
    # A subclass may do something else with its weight.
    return [name for name, module in encoder.named_modules() if type(module) is nn.Linear]


def is_called(name, targets):
    """Whether a module's name ends with one of some names, by whole components."""
    return any(f'.{name}'.endswith(f'.{target}') for target in targets)
