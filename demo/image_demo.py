"""Segment own pictures and videos: ``python -m demo.image_demo INPUT [CONFIG] CHECKPOINT``."""

import argparse
import contextlib
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

from tqdm import tqdm

from demo.inputs import find_inputs
from demo.outputs import Drawing, origin_in, output_paths
from demo.video import Video, VideoWriter
from mmseg.datasets.readable import image_loader, range_hint, read_image, unused_range
from mmseg.engine.allocator import keep_freed_memory
from mmseg.engine.config import load_config, parse_options
from mmseg.engine.devices import choose_device
from mmseg.engine.picture_stream import predict_pictures
from mmseg.engine.predictions import write_picture
from mmseg.engine.trained import load_trained
from mmseg.utils.user_error import UserError, reports_user_errors


def parse_args(argv):
    parser = argparse.ArgumentParser(
        prog='python -m demo.image_demo',
        description='Segment pictures of any size and kind, or a video, and write NAME_pred.png '
        'beside each. docs/own_images.md says more.',
        epilog='examples: python -m demo.image_demo demo/demo.png work_dirs/x/x.json '
        'work_dirs/x/latest.pth   '
        'python -m demo.image_demo photos work_dirs/x/latest.pth --overlay --legend --out shown',
    )
    parser.add_argument(
        'input', metavar='INPUT',
        help="a picture, a folder (all pictures below it), a pattern in quotes ('a/**/*.jpg'), "
        'or a video',
    )  # fmt: skip
    parser.add_argument(
        'config', metavar='CONFIG', nargs='?',
        help="the run's config, .py or .json; checkpoints trained here hold theirs",
    )  # fmt: skip
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help="the run's checkpoint")
    parser.add_argument(
        '--out', help='file for one picture or video, else folder (default: beside each input)'
    )
    _add_outputs(parser)
    parser.add_argument(
        '--batch-size', type=int, default=1, metavar='N',
        help='predict up to N neighbours of equal size at once (default: 1)',
    )  # fmt: skip
    parser.add_argument(
        '--weights', choices=['student', 'teacher'], default='student',
        help='which network of the checkpoint (the student is what papers report)',
    )  # fmt: skip
    parser.add_argument('--device', help='cuda, cuda:N or cpu (default: a GPU if there is one)')
    parser.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', help='replace entries')
    args, more = parser.parse_known_intermixed_args(argv)
    _check_args(parser, args, more)
    return args


def _add_outputs(parser):
    group = parser.add_argument_group('what is written (default: NAME_pred.png, the colours)')
    group.add_argument('--overlay', action='store_true', help='colours over the image')
    group.add_argument('--labels', action='store_true', help='plain colours')
    group.add_argument(
        '--confidence', action='store_true',
        help='probability of what is predicted, grey: white (255) is 1',
    )  # fmt: skip
    group.add_argument(
        '--save-label-ids', action='store_true',
        help="grey PNG whose numbers are train ids: places in the list of classes, from 0, for "
        "Cityscapes' classes, too (its server's ids: tools/test.py --format-only)",
    )  # fmt: skip
    group.add_argument(
        '--legend', action='store_true',
        help='below what is coloured: classes and their share of the pixels',
    )  # fmt: skip
    group.add_argument(
        '--opacity', type=float,
        help='of the colours over the image (default: 1; for --overlay 0.5)',
    )  # fmt: skip


def _check_args(parser, args, more):
    if any(entry.startswith('-') for entry in more):
        parser.error(f'unrecognized arguments: {" ".join(more)}')
    if more:
        parser.error('INPUT is one path: put a pattern in quotes, or give a folder')
    if args.checkpoint.endswith(('.py', '.json')):
        parser.error(f'CHECKPOINT is missing: {args.checkpoint} is a config')
    if args.opacity is not None and not 0 < args.opacity <= 1:
        parser.error('--opacity must be above 0 and at most 1')
    if args.batch_size < 1:
        parser.error('--batch-size must be at least 1')


