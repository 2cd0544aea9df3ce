"""Test a checkpoint on its target: ``python tools/test.py [CONFIG] CHECKPOINT``; see test.sh."""

import argparse
import os.path as osp
import re
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

from tqdm import tqdm

from mmseg.datasets import CityscapesDataset
from mmseg.datasets.file_errors import build_files, read_image
from mmseg.engine import evaluation
from mmseg.engine.checks.data import file_of, list_files, warn_of_unused
from mmseg.engine.class_lists import class_list
from mmseg.engine.config import parse_options, read_file, restore_tuples
from mmseg.engine.distributed import init_distributed, main_process_first
from mmseg.engine.performance import keep_freed_memory
from mmseg.engine.predictions import PredictionFolder, write_id_map, write_image
from mmseg.engine.trained import load_trained
from mmseg.utils.collective import get_dist_info
from mmseg.utils.drawing import paint
from mmseg.utils.user_error import UserError, reports_user_errors
from tools.given_config import read_config

HRDA_OUTPUTS = {
    'LR': dict(fixed_attention=0.0),
    'HR': dict(fixed_attention=1.0),
    'ATT': dict(debug_output_attention=True),
}
AUG_TEST_RATIOS = [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]
# Whose servers take train ids; Cityscapes' takes label ids.
TAKES_TRAIN_IDS = ('ACDCDataset', 'DarkZurichDataset')


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description="Predict a data set (the config's data.test) and print per-class IoU and mIoU.",
        epilog='example: python tools/test.py work_dirs/x/latest.pth --show-dir work_dirs/x/preds. '
        'On 4 GPUs: torchrun --nproc_per_node=4 tools/test.py ...',
    )
    add = parser.add_argument
    add('config', nargs='?', help="the run's folder or config (default: the checkpoint's)")
    add('checkpoint', help="the run's checkpoint, e.g. latest.pth")
    add(
        '--data', metavar='CONFIG',
        help="test on data.test of this config, at its img_scale, with the run's other transforms",
    )  # fmt: skip
    add('--weights', choices=['student', 'teacher'], default='student', help='which network')
    add('--eval', nargs='+', choices=['mIoU', 'mDice', 'mFscore'], default=['mIoU'], help='metrics')
    output = parser.add_mutually_exclusive_group()
    output.add_argument('--confusion', metavar='FILE', help='write the confusion matrix as JSON')
    output.add_argument('--format-only', action='store_true', help='write PNGs for a server')
    add('--show-dir', metavar='DIR', help='write coloured predictions there')
    add('--opacity', type=float, default=1.0, help='of the colours over the image')
    add(
        '--inference-mode', choices=['same', 'whole', 'slide'], default='same',
        help='whole images, or windows of the training crop that overlap by half (default: as '
        'model.test_cfg)',
    )  # fmt: skip
    add(
        '--hrda-out', choices=['LR', 'HR', 'ATT'],
        help='of HRDA: predict from the context or the detail alone, or write the attention as '
        'grey PNGs (ATT, for --show-dir)',
    )  # fmt: skip
    add('--aug-test', action='store_true', help='average 6 scales and flips')
    add('--test-set', action='store_true', help='the test split: val becomes test in data.test')
    add(
        '--eval-options', nargs='+', metavar='KEY=VALUE',
        help='for --format-only: imgfile_prefix=FOLDER, to_label_id=True|False',
    )  # fmt: skip
    add('--device', help='cuda, cuda:N or cpu (default: a GPU if there is one)')
    add('--cfg-options', nargs='+', metavar='KEY=VALUE', help='replace entries')
    # A plain `parse_args` would take CONFIG for CHECKPOINT where an option stands between them.
    args = parser.parse_intermixed_args(argv)
    if args.checkpoint.endswith(('.py', '.json')):
        parser.error(f'{args.checkpoint} is a config: a checkpoint is missing')
    if args.eval_options and not args.format_only:
        parser.error('--eval-options are for --format-only')
    if args.hrda_out == 'ATT' and not args.show_dir:
        parser.error('--hrda-out ATT writes images: --show-dir is missing')
    if args.hrda_out == 'ATT' and (args.format_only or args.confusion or args.aug_test):
        parser.error('--hrda-out ATT is not for --format-only, --confusion or --aug-test')
    return args


