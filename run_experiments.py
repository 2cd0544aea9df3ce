"""Train one config: ``python run_experiments.py --config FILE``.

Writes the run's generated config below configs/generated/, trains it into work_dirs/ and tests it
on the target's validation set. The same command again goes on where the run stopped.
"""

import argparse
import glob
import os.path as osp
import sys

MACHINE = 'local'


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Train a config with everything around it. '
        'The same command again goes on where an interrupted run stopped.',
        epilog='example: python run_experiments.py --config configs/street_scenes/uda_mitb0.py',
    )
    parser.add_argument('--config', required=True, metavar='FILE', help='config file to train')
    parser.add_argument('--work-dir', help='folder of the run (default: made below work_dirs/)')
    parser.add_argument(
        '--new', action='store_true', help='start another run even if there is one of this config'
    )
    parser.add_argument('--load-from', metavar='FILE', help='start the student from these weights')
    parser.add_argument('--device', help='cuda, cuda:N or cpu (default: a GPU if there is one)')
    parser.add_argument('--seed', type=int, help="replaces the config's seed")
    parser.add_argument(
        '--cfg-options', nargs='+', metavar='KEY=VALUE',
        help='replace entries of the config, e.g. runner.max_iters=100 data.samples_per_gpu=1',
    )  # fmt: skip
    return parser.parse_args(argv)


def main(argv=None):
    """Find or make the run, then train it."""
    args = parse_args(argv)
    # Importing mmseg takes seconds: only after the arguments are known to be good.
    from mmseg.utils.user_error import reports_user_errors

    reports_user_errors(_run_config)(args)


def _run_config(args):
    from mmseg.engine.config import load_config, parse_options
    from mmseg.engine.devices import choose_device
    from mmseg.engine.preflight import check_files
    from mmseg.engine.runs import check_is_free, find_run, new_run
    from tools.train import main as train

    overrides = parse_options(args.cfg_options)
    for key in ('seed', 'load_from'):
        if getattr(args, key) is not None:
            overrides[key] = getattr(args, key)
    cfg = load_config(args.config, overrides)
    choose_device(args.device)
    check_files(cfg)
    group = f'{MACHINE}-{cfg.get("exp", "basic")}'
    work_dirs = [args.work_dir] if args.work_dir else glob.glob(osp.join('work_dirs', group, '*'))
    found = None if args.new else find_run(cfg, work_dirs)
    if found is None:
        if args.work_dir:
            check_is_free(args.work_dir)
        path = new_run(cfg, group, args.config, overrides, args.work_dir)
        work_dir = load_config(path).work_dir
        print(f'New run: {path}')
    else:
        path, finished = found
        # Not the one in the config: the folder may have been moved.
        work_dir = osp.dirname(path)
        if finished:
            print(f'This run is finished: {work_dir} (--new starts another).')
            return
        print(f'Going on with {work_dir}')
    train([path, '--work-dir', work_dir, *(['--device', args.device] if args.device else [])])
    print(f'Finished. Predictions and their IoU: sh test.sh {work_dir}')


if __name__ == '__main__':
    sys.path.insert(0, osp.dirname(osp.abspath(__file__)))
    main()
