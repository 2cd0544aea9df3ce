"""Segment own images and videos: ``python -m demo.image_demo INPUT ... [CONFIG] CHECKPOINT``."""

import argparse
import contextlib
import functools
import os.path as osp
import sys
from collections import Counter

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

import cv2
import numpy as np
from tqdm import tqdm

from demo.video import VIDEO_ENDINGS, VideoWriter, read_frames
from mmseg.core.evaluation.class_names import dataset_aliases, get_palette
from mmseg.daformer import load
from mmseg.datasets.file_errors import image_loader, unused_range
from mmseg.engine.checks.data import dark_images
from mmseg.engine.config import parse_options
from mmseg.engine.data_sets import first_named
from mmseg.engine.performance import keep_freed_memory
from mmseg.engine.predictions import write_image
from mmseg.utils.drawing import with_legend
from mmseg.utils.files import images_below
from mmseg.utils.user_error import UserError, reports_user_errors

# What can be written; each is the end of its file's name, too: NAME_pred.png.
KINDS = ('pred', 'overlay', 'labels', 'confidence', 'label_ids')


def parse_args(argv):
    parser = argparse.ArgumentParser(
        prog='python -m demo.image_demo',
        usage='%(prog)s [OPTIONS] INPUT [INPUT ...] [CONFIG] CHECKPOINT',
        description='Segment images of any size, or videos, and write NAME_pred.png beside each. '
        'Checkpoints that do not hold their config need CONFIG, .py or .json. '
        'docs/own_images.md says more.',
    )
    add = parser.add_argument
    add('inputs', metavar='INPUT', nargs='+', help='images, videos, folders (all images below)')
    add('checkpoint', metavar='CHECKPOINT', help="the run's checkpoint")
    add('--out', help='folder, or file for a single output (default: beside each input)')
    output = functools.partial(add, action='append_const', dest='kinds')
    output('--overlay', const='overlay', help='write colours over the image')
    output('--labels', const='labels', help='write plain colours')
    output('--confidence', const='confidence', help='write the probability: white (255) is 1')
    output('--save-label-ids', const='label_ids', help='write train ids as grey values')
    add('--legend', action='store_true', help='classes and ratios of pixels below what is coloured')
    add('--opacity', type=float, help='of colours over the image (default: 1; --overlay: 0.5)')
    add('--palette', metavar='DATASET', choices=dataset_aliases, help='e.g. cityscapes, ade, voc')
    add('--weights', choices=['student', 'teacher'], default='student', help='which network')
    add('--device', help='cuda, cuda:N or cpu (default: a GPU if there is one)')
    add('--cfg-options', nargs='+', metavar='KEY=VALUE', help='replace entries of the config')
    args = parser.parse_intermixed_args(argv)
    args.config = args.inputs.pop() if args.inputs[-1].endswith(('.py', '.json')) else None
    if not args.inputs or args.checkpoint.endswith(('.py', '.json')):
        parser.error('INPUT or CHECKPOINT is missing')
    if args.opacity is not None and not 0 < args.opacity <= 1:
        parser.error('--opacity must be above 0 and at most 1')
    args.kinds = args.kinds or ['pred']
    return args


@reports_user_errors
def main(argv=None):
    """Segment; returns the paths of the files that were written."""
    args = parse_args(argv)
    paths = find_inputs(args.inputs)
    outputs = output_paths(args.inputs, paths, args.out, args.kinds)
    segment = load(
        args.checkpoint, args.config, args.device, args.weights, channel_order='bgr',
        overrides=parse_options(args.cfg_options),
    )  # fmt: skip
    keep_freed_memory(segment.device)
    if args.palette:
        segment.palette = get_palette(args.palette)
    images = [path for path in paths if not _is_video(path)]
    written = _predict_images(args, segment, images, outputs) if images else []
    for path in filter(_is_video, paths):
        written += _predict_video(args, segment, path, outputs[path])
    return written


def find_inputs(given):
    """List the given files and all images below the given folders, except outputs of this demo."""
    found = []
    for path in given:
        if osp.isdir(path):
            found += images_below(path)
        elif osp.isfile(path):
            found.append(path)
        else:
            raise UserError(f'{path} does not exist.')
    outputs = tuple(f'_{kind}' for kind in KINDS)
    paths = [path for path in found if not osp.splitext(path)[0].endswith(outputs)]
    if not paths:
        raise UserError(f'no images in {given[0]} but outputs ({len(found)}).')
    return paths


