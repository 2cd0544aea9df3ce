"""How networks compute: the config's ``speed`` and ``deterministic``, and memory that is kept."""

import ctypes
import os

import torch
from torch import nn

from mmseg.core import build_optimizer
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
        amp (str | None): ``'bf16'`` or ``'fp16'`` (with scaled losses): autocast.
        channels_last (bool): Weights and feature maps lie in memory as (N, H, W, C).
        compile (str | None): Backend of ``torch.compile``.
        accumulate (int): Micro-batches; as ``grad_clip``, see :class:`Gradients`.
    """
    has_bf16 = device.type != 'cuda' or torch.cuda.is_bf16_supported(including_emulation=False)
    if amp == 'bf16' and not has_bf16:
        raise UserError("speed.amp='bf16': this GPU cannot compute in bfloat16; use 'fp16'.")
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


def set_determinism(cfg):
    """Set torch up as ``cfg.deterministic`` and ``cfg.cudnn_benchmark`` say (both default off).

    It changes nothing on the CPU, where operations sum in a fixed order. On a GPU torch takes
    deterministic forms, or raises an error that names the operation (such as the backward pass of
    UPerNet's adaptive pooling). Call it before anything runs there: cuBLAS reads its variable then.
    """
    deterministic = bool(cfg.get('deterministic'))
    torch.backends.cudnn.benchmark = bool(cfg.get('cudnn_benchmark')) and not deterministic
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        # The workspace that NVIDIA names as deterministic; another choice of the user's stays.
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    # The call alone imports torch's compiler, which takes a second.
    if deterministic != torch.are_deterministic_algorithms_enabled():
        # Not warn_only: with it, the fused attention's backward pass keeps its random order.
        torch.use_deterministic_algorithms(deterministic)


def keep_freed_memory(device):
    """Let a training on a CPU reuse memory that it has freed instead of asking for new pages.

    Glibc maps every block above 32 MB anew; that takes a quarter of a training step. It reads its
    own environment variables before Python starts, hence the call.
    """
    libc = ctypes.CDLL(None)
    if device.type == 'cpu' and hasattr(libc, 'gnu_get_libc_version'):
        trim_threshold, mmap_max = -1, -4  # from glibc's malloc.h
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, -1)


def build_grouped_optimizer(segmentor, cfg, beside=()):
    """Build the optimizer over a segmentor, with one group for all weights of the same options.

    Weights ``beside`` it have the plain options.

    mmcv makes a group of each single weight where ``paramwise_cfg`` is used, and torch's optimizers
    compute group by group. The steps are the same.
    """
    optimizer = build_optimizer(segmentor, cfg)
    if beside:
        optimizer.add_param_group({'params': beside})
    groups = {}
    for group in optimizer.param_groups:
        options = {key: value for key, value in group.items() if key != 'params'}
        alike = groups.setdefault(repr(sorted(options.items())), {'params': [], **options})
        alike['params'] += group['params']
    optimizer.param_groups = list(groups.values())
    return optimizer
