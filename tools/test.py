"""Test a checkpoint on its target: ``python tools/test.py [CONFIG] CHECKPOINT``; see test.sh."""

import argparse
import os.path as osp
import re
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

from tqdm import tqdm

from mmseg.datasets import CityscapesDataset
from mmseg.datasets.readable import build_files, read_image
from mmseg.engine.allocator import keep_freed_memory
from mmseg.engine.config import parse_options
from mmseg.engine.distributed import joined_processes, rank_0_first
from mmseg.engine.evaluation import (
    check_confusion_path,
    count_areas,
    evaluate,
    is_from_synthia,
    loading,
    predict,
    sum_areas,
    write_confusion,
)
from mmseg.engine.predictions import PredictionFolder, write_id_map, write_picture
from mmseg.engine.preflight import check_test_files
from mmseg.engine.trained import load_trained
from mmseg.utils.collective import get_dist_info
from mmseg.utils.drawing import paint
from mmseg.utils.user_error import UserError, reports_user_errors
from tools.given_config import read_config

AUG_TEST_RATIOS = [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
# Whose servers take train ids; Cityscapes' takes label ids.
TAKES_TRAIN_IDS = ('ACDCDataset', 'DarkZurichDataset')


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description="Predict a data set (the config's data.test) and print per-class IoU and mIoU.",
        epilog='example: python tools/test.py work_dirs/x work_dirs/x/latest.pth '
        '--show-dir work_dirs/x/preds   '
        'On 4 GPUs: torchrun --nproc_per_node=4 tools/test.py ...',
    )
    parser.add_argument(
        'config', nargs='?', help="the run's folder or config (default: what the checkpoint keeps)"
    )
    parser.add_argument('checkpoint', help="the run's checkpoint, e.g. latest.pth")
    parser.add_argument(
        '--weights', choices=['student', 'teacher'], default='student',
        help='which network of the checkpoint (the student is what papers report)',
    )  # fmt: skip
    parser.add_argument(
        '--eval', nargs='+', choices=['mIoU', 'mDice', 'mFscore'], default=['mIoU'], help='metrics'
    )
    parser.add_argument('--confusion', metavar='FILE', help='write the confusion matrix as JSON')
    parser.add_argument('--show-dir', metavar='DIR', help='write coloured predictions there')
    parser.add_argument('--opacity', type=float, default=1.0, help='of the colours over the image')
    parser.add_argument('--aug-test', action='store_true', help='average 6 scales and flips')
    parser.add_argument(
        '--test-set',
        action='store_true',
        help='predict the test split: val becomes test in data.test',
    )
    parser.add_argument(
        '--format-only', action='store_true',
        help='write PNGs for the benchmark server instead of computing metrics',
    )  # fmt: skip
    parser.add_argument(
        '--eval-options', nargs='+', metavar='KEY=VALUE',
        help='for --format-only: imgfile_prefix=FOLDER, to_label_id=True|False',
    )  # fmt: skip
    parser.add_argument('--device', help='cuda, cuda:N or cpu (default: a GPU if there is one)')
    parser.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', help='replace entries')
    # A plain `parse_args` would take CONFIG for CHECKPOINT where an option stands between them.
    args = parser.parse_intermixed_args(argv)
    if args.checkpoint.endswith(('.py', '.json')):
        parser.error(f'{args.checkpoint} is a config: a checkpoint is missing')
    if not 0 < args.opacity <= 1:
        parser.error('--opacity must be above 0 and at most 1')
    if args.confusion and args.format_only:
        parser.error('--confusion compares with labels, which --format-only does not read')
    if args.eval_options and not args.format_only:
        parser.error('--eval-options are for --format-only')
    return args


@reports_user_errors
def main(argv=None):
    """Test; returns the metrics (None with ``--format-only``)."""
    args = parse_args(argv)
    with joined_processes(args.device) as device:
        keep_freed_memory(device)
        return _test(args, device)


def _test(args, device):
    if args.confusion:
        check_confusion_path(args.confusion)
    cfg = read_config(args.config or args.checkpoint, parse_options(args.cfg_options))
    if args.test_set:
        _use_test_split(cfg.data.test)
    with rank_0_first() as is_rank_0:
        if is_rank_0:
            check_test_files(cfg, needs_labels=not args.format_only)
    if args.aug_test:
        _use_augmentations(cfg.data.test)
    dataset = build_files(cfg.data.test, dict(test_mode=True))
    segmentor = load_trained(cfg, args.checkpoint, device, args.weights)
    with rank_0_first() as is_rank_0:
        shown, submission = _folders(args, cfg, dataset, check=is_rank_0)

    counts = _predict(args, cfg, segmentor, dataset, device, shown, submission)
    areas = sum_areas(dataset, counts)
    if args.show_dir and is_rank_0:
        print(f'Coloured predictions are in {args.show_dir}')
    if submission is not None:
        if is_rank_0:
            folder = submission[0]
            how = ', in folders like the images, of which some have equal names'
            print(f'Files for the server are in {folder.folder}{how * folder.keeps_folders}')
        return None
    if args.confusion and is_rank_0:
        write_confusion(args.confusion, dataset, areas, segmentor.iteration)
    logger = None if is_rank_0 else 'silent'
    found = evaluate(dataset, areas, logger, args.eval, from_synthia=is_from_synthia(cfg))
    for name in ('mIoU', 'mIoU16', 'mIoU13'):
        if name in found and is_rank_0:
            print(f'{name}: {100 * found[name]:.2f}')
    return found


