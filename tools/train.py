"""Train one config: ``python tools/train.py CONFIG``, also as one of torchrun's processes."""

import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401


def add_config_options(parser):
    """Add the options that replace entries of a config, and those of where and on what it runs."""
    parser.add_argument('--work-dir', help='folder of the run (default: made below work_dirs/)')
    parser.add_argument('--load-from', metavar='FILE', help='start the student from these weights')
    parser.add_argument(
        '--load-from-without-classifier', action='store_true', default=None,
        help='leave the classifiers of --load-from out: it is of other classes',
    )  # fmt: skip
    parser.add_argument('--device', help='cuda, cuda:N or cpu (default: a GPU if there is one)')
    parser.add_argument('--seed', type=int, help="replaces the config's seed")
    parser.add_argument(
        '--deterministic', action='store_true', default=None,
        help='on a GPU: the same tensors every time, more slowly (on the CPU they always are)',
    )  # fmt: skip
    parser.add_argument(
        '--cfg-options', nargs='+', metavar='KEY=VALUE',
        help='replace entries of the config, e.g. runner.max_iters=100 data.samples_per_gpu=1',
    )  # fmt: skip


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
