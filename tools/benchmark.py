"""Measure the speed: training step, inference, evaluation, data loader.

Ours and another way to do the same take turns, since the speed of a machine varies; what counts is
the ratio within a round. See docs/performance.md.
"""

import argparse
import json
import os.path as osp
import platform
import sys
from functools import partial

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

import numpy as np
import torch
from mmcv import Config
from prettytable import PrettyTable

from mmseg.datasets import CityscapesDataset, build_dataset
from mmseg.engine.distributed import choose_device
from mmseg.engine.evaluation import count_areas
from mmseg.engine.predict import predict_labels
from mmseg.models import build_segmentor
from mmseg.utils.files import write_text
from mmseg.utils.user_error import reports_user_errors
from tools import make_street_scenes
from tools.benchmarks import seconds, take_turns
from tools.benchmarks.published import published_sample
from tools.benchmarks.training import CONFIGS, measure_training, model_config
from tools.convert_datasets import gta

ANNOTATED = 'daformer/gta2cs_uda_warm_fdthings_rcs_croppl_a999_daformer_mitb5_s0.py'
SCENES = ('--full-size', '--num-source', '80', '--num-target', '16', '--num-val', '0')
SAMPLES = 16  # of a round of the loader
MIN_PIXELS = 3000  # of the drawn class, as in the published setting
IMAGE_SIZE = (512, 1024)  # of the network's input; labels are twice as large


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Measure the speed of this code against another way to do the same.',
        epilog='example: python tools/benchmark.py training --encoder mit_b5 --json speed.json',
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument('--rounds', type=int, default=7, help='measurements of each (default: 7)')
    common.add_argument('--device', help='cuda, cuda:N or cpu (default: a GPU if there is one)')
    common.add_argument('--json', metavar='FILE', help='write all figures there, too')
    kinds = parser.add_subparsers(dest='kind', required=True, metavar='KIND')
    for kind, (_, text) in KINDS.items():
        options = kinds.add_parser(kind, parents=[common], help=text, description=text)
        if kind == 'loader':
            options.add_argument(
                '--data', metavar='DIR', default=osp.join('data', 'benchmark'),
                help='where full-size scenes are drawn once (takes minutes; default: %(default)s)',
            )  # fmt: skip
        else:
            encoders = [f'mit_b{i}' for i in range(6)]
            options.add_argument('--encoder', choices=encoders, default='mit_b0')
        if kind == 'training':
            options.add_argument('--size', type=int, default=256, help='of the crops (256)')
            options.add_argument(
                '--with-cp', action='store_true', help='our step with activation checkpointing'
            )
    args = parser.parse_args(argv)
    if args.rounds < 1:
        parser.error('--rounds must be at least 1')
    if args.kind == 'training' and (args.size < 64 or args.size % 32):
        parser.error('--size must be a multiple of 32, and 64 at least')
    return args


def build_network(encoder, device):
    torch.manual_seed(0)
    segmentor = build_segmentor(model_config(encoder)).to(device).eval()
    # Logits as far apart as those of a trained network.
    segmentor.decode_head.conv_seg.weight.data.normal_()
    return segmentor


def measure_inference(args, device, size=IMAGE_SIZE):
    """Measure the prediction of one image in memory beside MMSegmentation's own."""
    segmentor = build_network(args.encoder, device)
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0)).to(device)
    enlarged = (2 * size[0], 2 * size[1], 3)
    meta = dict(ori_shape=enlarged, img_shape=(*size, 3), pad_shape=(*size, 3), flip=False)
    batch = dict(img=[image], img_metas=[[meta]])
    mmsegmentation = torch.no_grad()(partial(segmentor, return_loss=False, rescale=True, **batch))
    ways = {'ours': partial(predict_labels, segmentor, **batch), 'MMSegmentation': mmsegmentation}
    labels, others = (predict() for predict in ways.values())
    found = take_turns({k: partial(seconds, way, device) for k, way in ways.items()}, args.rounds)
    return found | {'equal_pixels': float((labels == others).mean())}


