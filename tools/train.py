"""Train one config: ``python tools/train.py CONFIG``, also as one of torchrun's processes."""

import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

from tools.command_line import add_config_options


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Train one config. The same command again resumes an interrupted run.',
        epilog='example: python tools/train.py configs/street_scenes/uda_mitb0.py '
        '--work-dir work_dirs/try --cfg-options runner.max_iters=100   '
        'On 4 GPUs: torchrun --nproc_per_node=4 tools/train.py CONFIG',
    )
    parser.add_argument('config', help='a Python or JSON config file')
    parser.add_argument('--resume-from', metavar='FILE', help='resume from this checkpoint')
    add_config_options(parser)
    return parser.parse_args(argv)


def main(argv=None):
    """Train; returns normally at the end of the run, exits with 128 + signal if stopped."""
    args = parse_args(argv)
    # Importing mmseg takes seconds: only after the arguments are known to be good.
    from tools.launch import train_file

    train_file(args)


if __name__ == '__main__':
    main()
