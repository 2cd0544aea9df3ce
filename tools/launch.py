"""From a config to its trained run: goes on with the run there is, or starts one.

run_experiments.py imports this once its arguments are known to be good.
"""

import glob
import os.path as osp
import sys

from mmseg.engine.config import load_config, parse_options
from mmseg.engine.config_checks.unread import check_keys
from mmseg.engine.config_checks.values import check_values
from mmseg.engine.distributed import check_processes, is_launched
from mmseg.engine.preflight import check_files
from mmseg.engine.runs import check_is_free, child_config, find_run, new_run, put_over, resolve
from mmseg.utils.files import write_text
from mmseg.utils.user_error import UserError, reports_user_errors
from tools import train
from tools.collect_results import find_work_dirs, read_results, results_csv, results_table
from tools.processes import train_on
from tools.run_config import with_bases_from

MACHINE = 'local'


@reports_user_errors
def launch_config(args):
    """Train the config that run_experiments.py was given."""
    overrides = parse_options(args.cfg_options)
    for key in ('seed', 'load_from', 'deterministic', 'n_gpus'):
        if getattr(args, key) is not None:
            overrides[key] = getattr(args, key)
    if args.debug:
        overrides = {**debug_overrides(load_config(args.config)), **overrides}
    cfg = load_config(args.config, overrides)
    group = f'{MACHINE}-{cfg.get("exp", "basic")}'
    found = _find(cfg, group, args)
    check_keys(cfg, args.config)
    check_values(cfg, args.config)
    if not args.dry_run:
        _check([(cfg, found)], args)
    _start_or_go_on(cfg, child_config(args.config, overrides), group, found, args)


@reports_user_errors
def launch_experiment(args, configs):
    """Train an experiment's runs, one after the other, and show their results.

    A run that cannot go on (a loss that is not finite, a full disk) does not keep the others from
    theirs. All of them are checked before the first one takes its hours.

    Args:
        args: run_experiments.py's.
        configs: some of what `generate_experiment_cfgs` gave, perhaps at small scale.
    """
    group = f'{MACHINE}-exp{configs[0]["exp"]}'
    runs = []
    for config in configs:
        child = with_bases_from(config, '.')
        if args.debug:
            child = put_over(child, debug_overrides(child))
        if args.deterministic:
            child = put_over(child, {'deterministic': True})
        if args.n_gpus is not None:
            child = put_over(child, {'n_gpus': args.n_gpus})
        cfg = resolve(child)
        found = _find(cfg, group, args)
        check_keys(cfg, cfg.name)
        check_values(cfg, cfg.name)
        runs.append((cfg, child, found))
    if not args.dry_run:
        _check([(cfg, found) for cfg, _, found in runs], args)
    failed = []
    for number, (cfg, child, found) in enumerate(runs, 1):
        print(f'Run {number} of {len(runs)}: {cfg.name}')
        try:
            _start_or_go_on(cfg, child, group, found, args)
        except SystemExit as stop:
            # A message is an error of this run alone; a number says that a signal stopped it.
            if not isinstance(stop.code, str):
                raise
            print(stop.code, file=sys.stderr)
            failed.append(cfg.name)
    if not args.dry_run:
        show_results(osp.join('work_dirs', group))
    if failed:
        sys.exit(f'Error: {len(failed)} of {len(runs)} runs failed: {", ".join(failed)}')


def debug_overrides(cfg):
    """Returns what ``--debug`` sets, by dotted key: more logs, evaluations and pictures."""
    overrides = {'log_config.interval': 10, 'evaluation.interval': 200}
    if 'uda' in cfg:
        overrides['uda.debug_img_interval'] = 10
    return overrides


def show_results(folder):
    """Print the results of all runs in a folder as a table and leave it there, with a CSV."""
    results = read_results(find_work_dirs([folder]))
    if not results:
        return
    table = results_table(results)
    print(table)
    write_text(osp.join(folder, 'results.txt'), f'{table}\n')
    write_text(osp.join(folder, 'results.csv'), results_csv(results))
    print(f'The same, and IoU per class, is in {osp.join(folder, "results.csv")}')


def _check(runs, args):
    """Check the device, and the files of those (config, what was found) that are not finished."""
    if is_launched():
        raise UserError(
            'run_experiments.py starts its processes itself: say --n-gpus N instead of torchrun, '
            'which goes with tools/train.py.'
        )
    unfinished = []
    for cfg, found in runs:
        check_processes(cfg.get('n_gpus', 1), args.device)
        if not _is_finished(found):
            unfinished.append(cfg)
            if found is not None:
                cfg.work_dir = osp.dirname(found[0])
    check_files(*unfinished)


def _find(cfg, group, args):
    """The run to go on with, as `find_run` gives it; None starts one."""
    if args.new:
        return None
    if args.work_dir:
        return find_run(cfg, [args.work_dir])
    # Reading each config of a large study for each of its runs would take minutes.
    pattern = osp.join('work_dirs', group, '*', f'*_{glob.escape(cfg.name)}_*.json')
    return find_run(cfg, sorted({osp.dirname(path) for path in glob.glob(pattern)}))


def _is_finished(found):
    return found is not None and found[1]


def _start_or_go_on(cfg, child, group, found, args):
    """Train a checked config."""
    if found is None:
        if args.work_dir:
            check_is_free(args.work_dir)
        path = new_run(cfg, group, child, args.work_dir)
        work_dir = load_config(path).work_dir
        print(f'New run: {path}')
    else:
        path = found[0]
        # Not the one in the config: the folder may have been moved.
        work_dir = osp.dirname(path)
        if _is_finished(found):
            print(f'This run is finished: {work_dir} (--new starts another).')
            return
        print(f'Going on with {work_dir}')
    if args.dry_run:
        return
    command = [path, '--work-dir', work_dir, *(['--device', args.device] if args.device else [])]
    if cfg.get('n_gpus', 1) > 1:
        train_on(cfg.n_gpus, command)
    else:
        train.main(command)
    print(f'Finished. Predictions and their IoU: sh test.sh {work_dir}')
