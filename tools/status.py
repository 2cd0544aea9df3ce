"""How far the runs of an experiment are, without importing torch or mmseg."""

import os
import os.path as osp
import shutil
import subprocess
import sys

from prettytable import PrettyTable

from tools.collect_results import read_results, short_name


def show_status(group, configs):
    """Print and return a table of the runs of these configs below ``work_dirs/{group}``."""
    folder = osp.join('work_dirs', group)
    queue = queued_jobs()
    names = {*queue, *(os.listdir(folder) if osp.isdir(folder) else [])}
    table = PrettyTable(['run', 'state', 'iteration', 'mIoU (%)'], align='l')
    for config in configs:
        own = sorted(name for name in names if short_name(name) == config['name'])
        for name in own or [config['name']]:
            table.add_row([name, *_state(osp.join(folder, name), queue.get(name))])
    print(table)
    return table


def _state(work_dir, job):
    holder = lock_holder(work_dir)
    state = job or (holder and f'running: process {holder}')
    (result,) = read_results([work_dir]) or [None]
    if result is None:
        return [state or ('stopped' if osp.isdir(work_dir) else 'waiting'), '', '']
    score = f'{result.metrics["mIoU"]:.2f}' if 'mIoU' in result.metrics else ''
    state = state or ('finished' if result.is_finished else 'stopped')
    return [state, f'{result.reached}/{result.max_iters}', score]


def queued_jobs():
    """Return name → ``'STATE: job NUMBER'`` of this user's jobs in SLURM's queue."""
    if shutil.which('squeue') is None:
        return {}
    command = ['squeue', '--me', '--noheader', '--format=%T: job %i %j']
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f'Error: squeue fails: {" ".join(result.stderr.split())}')
    lines = [line.split(maxsplit=3) for line in result.stdout.splitlines()]
    return {name: ' '.join(job) for *job, name in lines}


def lock_holder(work_dir):
    """Return ``'PROCESS on MACHINE'`` that trains in a run's folder, or None."""
    path = osp.join(work_dir, '.lock')
    if osp.isfile(path):
        with open(path, encoding='utf-8') as file:
            try:
                # Taking the lock, even for a moment, could keep a run from its start.
                os.lockf(file.fileno(), os.F_TEST, 0)
            except (BlockingIOError, PermissionError):
                return file.read()
    return None
