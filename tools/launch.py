"""From the options of run_experiments.py and tools/train.py to trained runs."""

import copy
import json
import os.path as osp
import sys
import tempfile

from mmseg.engine.config import as_dict, complete_config, parse_options, read_file
from mmseg.engine.distributed import check_processes, init_distributed, is_launched
from mmseg.engine.preflight import check_config, check_files
from mmseg.engine.run import read_run, train_run
from mmseg.utils.files import write_text
from mmseg.utils.user_error import UserError, reports_user_errors
from tools.processes import Training, run_all, slots_for, train_with_torchrun
from tools.run_config import with_bases_from
from tools.runs import Run, find_run
from tools.status import lock_holder


@reports_user_errors
def train_file(args):
    """Train the config of tools/train.py, perhaps as one of several processes."""
    with init_distributed(args.device) as device:
        cfg = read_run(args.config, args.work_dir, _overrides(args))
        signal = train_run(cfg, device)
    if signal is not None:
        sys.exit(128 + signal)


@reports_user_errors
def launch(args, configs=None):
    """Train these runs of an experiment, or ``--config``; all are checked before one starts."""
    runs = [_run(args, config) for config in configs or [None]]
    if args.dry_run:
        for run in runs:
            run.place(args.work_dir)
        return
    if configs and args.machine == 'slurm':
        _check_files(runs)
        from tools.slurm import submit  # importing submitit is for clusters alone

        submit(_trainings(runs, args.device), args.slurm)
        return
    if args.jobs is not None:
        slots = slots_for(args.jobs, max(run.n_gpus for run in runs), args.device)
        _check_files(runs)
        # The slots say which GPUs there are for each; only the CPU has to be named.
        failed = run_all(_trainings(runs, 'cpu' if args.device == 'cpu' else None), slots)
    else:
        if is_launched():
            raise UserError('run_experiments.py starts its processes itself: say --n-gpus N.')
        check_processes(max(run.n_gpus for run in runs), args.device)
        _check_files(runs)
        failed = _train_in_turn(runs, args) if configs else _train(runs[0], args)
    if configs:
        _show_results(osp.join('work_dirs', runs[0].group))
    if failed:
        sys.exit(f'Error: {len(failed)} of {len(runs)} runs failed: {", ".join(failed)}')


def _run(args, config=None):
    """Read, complete and check a config, and find what there is of its run."""
    if config is None:
        name, cfg, stated = args.config, read_file(args.config), {'_base_': [args.config]}
        group = f'{args.machine}-{cfg.get("exp", "basic")}'
    else:
        name, stated = config['name'], with_bases_from(config, '.')
        cfg, group = read_stated(stated), f'{args.machine}-exp{config["exp"]}'
    overrides = _overrides(args)
    if args.debug:
        shown = {'log_config.interval': 10, 'evaluation.interval': 200}
        overrides = shown | ({'uda.debug_img_interval': 10} if 'uda' in cfg else {}) | overrides
    complete_config(cfg, name, overrides)
    stated = apply_overrides(stated, overrides)
    # A config cannot set an entry of its base's list, nor be its own base.
    sets_entry = any(step.isdigit() for key in overrides for step in key.split('.'))
    if sets_entry or name.endswith('.json'):
        stated = as_dict(cfg)
    check_config(cfg, name)
    return Run(cfg, stated, group, find_run(cfg, group, args.work_dir, args.new))


def _overrides(args):
    """Return the values that the options set, by dotted key."""
    keys = ('seed', 'deterministic', 'n_gpus', 'resume_from', 'load_from')
    given = {key: getattr(args, key, None) for key in (*keys, 'load_from_without_classifier')}
    given = {key: value for key, value in given.items() if value is not None}
    return parse_options(args.cfg_options) | given


def apply_overrides(stated, overrides):
    """Return a stated config with values set by dotted key."""
    stated = copy.deepcopy(stated)
    for key, value in overrides.items():
        place = stated
        *parents, last = key.split('.')
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return stated


def read_stated(stated):
    """Read a config that is no file, but may have files as bases."""
    with tempfile.TemporaryDirectory() as folder:
        path = osp.join(folder, f'{stated["name"]}.json')
        bases = [osp.relpath(base, folder) for base in stated['_base_']]
        write_text(path, json.dumps({**stated, '_base_': bases}))
        return read_file(path)


def _check_files(runs):
    """Check the files of those runs that are not finished."""
    for run in runs:
        if run.is_there:
            run.cfg.work_dir = run.found.work_dir
    check_files(*(run.cfg for run in runs if not run.is_finished))


@reports_user_errors
def _train(run, args):
    """Train a run: in this process, or in as many as its config says."""
    path = run.place(args.work_dir)
    if path is None:
        return
    if run.n_gpus > 1:
        train_with_torchrun(Training(path, run.cfg.work_dir, run.n_gpus, args.device))
    else:
        with init_distributed(args.device) as device:
            signal = train_run(run.cfg, device)
        if signal is not None:
            sys.exit(128 + signal)
    print(f'Finished. Predictions and their IoU: sh test.sh {run.cfg.work_dir}')


def _train_in_turn(runs, args):
    """Train one run after the other; return the names of those that failed."""
    failed = []
    for number, run in enumerate(runs, 1):
        name = run.cfg.name  # its folder has a longer one
        print(f'Run {number} of {len(runs)}: {name}')
        try:
            _train(run, args)
        except SystemExit as stop:
            if not isinstance(stop.code, str):  # a signal stopped it
                raise
            print(stop.code, file=sys.stderr)
            failed.append(name)
    return failed


def _trainings(runs, device):
    """Return what trains the runs in other processes, less those finished or in progress."""
    trainings = []
    for run in runs:
        path = run.place()
        holder = path and lock_holder(run.cfg.work_dir)
        if holder:
            print(f'It is in progress: process {holder}')
        elif path:
            trainings.append(Training(path, run.cfg.work_dir, run.n_gpus, device))
    return trainings


def _show_results(folder):
    """Print the results of all runs in a folder as a table and leave it there, with a CSV."""
    from daformer_runs.run_folder import find_work_dirs
    from tools.collect_results import read_results, results_csv, results_tables

    results = read_results(find_work_dirs([folder]))
    if results:
        tables, csv = results_tables(results), osp.join(folder, 'results.csv')
        write_text(osp.join(folder, 'results.txt'), f'{tables}\n')
        write_text(csv, results_csv(results))
        print(f'{tables}\nThe same, and IoU per class, is in {csv}')
