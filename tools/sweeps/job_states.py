"""What has become of submitted jobs: SLURM's word for it, and ours."""

import importlib.util
import pickle
import shutil

from tools.sweeps.sweep_files import submissions_of

_OURS = {
    **dict.fromkeys(('PENDING', 'REQUEUED', 'PREEMPTED', 'SUSPENDED', 'UNKNOWN'), 'waiting'),
    **dict.fromkeys(('RUNNING', 'COMPLETING', 'CONFIGURING'), 'running'),
    **dict.fromkeys(('CANCELLED', 'TIMEOUT', 'COMPLETED', 'INTERRUPTED', 'NO'), 'stopped'),
}


def job_states(group, notes):
    """Ask for the jobs of all notes at once.

    Args:
        group: ``{machine}-{experiment}``.
        notes: run name → its note; those without a job are left out.

    Returns:
        dict: run name → (``'waiting'``, ``'running'``, ``'stopped'`` or ``'failed'``, SLURM's word)
    """
    notes = {name: note for name, note in notes.items() if 'job' in note}
    if not notes:
        return {}
    if importlib.util.find_spec('submitit') is None:
        return dict.fromkeys(notes, (_OURS['UNKNOWN'], 'UNKNOWN, as submitit is not installed'))
    import submitit  # takes a while, and most sweeps have no jobs

    jobs = {}
    for name, note in notes.items():
        kind = submitit.SlurmJob if note['cluster'] == 'slurm' else submitit.LocalJob
        jobs[name] = kind(submissions_of(group), note['job'])
    if shutil.which('sacct'):
        submitit.SlurmJob.watcher.update()
    return {name: _state(job) for name, job in jobs.items()}


def _state(job):
    words = job.watcher.get_state(job.job_id, 'cache') if _is_slurm(job) else job.state
    word = words.split()[0].rstrip('+')  # "CANCELLED by 1000"
    result = job.paths.result_pickle
    if word in ('UNKNOWN', 'FINISHED') and result.exists():
        with open(result, 'rb') as file:
            word = 'FAILED' if pickle.load(file)[0] == 'error' else 'COMPLETED'
    return _OURS.get(word, 'failed'), word


def _is_slurm(job):
    return type(job).__name__ == 'SlurmJob'
