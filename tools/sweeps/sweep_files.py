"""Where a sweep leaves what is not a run's own: output and notes, all below work_dirs/GROUP/sweep/.

A note says of a run which job of the cluster trains it, or why it failed.
"""

import json
import os.path as osp


def output_of(group, name):
    """Path of the file that holds what a run prints."""
    return osp.join('work_dirs', group, 'sweep', 'output', f'{name}.txt')


def note_of(group, name):
    """Path of a run's note."""
    return osp.join('work_dirs', group, 'sweep', 'notes', f'{name}.json')


def submissions_of(group):
    """The folder in which submitit keeps what it hands to the jobs, and what they print."""
    return osp.join('work_dirs', group, 'sweep', 'submitit')


def read_note(group, name):
    """Returns a run's note: ``{'cluster': …, 'job': …}``, ``{'failed': …}``, or {} without one."""
    path = note_of(group, name)
    if not osp.isfile(path):
        return {}
    with open(path, encoding='utf-8') as file:
        return json.load(file)


def last_line(path):
    """Returns the last line that says something of a text file; '' if there is none."""
    with open(path, encoding='utf-8', errors='replace') as file:
        lines = [line.strip() for line in file if line.strip()]
    return lines[-1] if lines else ''
