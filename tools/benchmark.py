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

import tools.openmp  # noqa: F401

import torch
from prettytable import PrettyTable

from mmseg.engine.devices import choose_device
from mmseg.utils.files import write_text
from mmseg.utils.user_error import UserError, reports_user_errors
from tools.benchmarks.loader import measure_loader
from tools.benchmarks.prediction import measure_evaluation, measure_inference
from tools.benchmarks.timing import Clock
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
        else:
            options.add_argument(
                '--data', metavar='DIR', default=osp.join('data', 'benchmark'),
                help='where full-size scenes are drawn once (takes minutes; default: %(default)s)',
            )  # fmt: skip
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
    parts = parts_table('part of our step', found['parts_ms'])
    text = (
        f'{found["gflop"]:.0f} GFLOP a step; a matrix product runs at '
        f'{found["matmul_gflop_per_s"]:.0f} GFLOP/s here, and our step reaches '
        f'{found["share_of_matmul_rate"]:.0%} of that.\n'
        f'{found["times_faster"]:.2f} times as fast as the plain step, with '
        f'{found["memory_ratio"]:.2f} of its memory.'
    )
    rows = {'ours': found['ours'], 'plain, as published': found['published_way']}
    return found, f'{timing_table(rows)}\n{text}\n{parts}'


def measure_inference_of_an_image(args, device):
    """The prediction of one image against MMSegmentation's own way."""
    found = measure_inference(Clock(device), args.rounds, args.encoder)
    rows = {'ours': found['ours'], 'MMSegmentation': found['mmsegmentation']}
    text = (
        f'{found["times_faster"]:.2f} times as fast; {found["equal_pixels"]:.4%} of the pixels are '
        'predicted alike.'
    )
    return found, f'{timing_table(rows)}\n{text}'


def measure_evaluation_parts(args, device):
    """The parts of evaluating an image."""
    found = measure_evaluation(Clock(device), args.rounds, args.encoder)
    parts = parts_table('part', {name: part['ms'] for name, part in found['parts'].items()})
    text = (
        f'Counting takes {found["parts"]["counting"]["share"]:.1%} of the time; MMSegmentation '
        f'takes {found["mmsegmentation_counting_ms"]:.0f} ms to read the label and count.'
    )
    return found, f'{parts}\n{text}'


def measure_data_loader(args, device):
    """Our loader, without and with kept images, against one that starts anew for each crop."""
    found = measure_loader(Clock(device), args.rounds, args.data)
    names = {'ours': 'ours', 'kept': 'ours with resized_dir', 'plain': 'plain, as published'}
    table = PrettyTable(['', 'samples per second and core', 'times as fast'])
    table.align = 'r'
    table.align[''] = 'l'
    for name, title in names.items():
        table.add_row([title, f'{found[name]["per_s"]:.1f}', f'{found[name]["ratio"]:.1f}'])
    text = f'{found["redraws_per_sample"]:.1f} redraws of the crop per sample.'
    parts = parts_table('part of ours', found['ms_by_part']['ours'])
    return found, f'{table}\n{text}\n{parts}'


def parts_table(title, milliseconds):
    """A table of parts: a dict of name → milliseconds."""
    table = PrettyTable([title, 'ms'])
    table.align = 'r'
    table.align[title] = 'l'
    for name, value in milliseconds.items():
        table.add_row([name, f'{value:.1f}'])
    return table


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
    'inference': (measure_inference_of_an_image, 'the prediction of one image of 1024×512'),
    'evaluation': (measure_evaluation_parts, 'the parts of an evaluation'),
    'loader': (measure_data_loader, 'loading samples with Rare Class Sampling'),
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
