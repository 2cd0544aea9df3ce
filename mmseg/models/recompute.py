"""Gradient checkpointing: less memory for one more forward pass of a module."""

from contextlib import contextmanager, nullcontext

import torch
from torch.utils.checkpoint import checkpoint


def run_again_for_gradients(module, *inputs):
    """Call a module without keeping what its backward pass needs; that calls it a second time.

    Outputs and gradients are the same. So are BatchNorm's running statistics, which move in the
    first call alone, and the draws of drop path.

    Args:
        module (nn.Module): its outputs are a function of its inputs.
        *inputs: as the module takes them.
    """
    if not torch.is_grad_enabled():
        return module(*inputs)
    return checkpoint(
        module,
        *inputs,
        use_reentrant=False,
        context_fn=lambda: (nullcontext(), _buffers_kept(module)),
    )


@contextmanager
def _buffers_kept(module):
    before = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, value in before:
            buffer.copy_(value)
