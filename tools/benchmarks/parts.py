"""Parameters and floating-point operations of a segmentor, by its parts."""

import re

import torch
from torch import nn

from tools.benchmarks.flops import flop_counter

_MIT_STAGE = re.compile(r'(patch_embed|block|norm)(\d)')


def count_parts(segmentor, shape):
    """Counts on the meta device, where nothing is computed.

    Args:
        segmentor (EncoderDecoder): in eval mode, on the meta device.
        shape (tuple[int, int]): height and width of the image.

    Returns:
        A list of dicts: `group` (backbone, neck, decode_head, ...), `part` (a stage of the
        encoder, a layer of the head; '(itself)' for what a module computes outside its children,
        as heads do that fuse levels before upsampling), `parameters`, `trained` (of these with
        gradients) and `flops` of one image. Parts with none of them are left out.
    """
    parts = {}

    def add(name, **counts):
        place = _place(segmentor, name)
        part = parts.setdefault(place, dict(parameters=0, trained=0, flops=0))
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


def _place(segmentor, name):
    """Group and part that the module or parameter of a name belongs to."""
    steps = name.split('.')
    # `auxiliary_head` may be one or several.
    group, steps = steps[0], steps[1:]
    module = getattr(segmentor, group)
    if isinstance(module, nn.ModuleList) and steps:
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


def _own_flops(segmentor, shape):
    """Operations by module, without those of the modules in it."""
    images = torch.zeros(1, 3, *shape, device='meta')
    segmentor.forward = segmentor.forward_dummy  # as MMSegmentation's own get_flops.py does
    try:
        with torch.no_grad(), flop_counter() as counter:
            segmentor(images)
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
    assert sum(own.values()) == counter.get_total_flops()
    # MMSegmentation calls `decode_head.forward_test`, past the hooks that tell modules apart.
    own['decode_head'] = own.get('decode_head', 0) + own.pop('')
    return own
