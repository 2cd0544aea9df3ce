"""Count parameters, FLOPs and training memory: ``python tools/get_param_count.py CONFIG``."""

import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

import torch
from prettytable import PrettyTable
from torch.utils.flop_counter import FlopCounterMode

from mmseg.engine.config import parse_options
from mmseg.models.uda import build_train_model
from mmseg.utils.user_error import reports_user_errors
from tools.given_config import inference_size, read_config
from tools.training_memory import print_training_memory


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description="Count a network's parameters and the floating-point operations of one image, "
        "and estimate what its training needs of a GPU's memory.",
        epilog='example: python tools/get_param_count.py configs/street_scenes/uda_mitb0.py',
    )
    add = parser.add_argument
    add('config', help="a config (.py, .json), a run's folder, or a checkpoint with its config")
    add('--shape', nargs=2, type=int, metavar=('H', 'W'), help="default: the config's test size")
    add('--no-memory', action='store_true', help='do not estimate the memory, which takes longer')
    add('--cfg-options', nargs='+', metavar='KEY=VALUE', help='replace entries')
    return parser.parse_args(argv)


@reports_user_errors
def main(argv=None):
    """Print the tables; returns the figures of the first."""
    args = parse_args(argv)
    cfg = read_config(args.config, parse_options(args.cfg_options))
    shape = args.shape or inference_size(cfg)
    segmentor = build_train_model(cfg).model.to('meta').eval()
    parts = count_parts(segmentor, shape)
    head = ['part', 'parameters', 'trained', 'GFLOP for {} × {}'.format(*shape)]
    table = PrettyTable(head, align='r')
    table.align['part'] = 'l'
    for part in parts:
        counts = f'{part["parameters"]:,}', f'{part["trained"]:,}', f'{part["flops"] / 1e9:.2f}'
        table.add_row([part['part'], *counts])
    print(table, flush=True)
    if not args.no_memory:
        print_training_memory(cfg)
    return parts


def count_parts(segmentor, shape):
    """Count parameters, trained ones, and operations of one image, a multiply-add as two.

    Returns:
        list[dict]: Of backbone, decode head, ..., each before its layers, and of all together.
    """
    # So FlopCounterMode sees the head called, which `forward_test` hides from it.
    if not isinstance(segmentor.decode_head, torch.nn.ModuleList):  # of a cascade
        segmentor.decode_head.forward_test = lambda inputs, *_: _logits(segmentor, inputs)
    segmentor.forward = segmentor.forward_dummy
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


def _logits(segmentor, inputs):
    outputs = segmentor.decode_head(inputs)
    return outputs[0] if isinstance(outputs, tuple) else outputs  # DANet's head has three


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


if __name__ == '__main__':
    main()