@reports_user_errors
def main(argv=None):
    """Test; returns the metrics (None with ``--format-only``)."""
    args = parse_args(argv)
    with init_distributed(args.device) as device:
        keep_freed_memory(device)
        return _test(args, device)


def _test(args, device):
    options = parse_options(args.cfg_options)
    if args.data:
        of_data = {key: options.pop(key) for key in list(options) if key.startswith('data.test.')}
        cfg = read_config(args.config or args.checkpoint, options)
        _use_data(cfg, args.data, of_data)
    else:
        cfg = read_config(args.config or args.checkpoint, options)
    if args.confusion and osp.isfile(args.confusion):
        with open(args.confusion, 'rb') as file:
            if b'"confusion"' not in file.read():
                raise UserError(f'--confusion would replace {args.confusion}: choose another name.')
    if args.test_set:
        _use_test_split(cfg.data.test)
    if args.inference_mode != 'same':
        test_cfg = _test_cfg(cfg, args.inference_mode)
        cfg.merge_from_dict({'model.test_cfg': dict(_delete_=True, **test_cfg)})
    if args.hrda_out:
        if 'single_scale_head' not in cfg.model.decode_head:  # under whichever of its names
            raise UserError('--hrda-out is for networks with an HRDAHead.')
        cfg.model.decode_head.update(HRDA_OUTPUTS[args.hrda_out])
    with main_process_first() as is_rank_0:
        if is_rank_0:
            warn_of_unused(list_files(cfg.data.test, not args.format_only, file_of(cfg)).dataset)
    if args.aug_test:
        _use_augmentations(cfg.data.test)
    dataset = build_files(cfg.data.test, dict(test_mode=True))
    segmentor = load_trained(cfg, args.checkpoint, device, args.weights)
    shown = _folder(args.show_dir, args, cfg, dataset) if args.show_dir else None
    submission, to_label_id = _submission(args, cfg, dataset) if args.format_only else (None, None)
    with main_process_first() as is_rank_0:
        folders = {'--show-dir': shown, '--eval-options imgfile_prefix=FOLDER': submission}
        for option, folder in folders.items():
            if folder is not None and is_rank_0:
                folder.check_is_free(option)

    counts = _predict(args, cfg, segmentor, dataset, device, shown, submission, to_label_id)
    areas = evaluation.sum_areas(dataset, counts)  # waits for all ranks
    for folder in folders.values():
        if folder is not None and is_rank_0:
            print(f'Predictions are in {folder.folder}')
    if submission is not None or args.hrda_out == 'ATT':
        return None
    if args.confusion and is_rank_0:
        evaluation.write_confusion(args.confusion, dataset, areas, segmentor.iteration)
    found = evaluation.evaluate(
        dataset, areas, None if is_rank_0 else 'silent', args.eval,
        from_synthia=evaluation.is_from_synthia(cfg),
    )  # fmt: skip
    for name in ('mIoU', 'mIoU16', 'mIoU13'):
        if name in found and is_rank_0:
            print(f'{name}: {100 * found[name]:.2f}')
    return found