def output_paths(given, paths, out, kinds):
    """Decide which files are written: per input, per kind; no input may be among them.

    In the folder ``out`` they have subfolders as below the common folder of what was given.
    """
    is_file = out and osp.splitext(out)[1] and not osp.isdir(out) and len(paths + kinds) == 2
    folder = osp.commonpath([osp.abspath(p if osp.isdir(p) else osp.dirname(p)) for p in given])
    stems = Counter(osp.splitext(path)[0] for path in paths)
    inputs = {osp.realpath(path) for path in paths}
    outputs = {}
    for path in paths:
        # a.jpg beside a.png becomes a.jpg_pred.png.
        stem = path if stems[osp.splitext(path)[0]] > 1 else osp.splitext(path)[0]
        if out:
            stem = osp.join(out, osp.relpath(stem, folder))
        ending = '.mp4' if _is_video(path) else '.png'
        outputs[path] = {kind: out if is_file else f'{stem}_{kind}{ending}' for kind in kinds}
        for kind, file in outputs[path].items():
            if _is_video(path) and kind == 'label_ids':
                raise UserError('--save-label-ids: a video cannot hold ids exactly.')
            if (_is_video(path) or kind == 'label_ids') and not file.lower().endswith(ending):
                raise UserError(f'--out {file}: this is written as {ending} alone.')
            if osp.realpath(file) in inputs:
                raise UserError(f'{path}: its output would replace {file}; choose another --out.')
    return outputs


def _is_video(path):
    return path.lower().endswith(VIDEO_ENDINGS)


def _predict_images(args, segment, paths, outputs):
    load_file = image_loader(first_named(segment.config.data.test).pipeline)
    skipped, dark, written = [], {}, []

    def report(path, error):
        skipped.append(path)
        tqdm.write(f'Skipped: {error}', file=sys.stderr)

    skip = report if len(paths) > 1 else None
    for found in _predictions(args, segment, paths, len(paths), 'image', skip):
        if largest := unused_range(found.name, found.image, load_file):
            dark[found.name] = largest
        for kind, file in outputs[found.name].items():
            write_image(_draw(kind, args, segment, found), file)
            written.append(file)
    if dark:
        tqdm.write(f'Warning: {dark_images(dark, len(paths))}', file=sys.stderr)
    print(f'Wrote {written[0] if len(written) == 1 else f"{len(written)} files"}')
    if skipped:
        raise UserError(f'{len(skipped)} of {len(paths)} images could not be read.')
    return written


def _predict_video(args, segment, path, files):
    capture = cv2.VideoCapture(path)
    if not capture.isOpened():
        raise UserError(f'{path} cannot be read as a video: it is damaged, or none.')
    rate = capture.get(cv2.CAP_PROP_FPS) or 25
    length = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))  # 0: unknown
    frames = read_frames(capture)
    count = 0
    with contextlib.ExitStack() as stack:
        writers = {k: stack.enter_context(VideoWriter(file, rate)) for k, file in files.items()}
        for found in _predictions(args, segment, frames, length or None, 'frame'):
            for kind, writer in writers.items():
                writer.write(_draw(kind, args, segment, found, is_frame=True))
            count += 1
    # Some containers know their length in seconds only, which is rounded.
    if count == 0 or count + 1 < 0.98 * length:
        raise UserError(f'{path} breaks off after frame {count} of {length}.')
    print(f'Wrote {", ".join(files.values())}')
    return list(files.values())


def _predictions(args, segment, images, total, unit, skip=None):
    """Predict images, with a progress bar where there is a terminal to draw on."""
    found = segment.stream(images, 'confidence' in args.kinds, skip)
    return tqdm(found, total=total, unit=unit, disable=True if total == 1 else None)


def _draw(kind, args, segment, found, is_frame=False):
    """Draw one kind of output of a prediction: (H, W, 3) BGR or (H, W) grey, uint8."""
    if kind == 'confidence':
        grey = np.round(255 * found.confidence).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2) if is_frame else grey
    if kind == 'label_ids':
        return found.labels
    opacity = {'pred': args.opacity or 1, 'overlay': args.opacity or 0.5, 'labels': 1}[kind]
    painted = segment.paint(found.labels, found.image, opacity)
    if not args.legend:
        return painted
    classes, palette = segment.classes, segment.palette
    return with_legend(painted, found.labels, classes, palette, all_classes=is_frame)


if __name__ == '__main__':
    main()
