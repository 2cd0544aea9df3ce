"""How far the runs of an experiment are, as a table: what their folders say, and what SLURM says.

Reads files only, and imports neither torch nor mmseg, so that it answers at once.
"""

import glob
import os
import os.path as osp
import re
from collections import Counter

from prettytable import PrettyTable

from tools.collect_results import read_results
from tools.run_folder import is_finished
from tools.sweeps.job_states import job_states
from tools.sweeps.lock_holder import lock_holder
from tools.sweeps.sweep_files import note_of, read_note

STATES = ('waiting', 'running', 'finished', 'failed', 'stopped')


def show_status(group, configs):
    """Print a table of the runs of these configs; returns it.

    Args:
        group: ``{machine}-{experiment}``.
        configs: some of what `generate_experiment_cfgs` gave, perhaps at small scale.
    """
    runs = [name for config in configs for name in runs_of(group, config['name'])]
    notes = {name: read_note(group, name) for name in runs}
    jobs = job_states(group, notes)
    table = PrettyTable(['run', 'state', 'iteration', 'mIoU (%)', 'remark'])
    table.align = 'l'
    table.align['iteration'] = table.align['mIoU (%)'] = 'r'
    rows = [_row(group, name, notes[name], jobs.get(name)) for name in runs]
    table.add_rows(rows)
    print(table)
    counts = Counter(row[1] for row in rows)
    print(', '.join(f'{counts[state]} {state}' for state in STATES if counts[state]))
    return table


def runs_of(group, name):
    """Returns the names of a config's runs that have begun or are submitted, else the config's."""
    generated = re.compile(rf'\d{{6}}_\d{{4}}_{re.escape(name)}_[0-9a-f]{{5}}')
    folders = glob.glob(osp.join('work_dirs', glob.escape(group), '*', ''))
    notes = glob.glob(note_of(glob.escape(group), '*'))
    names = {osp.basename(osp.dirname(path)) for path in folders}
    names |= {osp.splitext(osp.basename(path))[0] for path in notes}
    return sorted(filter(generated.fullmatch, names)) or [name]


def _row(group, name, note, job):
    work_dir = osp.join('work_dirs', group, name)
    state, word = job or (None, None)
    holder = lock_holder(work_dir)
    (result,) = read_results([work_dir]) or [None]
    iteration = score = ''
    finished = False
    if result is not None:
        iteration = f'{result.reached}/{result.max_iters}'
        score = f'{result.metrics["mIoU"]:.2f}' if 'mIoU' in result.metrics else ''
        finished = is_finished(work_dir, result.max_iters)
    remark = note.get('failed', '')
    if job is not None:
        remark = f'job {note["job"]}: {word}'
    if holder is not None:
        state = 'running'
        remark = remark if job is not None else f'process {holder}'
    elif finished:
        state, remark = 'finished', ''
    elif 'failed' in note:
        state = 'failed'
    elif job is None:
        state = 'stopped' if os.path.isdir(work_dir) else 'waiting'
    return [name, state, iteration, score, remark]
