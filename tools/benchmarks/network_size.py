"""Parameters, floating-point operations and memory of networks, computed on the meta device."""

import re

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from mmseg.engine.performance import build_grouped_optimizer

_MIT_STAGE = re.compile(r'(patch_embed|block|norm)(\d)')


def count_parts(segmentor, shape):
    """Count parameters and operations of a segmentor by its parts.

    Args:
        segmentor (EncoderDecoder): In eval mode, on the meta device.
        shape (tuple[int, int]): Height and width of the image.

    Returns:
        list[dict]: ``group`` (backbone, neck, decode_head, ...), ``part`` (a stage of the encoder,
        a layer of the head; '(itself)' for what a module computes outside its children),
        ``parameters``, ``trained`` and ``flops`` of one image, a multiply-add as two. Parts
        without any are left out.
    """
    parts = {}

    def add(name, **counts):
        part = parts.setdefault(_place(segmentor, name), dict(parameters=0, trained=0, flops=0))
        for key, count in counts.items():
            part[key] += count

    for name, _ in segmentor.named_modules():
        if name:
            add(name)  # the order of the parts is that of the modules
    for name, parameter in segmentor.named_parameters():
        number = parameter.numel()
        add(name, parameters=number, trained=number if parameter.requires_grad else 0)
    for name, flops in _own_flops(segmentor, shape).items():
        add(name, flops=flops)
    return [
        dict(group=group, part=part, **counts)
        for (group, part), counts in parts.items()
        if counts['parameters'] or counts['flops']
    ]


def networks_of(method):
    """Return ``parameters`` and ``bytes`` (of parameters and buffers) of a method's networks."""
    names = {'model': 'student', 'ema_model': 'teacher', 'imnet_model': 'frozen encoder'}
    return {
        names.get(name, name): dict(
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            bytes=_size((*network.parameters(), *network.buffers())),
        )
        for name, network in method.named_children()
    }


def training_memory(method, optimizer_cfg):
    """Return the bytes of gradients and optimizer state, by name; without activations.

    Args:
        method (UDAMethod): On the meta device, where the optimizer takes a step.
        optimizer_cfg (dict | None): None: the config does not train.
    """
    if optimizer_cfg is None:
        return {}
    trained = [p for p in method.model.parameters() if p.requires_grad]
    # Fused, the state is the same, but there is no such step on the meta device.
    options = {key: value for key, value in optimizer_cfg.items() if key != 'fused'}
    optimizer = build_grouped_optimizer(method.model, options)
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    state = [value for entry in optimizer.state.values() for value in entry.values()]
    return {
        'gradients': _size(trained),
        f'state of {type(optimizer).__name__}': _size(v for v in state if torch.is_tensor(v)),
    }


def _size(tensors):
    return sum(tensor.nbytes for tensor in tensors)


def _place(segmentor, name):
    """Return group and part that the module or parameter of a name belongs to."""
    group, *steps = name.split('.')
    module = getattr(segmentor, group)
    if isinstance(module, nn.ModuleList) and steps:  # `auxiliary_head` may be one or several
        group, module, steps = f'{group}.{steps[0]}', module[int(steps[0])], steps[1:]
    # TimmEncoder has one child, which has the stages.
    if len(children := dict(module.named_children())) == 1 and len(steps) > 1:
        module, steps = children[steps[0]], steps[1:]
    if not steps:
        return group, '(itself)'
    stage = _MIT_STAGE.fullmatch(steps[0])
    if stage:
        return group, f'stage {stage[2]}'
    part = getattr(module, steps[0], None)
    if isinstance(part, nn.ModuleList | nn.ModuleDict) and len(steps) > 1 and group != 'backbone':
        return group, f'{steps[0]}.{steps[1]}'
    return group, steps[0]


def flop_counter():
    """Return a ``FlopCounterMode`` that knows the fused attention of CPUs, too."""
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

    def attention_flops(query_shape, key_shape, value_shape, *_, **__):
        return sdpa_flop_count(query_shape, key_shape, value_shape)

    return FlopCounterMode(display=False, custom_mapping={attention: attention_flops})


def _own_flops(segmentor, shape):
    """Return operations by module, without those of the modules in it."""
    segmentor.forward = segmentor.forward_dummy  # as MMSegmentation's own get_flops.py does
    try:
        with torch.no_grad(), flop_counter() as counter:
            segmentor(torch.zeros(1, 3, *shape, device='meta'))
    finally:
        del segmentor.forward
    root = type(segmentor).__name__
    flops = {
        name.removeprefix(root).removeprefix('.'): sum(counts.values())
        for name, counts in counter.get_flop_counts().items()
        if name == root or name.startswith(f'{root}.')
    }
    own = dict(flops)
    for name, count in flops.items():
        while name:
            name = name.rpartition('.')[0]
            if name in own:
                own[name] -= count
                break
    # MMSegmentation calls `decode_head.forward_test`, past the hooks that tell modules apart.
    own['decode_head'] = own.get('decode_head', 0) + own.pop('')
    return own
