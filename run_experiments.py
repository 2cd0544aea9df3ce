"""Train one config (``--config FILE``) or all runs of an experiment of the paper (``--exp ID``).

Writes the generated config of each run below configs/generated/, trains it into work_dirs/ and
tests it on the target's validation set. The same command again goes on where it stopped.
"""

import argparse
import glob
import os.path as osp
import sys

MACHINE = 'local'


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Train a config, or an experiment of the paper, with everything around it. '
        'The same command again goes on where it stopped.',
        epilog='example: python run_experiments.py --config configs/street_scenes/uda_mitb0.py',
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument('--config', metavar='FILE', help='config file to train')
    what.add_argument(
        '--exp', type=int, metavar='ID', help='train all runs of an experiment in experiments.py'
    )
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
    args = parser.parse_args(argv)
    for option in ('work_dir', 'load_from', 'seed', 'cfg_options'):
        if args.exp is not None and getattr(args, option) is not None:
            parser.error(f'--{option.replace("_", "-")} goes with --config, not with --exp')
    return args


def main(argv=None):
    """Find or make the run, then train it; with ``--exp`` one run after the other."""
    args = parse_args(argv)
    configs = None
    if args.exp is not None:
        from experiments import generate_experiment_cfgs

        try:
            configs = generate_experiment_cfgs(args.exp)
        except ValueError as error:
            sys.exit(f'Error: {error}')
    # Importing mmseg takes seconds: only after the arguments are known to be good.
    from mmseg.utils.user_error import reports_user_errors

    if configs is None:
        reports_user_errors(_run_config)(args)
    else:
        reports_user_errors(lambda args: _run_experiment(configs, args))(args)


def _run_config(args):
    from mmseg.engine.config import load_config, parse_options
    from mmseg.engine.runs import child_config

    overrides = parse_options(args.cfg_options)
    for key in ('seed', 'load_from'):
        if getattr(args, key) is not None:
            overrides[key] = getattr(args, key)
    cfg = load_config(args.config, overrides)
    _check(cfg, args)
    _run(cfg, child_config(args.config, overrides), args)


def _run_experiment(configs, args):
    from mmseg.engine.runs import resolve
    from tools.run_config import with_bases_from

    children = [with_bases_from(config, '.') for config in configs]
    resolved = [resolve(child) for child in children]
    # All runs are checked before the first one takes its hours.
    for cfg in resolved:
        _check(cfg, args)
    for number, (cfg, child) in enumerate(zip(resolved, children, strict=True), 1):
        print(f'Run {number} of {len(children)}: {cfg.name}')
        _run(cfg, child, args)


def _check(cfg, args):
    from mmseg.engine.devices import choose_device
    from mmseg.engine.preflight import check_files

    choose_device(args.device)
    check_files(cfg)


def _run(cfg, child, args):
    """Train a checked config: go on with its run, or start one."""
    from mmseg.engine.config import load_config
    from mmseg.engine.runs import check_is_free, find_run, new_run
    from tools.train import main as train

    experiment = cfg.get('exp', 'basic')
    group = f'{MACHINE}-{experiment}' if args.exp is None else f'{MACHINE}-exp{experiment}'
    work_dirs = [args.work_dir] if args.work_dir else glob.glob(osp.join('work_dirs', group, '*'))
    found = None if args.new else find_run(cfg, work_dirs)
    if found is None:
        if args.work_dir:
            check_is_free(args.work_dir)
        path = new_run(cfg, group, child, args.work_dir)
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
