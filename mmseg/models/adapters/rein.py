"""Rein: learnable tokens refine the patch tokens after each block of a frozen ViT.

Source: Wei et al., Stronger, Fewer, & Superior, CVPR 2024 (arXiv 2312.04265), sections 3.2 and 3.3,
without the link to queries that a Mask2Former head would need.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from mmseg.models.adapters.base import ADAPTERS, Adapter
from mmseg.utils.user_error import UserError


class ReinTokens(nn.Module):
    """The layers of Rein for all blocks, which share the two linear maps.

    Args:
        depth: number of blocks.
        width: D of their tokens.
        patch: side of a patch in pixels; the range of the first tokens follows from it.
        prefix: number of tokens before those of the patches (class, registers).
        m, r: number of learnable tokens, and the rank of their matrix.
        scale: of the change, at the start.
    """

    def __init__(self, depth, width, patch, prefix, m, r, scale):
        super().__init__()
        self.prefix = prefix
        self.scale = nn.Parameter(torch.tensor(scale))
        self.learnable_tokens_a = nn.Parameter(torch.empty(depth, m, r))
        self.learnable_tokens_b = nn.Parameter(torch.empty(depth, r, width))
        self.mlp_token2feat = nn.Linear(width, width)
        self.mlp_delta_f = nn.Linear(width, width)
        bound = math.sqrt(6 / (3 * patch**2 + math.sqrt(width * r)))
        nn.init.uniform_(self.learnable_tokens_a, -bound, bound)
        nn.init.uniform_(self.learnable_tokens_b, -bound, bound)

    def forward(self, tokens, block):
        """Refine the tokens (B, N, D) that come out of a block; prefix tokens stay."""
        features = tokens[:, self.prefix :]
        learnt = self.learnable_tokens_a[block] @ self.learnable_tokens_b[block]  # (m, D)
        attention = (features @ learnt.T / math.sqrt(tokens.shape[-1])).softmax(-1)
        # What attends to the first token is left as it is: it adds nothing.
        delta = attention[..., 1:] @ self.mlp_token2feat(learnt[1:])
        refined = features + self.scale * self.mlp_delta_f(delta + features)
        return torch.cat([tokens[:, : self.prefix], refined], 1)

    def after_block(self, block, module, inputs, tokens):
        """Call this module as the forward hook of a block."""
        return self(tokens, block)


@ADAPTERS.register_module()
@dataclass
class Rein(Adapter):
    """Learnable tokens between the blocks of a plain ViT; see :class:`ReinTokens`.

    The published levels are not normalized: set the encoder's norm=False.
    """

    m: int = 100
    r: int = 16
    scale: float = 0.001

    def install(self, encoder):
        """Add `encoder.rein`, and a hook to each block."""
        vit = getattr(encoder, 'timm_model', None)
        if not hasattr(vit, 'num_prefix_tokens'):
            raise UserError(
                "backbone.adapt.type='Rein' is for plain ViTs, backbone.type='TimmViT': use LoRA "
                'or SoMA'
            )
        width, patch = vit.embed_dim, vit.patch_embed.patch_size[0]
        if self.r > min(self.m, width):
            raise UserError(
                f'backbone.adapt.r is {self.r}: the rank of the tokens is {min(self.m, width)}, '
                'use less'
            )
        options = (width, patch, vit.num_prefix_tokens, self.m, self.r, float(self.scale))
        encoder.rein = ReinTokens(len(vit.blocks), *options)
        for number, block in enumerate(vit.blocks):
            block.register_forward_hook(partial(encoder.rein.after_block, number))

    def modules(self, encoder):
        """List the module of the tokens."""
        return [encoder.rein]
