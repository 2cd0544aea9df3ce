"""Parameters and FLOPs of a network, part by part: ``python tools/get_param_count.py CONFIG``."""

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
from mmseg.models.uda.build import build_train_model
from mmseg.utils.files import write_text
from mmseg.utils.user_error import UserError, reports_user_errors
from tools.benchmarks.parts import count_parts
from tools.benchmarks.training_memory import networks_of, training_memory
from tools.given_config import read_config, size_of_tests


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Count the parameters of a network and the floating-point operations of one '
        'image, by stage of the encoder and layer of the decode head, and what training keeps in '
        'memory beside activations. Nothing is allocated or computed for it.',
        epilog='example: python tools/get_param_count.py '
        'configs/daformer/gta2cs_uda_warm_fdthings_rcs_croppl_a999_daformer_mitb5_s0.py '
        '--shape 512 512',
    )
    parser.add_argument(
        'config', help="a Python or JSON config, a run's folder, or a checkpoint with its config"
    )
    parser.add_argument(
        '--shape', nargs=2, type=int, metavar=('H', 'W'),
        help="size of the image (default: the config's test size)",
    )  # fmt: skip
    parser.add_argument('--json', metavar='FILE', help='write all figures there, too')
    parser.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', help='replace entries')
    args = parser.parse_args(argv)
    if args.shape and min(args.shape) < 32:
        parser.error('--shape must be at least 32 32')
    return args


@reports_user_errors
def main(argv=None):
    """Print the tables; returns the figures."""
    args = parse_args(argv)
    cfg = read_config(args.config, parse_options(args.cfg_options))
    shape = args.shape or size_of_tests(cfg)
    if shape is None:
        raise UserError('the config does not say at which size it tests: give --shape H W.')
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
    """Many encoders read their drop path rates off ``torch.linspace`` while they are built."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.linspace:
            kwargs = {'device': 'cpu', **kwargs}
        return func(*args, **kwargs)


def parts_table(parts, shape):
    """A table of the parts under their networks' parts; without what has and does nothing."""
    gflop = 'GFLOP for {} × {}'.format(*shape)
    table = PrettyTable(['part', 'parameters', 'trained', gflop])
    table.align = 'r'
    table.align['part'] = 'l'
    for group in dict.fromkeys(part['group'] for part in parts):
        members = [part for part in parts if part['group'] == group]
        table.add_row(_row(group, members))
        for part in members:
            if len(members) > 1:
                table.add_row(_row(f'  {part["part"]}', [part]))
    table.add_divider()
    table.add_row(_row('all', parts))
    return table


def _row(name, parts):
    parameters, trained, flops = (
        sum(part[key] for part in parts) for key in ('parameters', 'trained', 'flops')
    )
    return [name, f'{parameters:,}', f'{trained:,}', f'{flops / 1e9:.2f}']


def memory_table(networks, memory):
    """A table of all networks of a training step, and of what it keeps in memory."""
    table = PrettyTable(['in training', 'parameters', 'MB'])
    table.align = 'r'
    table.align['in training'] = 'l'
    for name, network in networks.items():
        table.add_row([name, f'{network["parameters"]:,}', f'{network["bytes"] / 1e6:.1f}'])
    for name, size in memory.items():
        table.add_row([name, '', f'{size / 1e6:.1f}'])
    total = sum(memory.values()) + sum(network['bytes'] for network in networks.values())
    table.add_divider()
    table.add_row(['all, without activations', '', f'{total / 1e6:.1f}'])
    return table


if __name__ == '__main__':
    main()
