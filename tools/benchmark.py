"""Measure the speed: training step, inference, evaluation, data loader.

Ours and a plain way to do the same take turns on the same work, and a 2048³ matrix product between
them tells how fast the machine is at that moment. See the README, "Speed".
"""

import argparse
import json
import os.path as osp
import platform
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import torch
from prettytable import PrettyTable

from mmseg.engine.devices import choose_device
from mmseg.utils.files import write_text
from mmseg.utils.user_error import UserError, reports_user_errors
from tools.benchmarks.training import measure_training


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Measure the speed of this code against a plain way to do the same.',
        epilog='example: python tools/benchmark.py training --encoder mit_b5 --json speed.json',
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument('--rounds', type=int, default=7, help='measurements of each (default: 7)')
    common.add_argument('--device', help='cuda, cuda:N or cpu (default: a GPU if there is one)')
    common.add_argument('--json', metavar='FILE', help='write all figures there, too')
    kinds = parser.add_subparsers(dest='kind', required=True, metavar='KIND')
    for kind, (_, text) in KINDS.items():
        options = kinds.add_parser(kind, parents=[common], help=text, description=text)
        if kind != 'loader':
            options.add_argument('--encoder', default='mit_b0', help='mit_b0 (default) to mit_b5')
        if kind == 'training':
            options.add_argument('--size', type=int, default=256, help='of the crops (256)')
            options.add_argument(
                '--with-cp', action='store_true',
                help='our step with gradient checkpointing: less memory, one more forward pass',
            )  # fmt: skip
    args = parser.parse_args(argv)
    if args.rounds < 1:
        parser.error('--rounds must be at least 1')
    if args.kind == 'training' and (args.size < 64 or args.size % 32):
        parser.error('--size must be a multiple of 32, and 64 at least')
    return args


def measure_training_step(args, device):
    """The training step against the plain one; returns the figures and their tables."""
    found = measure_training(device, args.encoder, args.size, args.rounds, args.with_cp)
    parts = PrettyTable(['part of our step', 'ms'])
    parts.align = 'r'
    parts.align['part of our step'] = 'l'
    for name, milliseconds in found['parts_ms'].items():
        parts.add_row([name, f'{milliseconds:.0f}'])
    text = (
        f'{found["gflop"]:.0f} GFLOP a step; a matrix product runs at '
        f'{found["matmul_gflop_per_s"]:.0f} GFLOP/s here, and our step reaches '
        f'{found["share_of_matmul_rate"]:.0%} of that.\n'
        f'{found["times_faster"]:.2f} times as fast as the plain step, with '
        f'{found["memory_ratio"]:.2f} of its memory.'
    )
    rows = {'ours': found['ours'], 'plain, as published': found['published_way']}
    return found, f'{timing_table(rows)}\n{text}\n{parts}'


def timing_table(rows):
    """A table of measured times.

    Args:
        rows (dict[str, dict]): per name what `Timing.as_dict` gave, perhaps with `peak_memory_gb`.
    """
    with_memory = any('peak_memory_gb' in row for row in rows.values())
    table = PrettyTable(
        ['', 'median s', 'least', 'most', 'matrix products', *['memory GB'] * with_memory]
    )
    table.align = 'r'
    table.align[''] = 'l'
    for name, row in rows.items():
        cells = [f'{row[key]:.3f}' for key in ('median_s', 'min_s', 'max_s')]
        cells.append(f'{row["matmul_units"]:.1f}')
        if with_memory:
            cells.append(f'{row["peak_memory_gb"]:.2f}')
        table.add_row([name, *cells])
    return table


KINDS = {
    'training': (measure_training_step, 'the whole training step, and its parts'),
}


@reports_user_errors
def main(argv=None):
    """Measure; prints a table and returns the figures."""
    args = parse_args(argv)
    device = choose_device(args.device)
    encoder = getattr(args, 'encoder', None)
    if encoder is not None and encoder not in [f'mit_b{i}' for i in range(6)]:
        raise UserError(f'--encoder {encoder}: there are mit_b0 to mit_b5.')
    machine = _machine(device)
    print('\n'.join(f'{key}: {value}' for key, value in machine.items()))
    measure, _ = KINDS[args.kind]
    found, text = measure(args, device)
    print(text)
    found = {'kind': args.kind, 'machine': machine, **found}
    if args.json:
        write_text(args.json, json.dumps(found, indent=2) + '\n')
        print(f'The figures are in {args.json}')
    return found


def _machine(device):
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else _processor()
    return {
        'device': name,
        'threads': torch.get_num_threads(),
        'torch': str(torch.__version__),
        'python': platform.python_version(),
    }


def _processor():
    """The CPU's name, which `platform.processor` does not know on Linux."""
    if osp.isfile('/proc/cpuinfo'):
        with open('/proc/cpuinfo') as file:
            for line in file:
                if line.startswith('model name'):
                    return line.split(':', 1)[1].strip()
    return platform.machine()


if __name__ == '__main__':
    main()
