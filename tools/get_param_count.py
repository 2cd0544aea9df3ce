"""Count the parameters and FLOPs of a network: ``python tools/get_param_count.py CONFIG``."""

import argparse
import json
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

import torch
from prettytable import PrettyTable
from torch.utils.flop_counter import FlopCounterMode

from mmseg.engine.config import parse_options
from mmseg.engine.performance import build_grouped_optimizer
from mmseg.models.uda import build_train_model
from mmseg.utils.files import write_text
from mmseg.utils.user_error import reports_user_errors
from tools.given_config import inference_size, read_config


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Count the parameters of a network, the floating-point operations of one '
        'image, and the memory that training needs beside activations.',
        epilog='example: python tools/get_param_count.py '
        'configs/daformer/gta2cs_uda_warm_fdthings_rcs_croppl_a999_daformer_mitb5_s0.py '
        '--shape 512 512',
    )
    add = parser.add_argument
    add('config', help="a config (.py, .json), a run's folder, or a checkpoint with its config")
    add('--shape', nargs=2, type=int, metavar=('H', 'W'), help="default: the config's test size")
    add('--json', metavar='FILE', help='write all figures there, too')
    add('--cfg-options', nargs='+', metavar='KEY=VALUE', help='replace entries')
    return parser.parse_args(argv)


@reports_user_errors
def main(argv=None):
    """Print the tables; returns the figures."""
    args = parse_args(argv)
    cfg = read_config(args.config, parse_options(args.cfg_options))
    shape = args.shape or inference_size(cfg)
    model = build_train_model(cfg).to('meta')
    found = {
        'shape': list(shape),
        'parts': count_parts(model.model.eval(), shape),
        'training_bytes': training_memory(model, cfg.get('optimizer')),
    }
    rows = [
        [part['part'], f'{part["parameters"]:,}', f'{part["trained"]:,}', _in(1e9, part['flops'])]
        for part in found['parts']
    ]
    print(_table(['part', 'parameters', 'trained', 'GFLOP for {} × {}'.format(*shape)], rows))
    memory = found['training_bytes']
    rows = [[name, _in(1e6, size)] for name, size in memory.items()]
    total = ['all, without activations', _in(1e6, sum(memory.values()))]
    print(_table(['in training', 'MB'], [*rows, total]))
    if args.json:
        write_text(args.json, json.dumps(found, indent=2) + '\n')
        print(f'The figures are in {args.json}')
    return found


def count_parts(segmentor, shape):
    """Count parameters, trained ones, and operations of one image, a multiply-add as two.

    Returns:
        list[dict]: Of backbone, decode head, ..., each before its layers, and of all together.
    """
    # So FlopCounterMode sees the head called, which `forward_test` hides from it.
    segmentor.forward = lambda image: segmentor.decode_head(segmentor.extract_feat(image))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        segmentor(torch.zeros(1, 3, *shape, device='meta'))
    flops = {
        name.partition('.')[2]: sum(counts.values())
        for name, counts in counter.get_flop_counts().items()
    }
    names = [name for name, _ in segmentor.named_modules() if name and name.count('.') < 2]
    parts = [_part(name, segmentor.get_submodule(name), flops) for name in names]
    parts.append({**_part('all', segmentor, {}), 'flops': counter.get_total_flops()})
    return [part for part in parts if part['parameters'] or part['flops']]


def _part(name, module, flops):
    # Lists of layers are not called themselves: the outermost called modules in them count.
    called = [key for key in flops if f'{key}.'.startswith(f'{name}.')]
    outermost = [k for k in called if not any(k.startswith(f'{other}.') for other in called)]
    parameters = list(module.parameters())
    return dict(
        part=name,
        parameters=sum(p.numel() for p in parameters),
        trained=sum(p.numel() for p in parameters if p.requires_grad),
        flops=sum(flops[key] for key in outermost),
    )


def training_memory(method, optimizer_cfg):
    """Return the bytes of networks, gradients and optimizer state, by name.

    Args:
        method (UDAMethod): On the meta device, where the optimizer takes a step.
        optimizer_cfg (dict | None): None: the config does not train.
    """
    names = {'model': 'student', 'ema_model': 'teacher', 'imnet_model': 'frozen encoder'}
    found = {
        names.get(name, name): _size((*network.parameters(), *network.buffers()))
        for name, network in method.named_children()
    }
    if optimizer_cfg is None:
        return found
    # Fused, the state is the same, but there is no such step on the meta device.
    options = {key: value for key, value in optimizer_cfg.items() if key != 'fused'}
    optimizer = build_grouped_optimizer(method.model, options)
    trained = [p for p in method.model.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    state = [value for entry in optimizer.state.values() for value in entry.values()]
    found['gradients'] = _size(trained)
    found[f'state of {type(optimizer).__name__}'] = _size(v for v in state if torch.is_tensor(v))
    return found


def _size(tensors):
    return sum(tensor.nbytes for tensor in tensors)


def _in(unit, number):
    return f'{number / unit:.2f}'


def _table(head, rows):
    table = PrettyTable(head, align='r')
    table.align[head[0]] = 'l'
    table.add_rows(rows)
    return table


if __name__ == '__main__':
    main()
