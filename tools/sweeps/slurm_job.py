"""What a job of the cluster does: trains a run, and queues itself again before it is cut off.

SLURM warns a job with SIGUSR2, which submitit answers by calling `checkpoint` and queueing the job
again. The run itself knows SIGTERM: it ends its iteration, writes resume state and exits. So a
warning is handed on as SIGTERM, and submitit hears of it once the run has ended.
"""

import signal
import sys
from dataclasses import dataclass

import submitit

from tools.sweeps.training_process import Training


@dataclass(frozen=True)
class TrainingJob:
    """The function that submitit calls in the job.

    Args:
        training: the run.
    """

    training: Training

    def __call__(self):
        """Train until the end or until SLURM says stop.

        Raises:
            RuntimeError: The run failed.
        """
        heard, running = [], []

        def stop(number, _frame):
            heard.append(number)
            # Only once: preemption is SIGTERM, then the warning.
            if len(heard) == 1:
                for process in running:
                    process.terminate()

        warning = getattr(signal, f'SIG{submitit.JobEnvironment.USR_SIG}')
        usual = {number: signal.signal(number, stop) for number in (warning, signal.SIGTERM)}
        running.append(self.training.start())
        if heard:
            running[0].terminate()
        code = running[0].wait()
        for number, handler in usual.items():
            signal.signal(number, handler)
        if code == 0:
            return
        if warning in heard:
            signal.raise_signal(warning)  # now submitit's: queues this job again and exits
        if heard:
            # `scancel`, or a preemption after which SLURM queues the job again by itself. submitit
            # takes this for no result, so that a second try may leave one.
            sys.exit(128 + signal.SIGTERM)
        raise RuntimeError(f'exit code {code}; see {self.training.output}')

    def checkpoint(self):
        """Returns what the job does when it starts again: the same, since runs resume exactly."""
        return submitit.helpers.DelayedSubmission(self)
