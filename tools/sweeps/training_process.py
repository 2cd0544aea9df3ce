"""One run in a process of its own: the same for a machine's pool and for a cluster's job."""

import os
import os.path as osp
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tools.torchrun import torchrun, torchrun_environment

TRAIN = Path(__file__).resolve().parents[1] / 'train.py'


@dataclass(frozen=True)
class Training:
    """What it takes to train a run that has a generated config.

    Args:
        name: the run's.
        config: path of its config.
        work_dir: its folder.
        output: file to which what it prints is appended.
        n_gpus: how many processes train it, each on a GPU of its own.
        device: as `--device`; None lets the run choose.
    """

    name: str
    config: str
    work_dir: str
    output: str
    n_gpus: int = 1
    device: str | None = None

    def command(self):
        """Returns the command line: through torch's launcher where several processes train."""
        start = torchrun(self.n_gpus) if self.n_gpus > 1 else [sys.executable]
        device = [] if self.device is None else ['--device', self.device]
        return [*start, str(TRAIN), self.config, '--work-dir', self.work_dir, *device]

    def start(self, environment=None):
        """Start training.

        The process hears nothing from the terminal: whoever started it hands on a stop, once, as
        a SIGTERM; a second one would end the run in the middle of an iteration.

        Args:
            environment: variables to set in it.

        Returns:
            subprocess.Popen
        """
        os.makedirs(osp.dirname(self.output), exist_ok=True)
        with open(self.output, 'ab') as output:
            return subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env={**torchrun_environment(), 'PYTHONUNBUFFERED': '1', **(environment or {})},
                start_new_session=True, preexec_fn=_ignore_warning,
            )  # fmt: skip


def _ignore_warning():
    # Some clusters send it to all processes of a job, and it ends those that do not expect it.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
