"""How feature maps lie in memory (NCHW or channels_last), and what the backward pass remembers."""

from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint


def is_channels_last(feature):
    """Whether a map lies in memory as (N, H, W, C), as `speed.channels_last` has it."""
    return not feature.is_contiguous() and feature.is_contiguous(memory_format=torch.channels_last)


def in_format_of(feature, reference):
    """Return a map in the format of another: maps made of tokens are channels_last views."""
    formats = torch.contiguous_format, torch.channels_last
    return feature.contiguous(memory_format=formats[is_channels_last(reference)])


def pointwise(feature, weight, bias=None):
    """Apply a linear layer over the channels; the map keeps its memory format."""
    if is_channels_last(feature):
        return F.linear(feature.permute(0, 2, 3, 1), weight, bias).permute(0, 3, 1, 2)
    return F.conv2d(feature, weight[:, :, None, None], bias)


def checkpointed(module, *inputs):
    """Call a module with activation checkpointing: its backward pass calls it a second time.

    BatchNorm's running statistics move in the first call alone.
    """
    if not torch.is_grad_enabled():
        return module(*inputs)
    contexts = (nullcontext(), _buffers_kept(module))
    return checkpoint(module, *inputs, use_reentrant=False, context_fn=lambda: contexts)


@contextmanager
def _buffers_kept(module):
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)
