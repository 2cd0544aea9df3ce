"""Starts the processes of a run on this machine with torchrun, and hands on signals to them."""

import signal
import subprocess
import sys

from mmseg.engine.stop import SIGNALS
from tools import train
from tools.torchrun import torchrun, torchrun_environment


def train_on(count, arguments):
    """Run ``tools/train.py ARGUMENTS`` in several processes; returns when the training has ended.

    A signal stops the run as it does in one process: torchrun hands it on, and kills what has not
    ended after ``STOP_SECONDS``.

    Args:
        count (int): Of processes.
        arguments (list[str]): Of tools/train.py.

    Raises:
        SystemExit: With 128 + signal if one stopped it, with a message if it failed.
    """
    # A session of its own: a Ctrl-C goes to all processes of a terminal's, and would come twice.
    launcher = subprocess.Popen(
        [*torchrun(count), train.__file__, *arguments],
        env=torchrun_environment(),
        start_new_session=True,
    )
    received = []

    def hand_on(number, _frame):
        if not received:
            received.append(number)
            launcher.send_signal(number)

    usual = {number: signal.signal(number, hand_on) for number in SIGNALS}
    try:
        code = launcher.wait()
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
    if code == 0:
        return
    if received:
        print(f'Stopped by signal {received[0]}. The same command goes on from here.')
        sys.exit(128 + received[0])
    sys.exit(f'Error: training with {count} processes failed; the reason is above.')