def _predict(args, cfg, segmentor, dataset, device, shown, submission):
    """Predict this rank's images and write the pictures and files that were asked for.

    Returns:
        list: What ``count_areas`` gives for each; for a submission, nothing.
    """
    rank, world_size = get_dist_info()
    counts = []
    predictions = predict(
        segmentor, dataset, device, **loading(cfg, 'test'), with_truth=submission is None
    )
    # Without a terminal to draw on there is no progress bar, and only that of one rank.
    total, disable = -(-len(dataset) // world_size), True if rank > 0 else None
    for index, label, truth in tqdm(predictions, total=total, unit='image', disable=disable):
        name = dataset.img_infos[index]['filename']
        if shown is not None:
            image = None
            if args.opacity < 1:
                image = read_image(osp.join(dataset.img_dir, name), dataset.load_image)
            painted = paint(label, segmentor.PALETTE, image, args.opacity)
            write_picture(painted, shown.paths[name], shown.origin)
        if submission is not None:
            folder, to_label_id = submission
            write_id_map(label, folder.paths[name], to_label_id, segmentor.PALETTE, folder.origin)
        else:
            counts.append(count_areas(dataset, label, truth, index))
    return counts


def _folders(args, cfg, dataset, check):
    """Where PNGs go: for the eye, and for a server with the kind of ids; None where not asked for.

    Args:
        check (bool): Whether what is there already is looked at.
    """
    names = [info['filename'] for info in dataset.img_infos]
    made_of = dict(
        data=cfg.data.test, test_cfg=cfg.model.test_cfg, weights=args.weights, aug=args.aug_test
    )

    def folder_of(path, **kwargs):
        # Relative, so that a run may be moved with its predictions.
        checkpoint = osp.relpath(args.checkpoint, path)
        return PredictionFolder(path, names, dict(made_of, checkpoint=checkpoint), **kwargs)

    shown = folder_of(args.show_dir) if args.show_dir else None
    if shown is not None and check:
        shown.check_is_free('--show-dir')
    if not args.format_only:
        return shown, None
    path, to_label_id = _submission(args, cfg, dataset)
    made_of['to_label_id'] = to_label_id
    sent = folder_of(path, keep_folders=False)
    if check:
        sent.check_is_free('--eval-options imgfile_prefix=FOLDER')
    if shown is not None and {*shown.paths.values()} & {*sent.paths.values()}:
        raise UserError(f'--show-dir {args.show_dir} is where the files for the server go.')
    return shown, (sent, to_label_id)


def _submission(args, cfg, dataset):
    """Folder and kind of ids of a submission."""
    options = parse_options(args.eval_options, '--eval-options')
    unknown = set(options) - {'imgfile_prefix', 'to_label_id'}
    if unknown:
        raise UserError(f'--eval-options has no {", ".join(sorted(unknown))}.')
    has_label_ids = tuple(dataset.CLASSES) == CityscapesDataset.CLASSES
    default = has_label_ids and cfg.data.test.type not in TAKES_TRAIN_IDS
    to_label_id = options.get('to_label_id', default)
    if to_label_id and not has_label_ids:
        raise UserError("to_label_id=True is for all of Cityscapes' classes in their order alone.")
    default = osp.join(osp.dirname(args.checkpoint), 'labelIds' if to_label_id else 'labelTrainIds')
    return options.get('imgfile_prefix', default), to_label_id


def _use_test_split(dataset):
    for key in ('img_dir', 'ann_dir', 'train_ids_dir', 'split'):
        if dataset.get(key):
            # As a word: absolute paths may hold others, /evaluation or /home/valerie.
            dataset[key] = re.sub(r'(?<![a-z])val(?![a-z])', 'test', dataset[key])


def _use_augmentations(dataset):
    for transform in dataset.pipeline:
        if transform.type == 'MultiScaleFlipAug':
            transform.img_ratios = AUG_TEST_RATIOS
            transform.flip = True
            return
    raise UserError('--aug-test needs a MultiScaleFlipAug in data.test.pipeline.')


if __name__ == '__main__':
    main()
