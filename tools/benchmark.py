"""Measure the speed of training step and inference; see docs/performance.md."""

import argparse
import json
import os.path as osp
import platform
import sys
from functools import partial

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

import torch
from prettytable import PrettyTable

from mmseg.engine.distributed import choose_device
from mmseg.engine.predict import predict_labels
from mmseg.models import build_segmentor
from mmseg.utils.files import write_text
from mmseg.utils.user_error import reports_user_errors
from tools.benchmarks import seconds, take_turns
from tools.benchmarks.training import measure_training, model_config


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Measure the speed of this code against another way to do the same.',
        epilog='example: python tools/benchmark.py training --encoder mit_b5 --json speed.json',
    )
    add = parser.add_argument
    add('kind', choices=list(KINDS), help='what to measure')
    add('--rounds', type=int, default=7, help='measurements of each (default: 7)')
    add('--device', help='cuda, cuda:N or cpu (default: a GPU if there is one)')
    add('--json', metavar='FILE', help='write all figures there, too')
    add('--encoder', choices=[f'mit_b{i}' for i in range(6)], default='mit_b0')
    add('--size', type=int, default=256, help='of the crops of training (256)')
    add('--with-cp', action='store_true', help='our training with activation checkpointing')
    args = parser.parse_args(argv)
    if args.rounds < 1:
        parser.error('--rounds must be at least 1')
    if args.size < 64 or args.size % 32:
        parser.error('--size must be a multiple of 32, and 64 at least')
    return args


def measure_inference(args, device, size=(512, 1024)):
    """Measure the prediction of one image in memory beside MMSegmentation's own."""
    torch.manual_seed(0)
    segmentor = build_segmentor(model_config(args.encoder)).to(device).eval()
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0)).to(device)
    enlarged = (2 * size[0], 2 * size[1], 3)
    meta = dict(ori_shape=enlarged, img_shape=(*size, 3), pad_shape=(*size, 3), flip=False)
    batch = dict(img=[image], img_metas=[[meta]])
    mmsegmentation = torch.no_grad()(partial(segmentor, return_loss=False, rescale=True, **batch))
    ways = {'ours': partial(predict_labels, segmentor, **batch), 'MMSegmentation': mmsegmentation}
    timers = {name: partial(seconds, way, device) for name, way in ways.items()}
    return take_turns(timers, args.rounds)


KINDS = {'training': measure_training, 'inference': measure_inference}


@reports_user_errors
def main(argv=None):
    """Measure; prints a table and returns the figures."""
    args = parse_args(argv)
    device = choose_device(args.device)
    found = KINDS[args.kind](args, device)
    ours, other = [name for name, row in found.items() if isinstance(row, dict)]
    table = PrettyTable(['', *found[ours]], align='r')
    for name in (ours, other):
        table.add_row([name, *(f'{value:.3f}' for value in found[name].values())])
    print(f'{table}\n{ours}: {found["times_faster"]:.2f} times as fast as {other}')
    machine = {
        'device': torch.cuda.get_device_name(device) if device.type == 'cuda' else 'CPU',
        'threads': torch.get_num_threads(),
        'torch': str(torch.__version__),
        'python': platform.python_version(),
    }
    print('\n'.join(f'{key}: {value}' for key, value in machine.items()))
    found = {'kind': args.kind, 'machine': machine, **found}
    if args.json:
        write_text(args.json, json.dumps(found, indent=2) + '\n')
    return found


if __name__ == '__main__':
    main()
