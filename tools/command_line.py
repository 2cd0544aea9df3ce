"""What commands share that do without mmseg, whose import takes seconds."""

import os
import sys
import traceback


def exit_with(error, more=''):
    """Exit with an error as one message; after its traceback where DAFORMER_TRACEBACK=1 is set."""
    if os.environ.get('DAFORMER_TRACEBACK', '0') not in ('', '0'):
        traceback.print_exception(error)
    sys.exit(f'Error: {error}{more}')


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
        '--deterministic', action='store_true', default=None, help='on a GPU: repeatable, slower'
    )
    parser.add_argument(
        '--cfg-options', nargs='+', metavar='KEY=VALUE',
        help='replace entries of the config, e.g. runner.max_iters=100 data.samples_per_gpu=1',
    )  # fmt: skip
