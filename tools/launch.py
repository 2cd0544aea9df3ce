"""From a config to its trained run: resumes the run there is, or starts one.

run_experiments.py imports this once its arguments are known to be good.
"""

import glob
import os.path as osp
import sys
from dataclasses import dataclass

from mmseg.engine.checkpoint import saved_checkpoints
from mmseg.engine.checks.config import check_keys, check_values
from mmseg.engine.config import load_config, parse_options
from mmseg.engine.distributed import check_processes, is_launched
from mmseg.engine.preflight import check_files
from mmseg.utils.files import write_text
from mmseg.utils.user_error import UserError, reports_user_errors
from tools import train
from tools.collect_results import read_results, results_csv, results_table
from tools.processes import train_on
from tools.run_config import with_bases_from
from tools.run_folder import find_work_dirs
from tools.runs import FoundRun, child_config, find_run, new_run, put_over, resolve, write_config
from tools.same_run import describe
from tools.sweeps.lock_holder import lock_holder
from tools.sweeps.notes import leave_note, remove_note
from tools.sweeps.pool import train_side_by_side
from tools.sweeps.slots import slots_for
from tools.sweeps.sweep_files import output_of
from tools.sweeps.training_process import Training


@dataclass
class _Run:
    """A run that is asked for: its resolved config, how it was stated, and what there is of it."""

    cfg: object
    child: dict
    found: FoundRun | None

    @property
    def is_there(self):
        """Whether it has begun: what is found may also be another run of its name."""
        return self.found is not None and not self.found.differences

    @property
    def is_finished(self):
        return self.is_there and self.found.is_finished


@reports_user_errors
def launch_config(args):
    """Train the config that run_experiments.py was given."""
    overrides = parse_options(args.cfg_options)
    for key in (*('seed', 'load_from', 'load_from_without_classifier', 'deterministic', 'n_gpus'),):
        if getattr(args, key) is not None:
            overrides[key] = getattr(args, key)
    if args.debug:
        overrides = {**debug_overrides(load_config(args.config)), **overrides}
    cfg = load_config(args.config, overrides)
    group = f'{args.machine}-{cfg.get("exp", "basic")}'
    check_keys(cfg, args.config)
    check_values(cfg, args.config)
    run = _Run(cfg, child_config(args.config, overrides), _find(cfg, group, args))
    if not args.dry_run:
        _check_devices([run], args)
        _check_files([run])
    place = _place(run, group, args)
    if place is not None and not args.dry_run:
        _train(run, *place, args)


@reports_user_errors
def launch_experiment(args, configs, cluster=None):
    """Train an experiment's runs: one after the other, several at a time, or as jobs of a cluster.

    A run that cannot go on (a loss that is not finite, a full disk) does not keep the others from
    theirs. All of them are checked before the first one takes its hours.

    Args:
        args: run_experiments.py's.
        configs: some of what `generate_experiment_cfgs` gave, perhaps at small scale.
        cluster: for `--machine slurm`, the `Cluster`.
    """
    group = f'{args.machine}-exp{configs[0]["exp"]}'
    runs = [_checked_run(config, group, args) for config in configs]
    if args.dry_run:
        for run in runs:
            _place(run, group, args)
        return
    if cluster is not None:
        _check_files(runs)
        from tools.sweeps.slurm import submit_all  # submitit is needed for clusters alone

        submit_all(_trainings(runs, group, args, args.device), group, cluster)
        return
    if args.jobs is None:
        _check_devices(runs, args)
        _check_files(runs)
        failed = _train_in_turn(runs, group, args)
    else:
        slots = slots_for(args.jobs, max(_n_gpus(run.cfg) for run in runs), args.device)
        _check_files(runs)
        # The slots say which GPUs there are for each; only the CPU has to be named.
        device = 'cpu' if args.device == 'cpu' else None
        failed = train_side_by_side(_trainings(runs, group, args, device), group, slots)
    show_results(osp.join('work_dirs', group))
    if failed:
        sys.exit(f'Error: {len(failed)} of {len(runs)} runs failed: {", ".join(failed)}')


def _checked_run(config, group, args):
    """The run of one of the experiment's configs."""
    child = with_bases_from(config, '.')
    if args.debug:
        child = put_over(child, debug_overrides(child))
    if args.deterministic:
        child = put_over(child, {'deterministic': True})
    if args.n_gpus is not None:
        child = put_over(child, {'n_gpus': args.n_gpus})
    cfg = resolve(child)
    check_keys(cfg, cfg.name)
    check_values(cfg, cfg.name)
    return _Run(cfg, child, _find(cfg, group, args))


