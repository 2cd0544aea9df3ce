"""Count the parameters and FLOPs of a network: ``python tools/get_param_count.py CONFIG``."""

import argparse
import json
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

import torch
from prettytable import PrettyTable
from torch.overrides import TorchFunctionMode

from mmseg.engine.config import parse_options
from mmseg.models.uda import build_train_model
from mmseg.utils.files import write_text
from mmseg.utils.user_error import reports_user_errors
from tools.benchmarks.network_size import count_parts, networks_of, training_memory
from tools.given_config import inference_size, read_config


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Count the parameters of a network and the floating-point operations of one '
        'image, by stage of the encoder and layer of the decode head, and the memory that training '
        'needs beside activations. Nothing is allocated or computed for it.',
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
    with torch.device('meta'), _RangesOnCPU():
        model = build_train_model(cfg)
    found = {
        'shape': list(shape),
        'parts': count_parts(model.model.eval(), shape),
        'networks': networks_of(model),
        'training_bytes': training_memory(model, cfg.get('optimizer')),
    }
    print(parts_table(found['parts'], shape))
    print(memory_table(found['networks'], found['training_bytes']))
    if args.json:
        write_text(args.json, json.dumps(found, indent=2) + '\n')
        print(f'The figures are in {args.json}')
    return found


class _RangesOnCPU(TorchFunctionMode):
    """Many encoders read their drop path rates from ``torch.linspace`` while they are built."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.linspace:
            kwargs = {'device': 'cpu', **kwargs}
        return func(*args, **kwargs)


def parts_table(parts, shape):
    """A table of the networks' parts, each below the sum of its group."""
    table = PrettyTable(['part', 'parameters', 'trained', 'GFLOP for {} × {}'.format(*shape)])
    table.align = 'r'
    table.align['part'] = 'l'

    def add(name, members):
        sums = [sum(part[key] for part in members) for key in ('parameters', 'trained', 'flops')]
        table.add_row([name, f'{sums[0]:,}', f'{sums[1]:,}', f'{sums[2] / 1e9:.2f}'])

    for group in dict.fromkeys(part['group'] for part in parts):
        members = [part for part in parts if part['group'] == group]
        add(group, members)
        for part in members if len(members) > 1 else ():
            add(f'  {part["part"]}', [part])
    table.add_divider()
    add('all', parts)
    return table


def memory_table(networks, memory):
    """A table of the networks of a training step and of what else it keeps in memory."""
    table = PrettyTable(['in training', 'parameters', 'MB'])
    table.align = 'r'
    table.align['in training'] = 'l'
    sizes = {name: network['bytes'] for name, network in networks.items()} | memory
    for name, size in sizes.items():
        parameters = f'{networks[name]["parameters"]:,}' if name in networks else ''
        table.add_row([name, parameters, f'{size / 1e6:.1f}'])
    table.add_divider()
    table.add_row(['all, without activations', '', f'{sum(sizes.values()) / 1e6:.1f}'])
    return table


if __name__ == '__main__':
    main()
