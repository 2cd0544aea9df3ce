"""Training in child processes: one run on several devices, or several runs at a time."""

import contextlib
import datetime
import os
import os.path as osp
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

TRAIN = Path(__file__).resolve().with_name('train.py')
# For torchrun, which gives a stopped run 30 seconds: too few for an evaluation and resume state.
_ENVIRONMENT = {'TORCH_ELASTIC_SHUTDOWN_TIMEOUT': '600', 'PYTHONUNBUFFERED': '1'}


@dataclass(frozen=True)
class Training:
    """A run to train: its generated config NAME.json, its folder, and one process per GPU."""

    config: str
    work_dir: str
    n_gpus: int = 1
    device: str | None = None  # as --device

    @property
    def name(self):
        return osp.splitext(osp.basename(self.config))[0]

    @property
    def output(self):
        """File for what the run prints as part of a sweep."""
        return osp.join(osp.dirname(self.work_dir), 'sweep', 'output', f'{self.name}.txt')

    def command(self):
        """Return the command line, with torchrun if several processes train."""
        start = [sys.executable]
        if self.n_gpus > 1:
            start += ['-m', 'torch.distributed.run', '--standalone']
            start.append(f'--nproc_per_node={self.n_gpus}')
        device = ['--device', self.device] if self.device else []
        return [*start, str(TRAIN), self.config, '--work-dir', self.work_dir, *device]


class Children:
    """Context for child processes: a signal to this process stops them with a SIGTERM.

    They hear nothing from the terminal, since a second signal ends a run within its iteration.
    With `repeat` that is wanted: every signal is handed on, not the first one alone.
    """

    def __init__(self, *signals, repeat=False):
        self.active, self.received = [], []
        # `nohup` has SIGHUP ignored, which stays.
        self._signals = [n for n in signals if signal.getsignal(n) != signal.SIG_IGN]
        self._repeat, self._handed_on = repeat, 0

    def __enter__(self):
        receive = self.received.append
        self._usual = {n: signal.signal(n, lambda n, _: receive(n)) for n in self._signals}
        return self

    def __exit__(self, *_):
        for number, handler in self._usual.items():
            signal.signal(number, handler)
        for child in self.active:  # after an exception
            child.terminate()

    def start(self, training, output=None, **environment):
        """Start and return a process that prints to the terminal or to the end of a file."""
        if output is not None:
            os.makedirs(osp.dirname(output), exist_ok=True)
        with open(output, 'ab') if output is not None else contextlib.nullcontext() as file:
            child = subprocess.Popen(
                training.command(), env={**_ENVIRONMENT, **os.environ, **environment},
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True,
                # Some clusters warn all processes of a job, which ends those that do not expect it.
                preexec_fn=lambda: signal.signal(signal.SIGUSR2, signal.SIG_IGN),
            )  # fmt: skip
        self.active.append(child)
        return child

    def wait(self):
        """Wait until a child has ended; return it."""
        while True:
            if len(self.received) > self._handed_on and (self._repeat or not self._handed_on):
                self._handed_on = len(self.received)
                for child in self.active:
                    child.terminate()
            for child in self.active:
                if child.poll() is not None:
                    self.active.remove(child)
                    return child
            time.sleep(0.2)

    def exit_if_stopped(self):
        """Exit with 128 + signal if there was one."""
        if self.received:
            print(f'Stopped by signal {self.received[0]}. The same command resumes.')
            sys.exit(128 + self.received[0])


def train_with_torchrun(training):
    """Train a run in several processes; exit if a signal stops it or it fails."""
    with Children(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as children:
        children.start(training)
        code = children.wait().returncode
    if code != 0:
        children.exit_if_stopped()
        sys.exit(f'Error: training with {training.n_gpus} processes failed; the reason is above.')


def slots_for(jobs, n_gpus, device=None):
    """Return the environment variables that give each of `jobs` processes its devices."""
    # Processes that only wait for others do without these.
    import torch

    from mmseg.utils.user_error import UserError

    count = torch.cuda.device_count()
    if device == 'cpu' or (device is None and count == 0):
        threads = max(1, torch.get_num_threads() // jobs)
        return [{'OMP_NUM_THREADS': str(threads), 'CUDA_VISIBLE_DEVICES': ''}] * jobs
    if device not in (None, 'cuda') or jobs * n_gpus > count:
        raise UserError(
            f'--jobs {jobs}: a run takes {n_gpus} GPU(s) and torch sees {count} here. Use fewer '
            'jobs, and choose GPUs with CUDA_VISIBLE_DEVICES, not with --device.'
        )
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    gpus = visible.split(',') if visible else [str(number) for number in range(count)]
    starts = range(0, jobs * n_gpus, n_gpus)
    return [{'CUDA_VISIBLE_DEVICES': ','.join(gpus[i : i + n_gpus])} for i in starts]


def run_all(trainings, slots):
    """Train as many runs at a time as there are slots; return what failed, and its output."""
    waiting, free, running, failed = list(trainings), list(slots), {}, []
    with Children(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, repeat=True) as children:
        while running or (waiting and not children.received):
            while waiting and free and not children.received:
                training, slot = waiting.pop(0), free.pop(0)
                gpus = slot['CUDA_VISIBLE_DEVICES']
                where = f'GPU {gpus}' if gpus else 'the CPU'
                print(f'{training.name} starts on {where}; output: {training.output}', flush=True)
                child = children.start(training, training.output, **slot)
                running[child] = training, slot, time.monotonic()
            child = children.wait()
            training, slot, start = running.pop(child)
            free.append(slot)
            outcome = 'finished'
            if child.returncode != 0:
                outcome = 'stopped' if children.received else 'failed'
            if outcome == 'failed':
                failed.append(f'{training.name} ({training.output})')
            took = datetime.timedelta(seconds=round(time.monotonic() - start))
            print(f'{training.name} {outcome} after {took}', flush=True)
    children.exit_if_stopped()
    return failed
