"""What the config's ``speed`` asks for: put around the networks, which know nothing of it."""

import torch
from torch import nn

from mmseg.utils.gradients import Gradients
from mmseg.utils.user_error import UserError

PRECISIONS = {'bf16': torch.bfloat16, 'fp16': torch.float16}


def speed_up(
    method, device, grad_clip=None, *, amp=None, channels_last=False, compile=None, accumulate=1
):
    """Change how the networks of a method compute, in place; names of weights stay.

    Encoders, necks and heads each compute as asked for, in training and in evaluation. What goes
    from one to the next and into losses, pseudo-labels and the feature distance is float32, and so
    are weights, teacher and checkpoints.

    Args:
        method (UDAMethod): On ``device``. It must not be copied later.
        device (torch.device): Of the method.
        grad_clip (dict | None): See :class:`Gradients`.
        amp (str | None): A name in ``PRECISIONS``: autocast; ``'fp16'`` with scaled losses.
        channels_last (bool): Weights and feature maps lie in memory as (N, H, W, C).
        compile (str | None): Backend of ``torch.compile``.
        accumulate (int): Parts of a batch, see :class:`Gradients`.

    Raises:
        UserError: The device cannot do it.
    """
    if amp == 'bf16' and not _has_bf16(device):
        raise UserError("speed.amp='bf16': this GPU cannot compute in bfloat16; use 'fp16'.")
    if compile is not None:
        _try_compiler(compile, device)
    if channels_last:
        method.to(memory_format=torch.channels_last)
    for part in _parts(method):
        if compile is not None:
            part.forward = torch.compile(part.forward, backend=compile)
        if channels_last:
            part.forward = _in_channels_last(part.forward)
        if amp is not None:
            part.forward = _in_autocast(part.forward, device.type, PRECISIONS[amp])
    scaler = torch.amp.GradScaler(device.type) if amp == 'fp16' else None
    method.gradients = Gradients(accumulate, scaler, grad_clip)


def _has_bf16(device):
    return device.type != 'cuda' or torch.cuda.is_bf16_supported(including_emulation=False)


def _parts(method):
    """Yield the encoders, necks and heads of a method's networks."""
    for network in method.networks():
        for part in network.children():
            yield from part if isinstance(part, nn.ModuleList) else [part]


def _in_autocast(forward, device_type, dtype):
    def forward_in_autocast(*inputs, **options):
        with torch.autocast(device_type, dtype):
            outputs = forward(*inputs, **options)
        return _each(outputs, torch.Tensor.float)

    return forward_in_autocast


def _in_channels_last(forward):
    def forward_in_channels_last(*inputs, **options):
        return forward(*_each(inputs, _to_channels_last), **options)

    return forward_in_channels_last


def _to_channels_last(tensor):
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def _each(value, change):
    """Change the tensors in nested lists and tuples."""
    if isinstance(value, list | tuple):
        return type(value)(_each(entry, change) for entry in value)
    return change(value) if isinstance(value, torch.Tensor) else value


def _try_compiler(backend, device):
    """Compile something small: the first iteration would fail with pages of torch's own code."""
    try:
        torch.compile(lambda x: x.sin() + 1, backend=backend)(torch.ones(8, device=device))
    except Exception as error:  # each backend has its own, and none of them is ours
        reason = ' '.join(str(error).split('\n\n')[0].split())
        raise UserError(
            f'speed.compile={backend!r} does not work on {device} here ({type(error).__name__}: '
            f"{reason}). 'inductor' needs a C++ compiler, and Triton for a GPU."
        ) from error
