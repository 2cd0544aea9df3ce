"""Runs as jobs of a SLURM cluster, which submitit submits and requeues at their time limit.

SLURM warns a job with SIGUSR2, upon which submitit requeues it. Before that the job stops its run
with SIGTERM and waits until the run has written resume state.
"""

import os
import os.path as osp
import shlex
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import submitit
import yaml

from tools.processes import Children, Training
from tools.status import queued_jobs

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class TrainingJob:
    """The function that submitit calls in a job."""

    training: Training

    def __call__(self):
        warning = getattr(signal, f'SIG{submitit.JobEnvironment.USR_SIG}')
        with Children(warning, signal.SIGTERM) as children:
            children.start(self.training, self.training.output)
            code = children.wait().returncode
        if code == 0:
            return
        if warning in children.received:
            signal.raise_signal(warning)  # now submitit's: requeues this job and exits
        if children.received:
            # `scancel`, or a preemption: SLURM may try again, which for submitit has no result yet.
            sys.exit(128 + signal.SIGTERM)
        raise RuntimeError(f'exit code {code}; see {self.training.output}')

    def checkpoint(self):
        """Let the requeued job do the same, since runs resume exactly."""
        return submitit.helpers.DelayedSubmission(self)


def submit(trainings, path=None):
    """Submit a job for each `Training` that is not in the queue, as a YAML file says."""
    from mmseg.utils.user_error import UserError  # takes seconds, which a job does without

    path = path or ROOT / 'configs' / 'slurm.yaml'
    queue = queued_jobs()
    try:
        with open(path, encoding='utf-8') as file:
            options = yaml.safe_load(file) or {}
        for training in trainings:
            if training.name in queue:
                print(f'{training.name} is queued: {queue[training.name]}')
                continue
            job = _executor(training, **options).submit(TrainingJob(training))
            print(f'{training.name} is job {job.job_id}; output: {training.output}', flush=True)
    except (OSError, TypeError, ValueError, RuntimeError, yaml.YAMLError) as error:
        raise UserError(f'--machine slurm with {path}: {" ".join(str(error).split())}') from error


def _executor(
    training, hours=24, cpus_per_gpu=8, memory_gb_per_gpu=48, warning_seconds=180, requeues=50,
    **options,
):  # fmt: skip
    # The job finds this code wherever it was submitted from.
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])])
    executor = submitit.SlurmExecutor(
        osp.join(osp.dirname(training.work_dir), 'sweep', 'submitit'), max_num_timeout=requeues,
        python=shlex.join(['env', f'PYTHONPATH={path}', sys.executable]),
    )  # fmt: skip
    executor.update_parameters(
        job_name=training.name, time=max(1, round(60 * float(hours))), nodes=1, ntasks_per_node=1,
        gpus_per_node=training.n_gpus, cpus_per_task=cpus_per_gpu * training.n_gpus,
        mem=f'{round(1024 * memory_gb_per_gpu * training.n_gpus)}MB', stderr_to_stdout=True,
        signal_delay_s=warning_seconds, additional_parameters={'requeue': True}, **options,
    )  # fmt: skip
    return executor