def _predict(args, cfg, segmentor, dataset, device, shown, submission, to_label_id):
    """Predict this rank's images and write what was asked for; returns the areas for metrics."""
    rank, world_size = get_dist_info()
    is_scored = submission is None and args.hrda_out != 'ATT'
    predictions = evaluation.predict(
        segmentor, dataset, device, **evaluation.loading(cfg, 'test'),
        with_gt=is_scored,
    )  # fmt: skip
    total = -(-len(dataset) // world_size)
    disable = rank > 0 or None  # None: no progress bar without a terminal
    counts = []
    for index, label, target in tqdm(predictions, total=total, unit='image', disable=disable):
        name = dataset.img_infos[index]['filename']
        if shown is not None:
            path = osp.join(dataset.img_dir, name)
            image = read_image(path, dataset.load_image) if args.opacity < 1 else None
            is_grey = args.hrda_out == 'ATT'
            painted = label if is_grey else paint(label, segmentor.PALETTE, image, args.opacity)
            write_image(painted, shown.paths[name], shown.origin)
        if is_scored:
            counts.append(evaluation.count_areas(dataset, label, target, index))
        elif submission is not None:
            path, origin = submission.paths[name], submission.origin
            write_id_map(label, path, to_label_id, segmentor.PALETTE, origin)
    return counts


def _folder(path, args, cfg, dataset, keep_folders=True, **made_of):
    """A folder of PNGs that only this command's may be in."""
    made_of.update(
        data=cfg.data.test, model=cfg.model, weights=args.weights, aug=args.aug_test,
        # Relative, so that a run may be moved with its predictions.
        checkpoint=osp.relpath(args.checkpoint, path),
    )  # fmt: skip
    names = [info['filename'] for info in dataset.img_infos]
    return PredictionFolder(path, names, made_of, keep_folders)


def _submission(args, cfg, dataset):
    """The folder for a benchmark server's PNGs, and whether they hold label ids."""
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
    path = options.get('imgfile_prefix', default)
    if args.show_dir and osp.realpath(path) == osp.realpath(args.show_dir):
        raise UserError(f'--show-dir {args.show_dir} is where the files for the server go.')
    folder = _folder(path, args, cfg, dataset, keep_folders=False, to_label_id=to_label_id)
    return folder, to_label_id


def _use_data(cfg, path, options):
    """Test on the data set of another file, with the transforms that the network is trained for."""
    found = (read_file(path).get('data') or {}).get('test')
    if found is None:
        raise UserError(f'--data {path} has no data.test.')
    pipeline, (names, _) = cfg.data.test.pipeline, class_list(cfg.data.test)
    scales = [transform.img_scale for transform in found.pipeline if 'img_scale' in transform]
    for transform in pipeline:
        if 'img_scale' in transform and scales:
            transform.img_scale = scales[0]
    found.pipeline = pipeline
    cfg.data.test = found
    cfg.merge_from_dict(options)
    restore_tuples(cfg.data.test)
    others, _ = class_list(cfg.data.test)
    if not set(names) <= set(others or names):
        raise UserError(
            f'--data {path} ({cfg.data.test.type}) lacks classes that the network predicts.'
        )
    if names != others:
        cfg.data.test.classes = names


def _use_test_split(dataset):
    for key in ('img_dir', 'ann_dir', 'train_ids_dir', 'split'):
        if dataset.get(key):
            # As a word: absolute paths may hold others, /evaluation or /home/valerie.
            dataset[key] = re.sub(r'(?<![a-z])val(?![a-z])', 'test', dataset[key])


def _test_cfg(cfg, mode):
    if mode == 'whole':
        return dict(mode='whole')
    size = cfg.data.train.get('sync_crop_size') or cfg.get('crop_size')
    if size is None:
        raise UserError('--inference-mode slide: the config names no crop_size; state it.')
    stride = [side // 2 for side in size]
    return dict(mode='slide', crop_size=size, stride=stride, batched_slide=True)


def _use_augmentations(dataset):
    for transform in dataset.pipeline:
        if transform.type == 'MultiScaleFlipAug':
            transform.img_ratios = AUG_TEST_RATIOS
            transform.flip = True
            return
    raise UserError('--aug-test needs a MultiScaleFlipAug in data.test.pipeline.')


if __name__ == '__main__':
    main()
