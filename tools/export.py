"""Export a trained network as ONNX or as a torch.export program: ``python tools/export.py``."""

import argparse
import json
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

import torch

from mmseg.engine.config import load_config
from mmseg.engine.trained import load_trained
from mmseg.utils.files import moved_into_place
from mmseg.utils.user_error import UserError, reports_user_errors
from tools.exporting.agreement import as_input, check_agreement, demo_picture, reference_logits
from tools.exporting.formats import check_installed, export, run
from tools.exporting.graph import PictureToLabels, preparation_of
from tools.given_config import size_of_tests

ENDINGS = {'.onnx': 'onnx', '.pt2': 'torch'}


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Export the network of a checkpoint. Input "picture": (N, 3, H, W) uint8, RGB, '
        'values 0 to 255, any N; the normalisation is inside. Output "labels": (N, H, W) uint8, '
        'train ids; or "logits": (N, classes, H, W) float32. The file is compared with the network '
        'on demo/demo.png before it is written. It holds the names and colours of the classes, '
        'mean and std as metadata.',
        epilog='example: python tools/export.py work_dirs/x/latest.pth --out model.onnx '
        '--shape 512 1024',
    )
    parser.add_argument('checkpoint', help="a run's checkpoint, or a published file")
    parser.add_argument('--out', required=True, metavar='FILE', help='.onnx, or .pt2 for torch')
    parser.add_argument('--config', help='where the checkpoint holds none')
    parser.add_argument(
        '--shape', nargs=2, type=int, metavar=('H', 'W'),
        help="size of the pictures (default: the config's test size)",
    )  # fmt: skip
    parser.add_argument(
        '--format', choices=['onnx', 'torch'], help="default: what FILE's ending says"
    )
    parser.add_argument(
        '--output', choices=['labels', 'logits'], default='labels', help='what the graph returns'
    )
    parser.add_argument(
        '--weights', choices=['student', 'teacher'], default='student',
        help='which network of the checkpoint (the student is what papers report)',
    )  # fmt: skip
    args = parser.parse_args(argv)
    named = ENDINGS.get(osp.splitext(args.out)[1])
    if named is None or args.format not in (None, named):
        parser.error(f'--out {args.out}: ONNX ends in .onnx, torch.export in .pt2')
    args.format = named
    if args.shape and min(args.shape) < 32:
        parser.error('--shape must be at least 32 32')
    return args


@reports_user_errors
def main(argv=None):
    """Export, compare, write; returns the path."""
    args = parse_args(argv)
    check_installed(args.format)
    cfg = load_config(args.config) if args.config else None
    segmentor = load_trained(cfg, args.checkpoint, torch.device('cpu'), args.weights)
    preparation = preparation_of(segmentor.cfg)
    shape = tuple(args.shape or size_of_tests(segmentor.cfg) or ())
    if not shape:
        raise UserError('the config does not say at which size it tests: give --shape H W.')
    if len(segmentor.CLASSES) > 256:
        raise UserError(f'{len(segmentor.CLASSES)} classes do not fit into uint8 labels.')

    picture = demo_picture(shape)
    expected = reference_logits(segmentor, preparation, picture)
    graph = PictureToLabels(segmentor, preparation, args.output)
    content = export(graph, shape, _meta(segmentor, preparation, args), args.format)
    found, _ = run(content, args.format, as_input(picture))
    share, difference = check_agreement(found, expected, args.output)
    with moved_into_place(args.out) as file:
        file.write(content)
    _say(args, segmentor, shape, content, share, difference)
    return args.out


def _meta(segmentor, preparation, args):
    """What stands in the file beside the graph: strings, as ONNX has it."""
    values = dict(
        classes=list(segmentor.CLASSES),
        palette=[list(color) for color in segmentor.PALETTE],
        mean=preparation.mean,
        std=preparation.std,
        to_rgb=preparation.to_rgb,
        weights=args.weights,
        iter=segmentor.iteration,
    )
    texts = dict(
        name=str(segmentor.cfg.name),
        input='picture: (N, 3, H, W) uint8, RGB, 0 to 255; normalisation (mean, std) is inside',
        output={
            'labels': 'labels: (N, H, W) uint8, indices into classes',
            'logits': 'logits: (N, classes, H, W) float32, before the softmax',
        }[args.output],
    )
    return {**texts, **{key: json.dumps(value) for key, value in values.items()}}


def _say(args, segmentor, shape, content, share, difference):
    print(f'{args.out}: {len(content) / 1e6:.1f} MB')
    print('input picture: (N, 3, {}, {}) uint8, RGB'.format(*shape))
    size = f'{len(segmentor.CLASSES)}, ' if args.output == 'logits' else ''
    kind = 'float32' if args.output == 'logits' else 'uint8'
    print(f'output {args.output}: (N, {size}{shape[0]}, {shape[1]}) {kind}')
    apart = f'; logits differ by at most {difference:.1e}' if difference is not None else ''
    print(
        f'{share:.3%} of the pixels of demo/demo.png have the label that the network gives{apart}'
    )
    if segmentor.cfg.model.test_cfg.mode == 'slide':
        print('Note: the config predicts in overlapping windows; the file predicts one window.')


if __name__ == '__main__':
    main()