def measure_evaluation(args, device, size=IMAGE_SIZE):
    """Measure the counting of one image's IoU beside MMSegmentation's own."""
    generator = np.random.default_rng(0)
    predicted, truth = generator.integers(0, 19, (2, 2 * size[0], 2 * size[1]), np.uint8)
    dataset = CityscapesDataset.__new__(CityscapesDataset)
    dataset.ignore_index, dataset.label_map, dataset.reduce_zero_label = 255, None, False
    dataset.get_gt_seg_map_by_idx = lambda index: truth
    ways = {
        'ours': lambda: count_areas(dataset, predicted, truth, 0),
        'MMSegmentation': lambda: dataset.pre_eval(predicted.astype(np.int64), 0),
    }
    return take_turns({k: partial(seconds, way, device) for k, way in ways.items()}, args.rounds)


def measure_loader(args, device):
    """Measure the loading of samples with Rare Class Sampling, on one core."""
    make_street_scenes.main([args.data, *SCENES])
    gta.main([osp.join(args.data, 'gta')])
    train = Config.fromfile(osp.join(CONFIGS, ANNOTATED)).data.train
    train.source.data_root = osp.join(args.data, 'gta')
    train.target.data_root = osp.join(args.data, 'cityscapes')
    train.rare_class_sampling.min_pixels = MIN_PIXELS
    dataset = build_dataset(train)
    keeping = build_dataset(train, dict(resized_dir=osp.join(args.data, 'resized')))
    numbers = range((args.rounds + 1) * SAMPLES)
    for number in numbers:
        keeping[number]
    loads = {
        'ours': dataset.__getitem__,
        'as published': partial(published_sample, dataset),
        'ours with resized_dir': keeping.__getitem__,
    }
    timers = {}
    for name, load in loads.items():
        rounds = iter([numbers[i : i + SAMPLES] for i in range(0, len(numbers), SAMPLES)])
        timers[name] = lambda load=load, rounds=rounds: seconds(
            lambda: [load(number) for number in next(rounds)] and None, device
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # OpenCV has none of its own already
    try:
        return take_turns(timers, args.rounds) | {'samples_per_round': SAMPLES}
    finally:
        torch.set_num_threads(threads)


KINDS = {
    'training': (measure_training, 'the whole training step'),
    'inference': (measure_inference, 'the prediction of one image of 1024×512'),
    'evaluation': (measure_evaluation, 'counting the IoU of one image of 2048×1024'),
    'loader': (measure_loader, 'loading samples with Rare Class Sampling'),
}


def results_table(found):
    """Return a table of the measured ways."""
    rows = {name: row for name, row in found.items() if isinstance(row, dict)}
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    table = PrettyTable(['', *columns])
    table.align = 'r'
    for name, row in rows.items():
        table.add_row([name, *(f'{row[key]:.3f}' for key in columns)])
    return table


@reports_user_errors
def main(argv=None):
    """Measure; prints a table and returns the figures."""
    args = parse_args(argv)
    device = choose_device(args.device)
    found = KINDS[args.kind][0](args, device)
    print(results_table(found))
    ours, other = [name for name, row in found.items() if isinstance(row, dict)][:2]
    print(f'{ours}: {found["times_faster"]:.2f} times as fast as {other}')
    is_gpu = device.type == 'cuda'
    machine = {
        'device': torch.cuda.get_device_name(device) if is_gpu else _processor(),
        'threads': torch.get_num_threads(),
        'torch': str(torch.__version__),
        'python': platform.python_version(),
    }
    print('\n'.join(f'{key}: {value}' for key, value in machine.items()))
    found = {'kind': args.kind, 'machine': machine, **found}
    if args.json:
        write_text(args.json, json.dumps(found, indent=2) + '\n')
    return found


def _processor():
    """Return the CPU's name, which ``platform.processor`` does not know on Linux."""
    if osp.isfile('/proc/cpuinfo'):
        with open('/proc/cpuinfo') as file:
            for line in file:
                if line.startswith('model name'):
                    return line.split(':', 1)[1].strip()
    return platform.machine()


if __name__ == '__main__':
    main()
