"""The options of tools/test.py."""

import argparse

from mmseg.engine.test_scales import SCALES
from tools.evaluation_sets import known_names
from tools.evaluation_table import NETWORKS


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description="Predict a data set (the config's data.test) and print per-class IoU and mIoU, "
        'or one table of several data sets.',
        epilog='example: python tools/test.py work_dirs/x/latest.pth --show-dir work_dirs/x/preds. '
        'On 4 GPUs: torchrun --nproc_per_node=4 tools/test.py ...',
    )
    add = parser.add_argument
    add('config', nargs='?', help="the run's folder or config (default: the checkpoint's)")
    add('checkpoint', help="the run's checkpoint, e.g. latest.pth")
    data = parser.add_mutually_exclusive_group()
    data.add_argument(
        '--data', metavar='CONFIG',
        help="test on data.test of this config, at its img_scale, with the run's other transforms",
    )  # fmt: skip
    data.add_argument(
        '--on', nargs='+', metavar='NAME',
        help=f"test on these: names in the config's data.test, or {', '.join(known_names())}",
    )  # fmt: skip
    add('--test-scale', metavar='SCALE', help=f'{SCALES} (default: as the config of the data set)')
    add(
        '--weights', choices=NETWORKS, help='which network (default: the student; for a table both)'
    )
    add('--eval', nargs='+', choices=['mIoU', 'mDice', 'mFscore'], default=['mIoU'], help='metrics')
    add('--csv', metavar='FILE', help='write every metric there, a line per data set and network')
    add('--json', metavar='FILE', help='write everything there')
    add('--reliability', metavar='DIR', help='draw reliability diagrams there')
    output = parser.add_mutually_exclusive_group()
    output.add_argument('--confusion', metavar='FILE', help='write the confusion matrix as JSON')
    output.add_argument('--format-only', action='store_true', help='write PNGs for a server')
    output.add_argument(
        '--format', choices=['bravo'], help='write PNGs of labels and confidences for BRAVO'
    )
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
    args.format_only |= args.format is not None
    if args.eval_options and not args.format_only:
        parser.error('--eval-options are for --format-only and --format')
    if args.hrda_out == 'ATT' and not args.show_dir:
        parser.error('--hrda-out ATT writes images: --show-dir is missing')
    if args.hrda_out == 'ATT' and (args.format_only or args.confusion or args.aug_test):
        parser.error('--hrda-out ATT is not for --format-only, --confusion or --aug-test')
    args.is_scored = not args.format_only and args.hrda_out != 'ATT'
    if not args.is_scored and (args.csv or args.json or args.reliability):
        parser.error('--csv, --json and --reliability are for metrics, which nothing is asked of')
    return args