@reports_user_errors
def main(argv=None):
    """Segment; returns the paths of the files that were written."""
    args = parse_args(argv)
    kinds = _kinds(args)
    inputs = find_inputs(args.input)
    if inputs.is_video and args.save_label_ids:
        raise UserError('--save-label-ids: a video cannot hold ids exactly; give its frames.')
    paths = output_paths(inputs, args.out, kinds)
    if inputs.left_out:
        print(f'Left out {inputs.left_out} file(s) with names of outputs, such as NAME_pred.png')

    segmentor = _load(args)
    drawing = Drawing(
        kinds, segmentor.CLASSES, segmentor.PALETTE, args.opacity, args.legend, inputs.is_video
    )
    if inputs.is_video:
        return _predict_video(args, segmentor, drawing, inputs.paths[0], paths)
    return _predict_pictures(args, segmentor, drawing, inputs, paths)


def _kinds(args):
    """The outputs that are asked for."""
    asked = {
        'overlay': args.overlay,
        'labels': args.labels,
        'confidence': args.confidence,
        'label_ids': args.save_label_ids,
    }
    return [kind for kind, wanted in asked.items() if wanted] or ['pred']


def _load(args):
    """The segmentor; its config is the given one or the checkpoint's."""
    options = parse_options(args.cfg_options)
    device = choose_device(args.device)
    keep_freed_memory(device)
    if args.config is not None:
        cfg = load_config(args.config, options)
        segmentor = load_trained(cfg, args.checkpoint, device, args.weights)
    else:
        segmentor = load_trained(None, args.checkpoint, device, args.weights, options)
    test_cfg = segmentor.test_cfg
    if test_cfg.mode == 'slide' and not {'crop_size', 'stride'} <= set(test_cfg):
        raise UserError(
            'model.test_cfg.mode=slide needs model.test_cfg.crop_size and model.test_cfg.stride, '
            'such as 512,512 and 341,341.'
        )
    return segmentor


def _predict_pictures(args, segmentor, drawing, inputs, paths):
    written, failures = [], 0
    is_single = inputs.folder is None
    images = _read(inputs.paths, segmentor.cfg)
    for found in _predicted(
        args, segmentor, drawing, images, len(inputs.paths), 'image', is_single
    ):
        if found.error is not None:
            if is_single:
                raise found.error
            failures += 1
            tqdm.write(f'Skipped: {found.error}', file=sys.stderr)
            continue
        drawn = drawing.pictures(found.picture, found.label, found.confidence)
        for kind, picture in drawn.items():
            path = paths[found.name][kind]
            write_picture(picture, path, origin_in(path, found.name))
            written.append(path)
            if is_single:
                print(f'Wrote {path}')
    if not is_single:
        print(f'Wrote {len(written)} files below {args.out or inputs.folder}')
    if failures:
        raise UserError(f'{failures} of {len(inputs.paths)} pictures could not be read.')
    return written


def _predict_video(args, segmentor, drawing, path, paths):
    video = Video(path)
    with contextlib.ExitStack() as stack:
        writers = {
            kind: stack.enter_context(VideoWriter(file, video.rate))
            for kind, file in paths[path].items()
        }
        frames = ((path, frame) for frame in video)
        for found in _predicted(args, segmentor, drawing, frames, video.length, 'frame'):
            drawn = drawing.pictures(found.picture, found.label, found.confidence)
            for kind, picture in drawn.items():
                writers[kind].write(picture)
    if video.read:
        for file in paths[path].values():
            print(f'Wrote {file}')
    video.check_end()
    return list(paths[path].values())


def _predicted(args, segmentor, drawing, pictures, total, unit, quiet=False):
    """Predict pictures, with a progress bar where there is a terminal to draw on."""
    predictions = predict_pictures(
        segmentor, pictures, args.batch_size, with_confidence='confidence' in drawing.kinds
    )
    with contextlib.closing(predictions):
        yield from tqdm(predictions, total=total, unit=unit, disable=quiet or None)


def _read(paths, cfg):
    """Names and images, loaded as tests load them; a mistake in the place of what cannot be."""
    load, warned = image_loader(cfg.data.test.pipeline), False
    for path in paths:
        try:
            image = read_image(path, load)
        except UserError as error:
            yield path, error
            continue
        largest = None if warned else unused_range(path, image, load)
        if largest is not None:
            warned = True
            tqdm.write(
                f'Warning: {path} holds 16 bits, but no value above {largest}: '
                f'{range_hint(largest)}. Here: --cfg-options '
                'data.test.pipeline.0.type=LoadImageInRange data.test.pipeline.0.value_range=…',
                file=sys.stderr,
            )
        yield path, image


if __name__ == '__main__':
    main()