def _train_in_turn(runs, group, args):
    """Train here, one run after the other; returns the names of those that failed."""
    failed = []
    for number, run in enumerate(runs, 1):
        print(f'Run {number} of {len(runs)}: {run.cfg.name}')
        place = _place(run, group, args)
        if place is None:
            continue
        name = _name_of(place[0])
        remove_note(group, name)
        try:
            _train(run, *place, args)
        except SystemExit as stop:
            # A message is an error of this run alone; a number says that a signal stopped it.
            if not isinstance(stop.code, str):
                raise
            print(stop.code, file=sys.stderr)
            leave_note(group, name, {'failed': stop.code})
            failed.append(run.cfg.name)
    return failed


def _trainings(runs, group, args, device):
    """What trains the runs in other processes, less those that are finished or in progress."""
    trainings = []
    for run in runs:
        place = _place(run, group, args)
        if place is None:
            continue
        path, work_dir = place
        holder = lock_holder(work_dir)
        if holder is not None:
            print(f'It is in progress: process {holder}')
            continue
        name = _name_of(path)
        output = output_of(group, name)
        trainings.append(Training(name, path, work_dir, output, _n_gpus(run.cfg), device))
    return trainings


def _n_gpus(cfg):
    """How many processes train a run, each on a GPU."""
    return cfg.get('n_gpus') or 1


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


def _check_devices(runs, args):
    """Check that there is a device for each process of the runs that this process starts."""
    if is_launched():
        raise UserError(
            'run_experiments.py starts its processes itself: say --n-gpus N instead of torchrun, '
            'which goes with tools/train.py.'
        )
    for run in runs:
        check_processes(_n_gpus(run.cfg), args.device)


def _check_files(runs):
    """Check the files of those runs that are not finished."""
    unfinished = []
    for run in runs:
        if not run.is_finished:
            unfinished.append(run.cfg)
            if run.is_there:
                run.cfg.work_dir = run.found.work_dir
    check_files(*unfinished)


def _find(cfg, group, args):
    """The run to resume, else the one of this name that differs least; None if there is none."""
    if args.work_dir:
        found = find_run(cfg, [args.work_dir])
        if found and (args.new or (found.differences and saved_checkpoints(args.work_dir))):
            what = (
                f'another run: {describe(found.differences)}' if found.differences else 'this run'
            )
            raise UserError(
                f'{args.work_dir} holds {what} ({found.config}). Choose another --work-dir, or '
                'delete that run.'
            )
        return found
    if args.new:
        return None
    # Reading each config of a large study for each of its runs would take minutes.
    pattern = osp.join('work_dirs', group, '*', f'*_{glob.escape(cfg.name)}_*.json')
    return find_run(cfg, sorted({osp.dirname(path) for path in glob.glob(pattern)}))


def _place(run, group, args):
    """Name a checked run, or find what there is of it, and say so.

    Returns:
        tuple[str, str] | None: Its config file and its folder; None if it is finished.
    """
    found = run.found
    if not run.is_there:
        path = new_run(run.cfg, group, run.child, args.work_dir)
        print(f'New run: {path}')
        if found is not None and not args.work_dir:
            print(f'{found.work_dir} is another run: {describe(found.differences)}')
        return path, load_config(path).work_dir
    # Not the one in the config: the folder may have been moved.
    work_dir = found.work_dir
    if found.is_finished:
        print(f'This run is finished: {work_dir} (--new starts another).')
        return None
    print(f'Resuming {work_dir}')
    if found.is_equal:
        return found.config, work_dir
    # tools/train.py says what has changed, and brings the config in the folder up to date.
    return write_config(run.cfg, group, run.child, found.name, work_dir), work_dir


def _name_of(path):
    """The name of the run with this config file."""
    return osp.splitext(osp.basename(path))[0]


def _train(run, path, work_dir, args):
    """Train a placed run: in this process, or in as many as its config says."""
    command = [path, '--work-dir', work_dir, *(['--device', args.device] if args.device else [])]
    if _n_gpus(run.cfg) > 1:
        train_on(run.cfg.n_gpus, command)
    else:
        train.main(command)
    print(f'Finished. Predictions and their IoU: sh test.sh {work_dir}')
