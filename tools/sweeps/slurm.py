"""Hands runs to SLURM through submitit, one job for each."""

import os
import shlex
import sys
from pathlib import Path

import submitit

from mmseg.utils.user_error import UserError
from tools.sweeps.job_states import job_states
from tools.sweeps.notes import leave_note
from tools.sweeps.slurm_job import TrainingJob
from tools.sweeps.sweep_files import note_of, read_note, submissions_of

ROOT = Path(__file__).resolve().parents[2]


def submit_all(trainings, group, cluster):
    """Submit those runs that no job is in the queue for, and say what is done with each."""
    notes = {training.name: read_note(group, training.name) for training in trainings}
    queued = {
        name: word
        for name, (state, word) in job_states(group, notes).items()
        if state in ('waiting', 'running')
    }
    for name, word in queued.items():
        print(f'{name} is job {notes[name]["job"]} already: {word}')
        if word == 'UNKNOWN':
            print(f'If SLURM has no such job, delete {note_of(group, name)}')
    left = [training for training in trainings if training.name not in queued]
    if left:
        submit(left, group, cluster)
    print(f'Submitted: {len(left)}. The same command with --status shows how far the runs are.')


def submit(trainings, group, cluster):
    """Submit a job per run and note its number beside the runs.

    Args:
        trainings: list of `Training`.
        group: ``{machine}-{experiment}``.
        cluster: the `Cluster`.

    Returns:
        list: submitit's jobs.

    Raises:
        UserError: SLURM refuses a job; those before it are submitted.
    """
    jobs = []
    executor = _executor(group, cluster)
    for training in trainings:
        executor.update_parameters(
            name=training.name,
            gpus_per_node=training.n_gpus,
            cpus_per_task=cluster.cpus_per_gpu * training.n_gpus,
            mem_gb=cluster.memory_gb_per_gpu * training.n_gpus,
        )
        try:
            job = executor.submit(TrainingJob(training))
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as e:
            reason = ' '.join(str(e).split())
            raise UserError(f'{training.name} cannot be submitted: {reason}') from e
        leave_note(group, training.name, {'cluster': cluster.cluster, 'job': job.job_id})
        print(f'{training.name} is job {job.job_id}; output: {training.output}', flush=True)
        jobs.append(job)
    return jobs


def _executor(group, cluster):
    # The job finds this code wherever it was submitted from.
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])
    python = shlex.join(['env', f'PYTHONPATH={path}', sys.executable])
    kind = cluster.cluster
    executor = submitit.AutoExecutor(
        submissions_of(group),
        cluster=kind,
        **{f'{kind}_python': python, f'{kind}_max_num_timeout': cluster.requeues},
    )
    executor.update_parameters(
        timeout_min=cluster.minutes,
        tasks_per_node=1,
        nodes=1,
        stderr_to_stdout=True,
        slurm_partition=cluster.partition,
        slurm_account=cluster.account,
        slurm_qos=cluster.qos,
        slurm_constraint=cluster.constraint,
        slurm_signal_delay_s=cluster.warning_seconds,
        slurm_setup=list(cluster.setup) or None,
        slurm_additional_parameters={'requeue': True},
    )
    return executor
