"""Check the data sets of a config, all problems: ``python tools/check_dataset.py CONFIG``.

Training does the same before it starts, but for ``--full``, and stops at the first problem.
"""

import argparse
import os
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

from mmseg.engine.checks.data import check_dataset, check_sampling, datasets_of
from mmseg.engine.config import load_config, parse_options
from mmseg.utils.user_error import UserError, reports_user_errors


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Check the data sets that a config trains and validates on: files, labels, '
        'class index, crops. Exits with 1 if there is a problem.',
        epilog='example: python tools/check_dataset.py configs/street_scenes/uda_mitb0.py --full',
    )
    parser.add_argument('config', help='a Python or JSON config file')
    parser.add_argument(
        '--full', action='store_true', help='decode every image and label, not a few of them'
    )
    parser.add_argument(
        '--nproc', type=int, default=os.cpu_count(),
        help='number of processes with --full (default: %(default)s, all cores)',
    )  # fmt: skip
    parser.add_argument(
        '--cfg-options', nargs='+', metavar='KEY=VALUE',
        help='replace entries of the config, e.g. data.samples_per_gpu=1',
    )  # fmt: skip
    return parser.parse_args(argv)


@reports_user_errors
def main(argv=None):
    """Print what was found; exits with 1 and the number of problems if there are any."""
    args = parse_args(argv)
    cfg = load_config(args.config, parse_options(args.cfg_options))
    images = examined = problems = 0
    reports = []
    for use in datasets_of(cfg):
        report = check_dataset(use, args.full, args.nproc if args.full else 1)
        reports.append(report)
        print(f'{report.place}: {report.num_images} images, {report.num_examined} decoded')
        for problem in report.problems:
            print(f'- {problem}')
        images += report.num_images
        examined += report.num_examined
        problems += len(report.problems)
    try:
        if (sampling := check_sampling(cfg, reports)) is not None:
            print(sampling)
    except UserError as error:
        print(f'- {error}')
        problems += 1
    decoded = f'{images} images ({examined} of them decoded{"" if args.full else "; --full: all"})'
    if problems:
        raise UserError(f'{problems} problem(s) found in {decoded}; see above.')
    print(f'no problems found in {decoded}.')


if __name__ == '__main__':
    main()
