"""N runs at a time on one machine, each in a process on devices of its own.

A plain pool of processes, not submitit's local executor: that one kills a run a second after a
Ctrl-C, which is less than many an iteration takes.
"""

import contextlib
import datetime
import signal
import sys
import time
from dataclasses import dataclass

from tools.sweeps.notes import leave_note, remove_note
from tools.sweeps.sweep_files import last_line

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class Slot:
    """Devices for one run.

    Args:
        name: for people.
        environment: the variables that give a process these devices.
    """

    name: str
    environment: dict


def train_side_by_side(trainings, group, slots):
    """Train as many runs at a time as there are slots; returns the names of those that failed.

    Exits with 128 + signal if a signal stops it.
    """
    pool = Pool(group, slots)
    pool.run(trainings)
    if pool.stopped_by is not None:
        print(f'Stopped by signal {pool.stopped_by}. The same command goes on from here.')
        sys.exit(128 + pool.stopped_by)
    return pool.failed


class Pool:
    """Trains runs, at most one on each slot, and says on the terminal when one starts or ends.

    Args:
        group: ``{machine}-{experiment}``.
        slots: list of `Slot`.

    Attributes:
        failed: names of the runs that did not reach their end.
        stopped_by: the signal that stopped the pool; None if there was none.
    """

    def __init__(self, group, slots):
        self.group = group
        self.free = list(slots)
        self.active = []  # (training, slot, process, start)
        self.failed = []
        self.stopped_by = None

    def run(self, trainings):
        """Train all of them, or those that have started when a signal comes."""
        waiting = list(trainings)
        with self._handling_signals():
            while self.active or (waiting and self.stopped_by is None):
                while waiting and self.free and self.stopped_by is None:
                    self._start(waiting.pop(0))
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                for entry in [entry for entry in self.active if entry[2].poll() is not None]:
                    self._end(*entry)

    def _start(self, training):
        remove_note(self.group, training.name)
        slot = self.free.pop(0)
        print(f'{training.name} starts on {slot.name}; output: {training.output}', flush=True)
        process = training.start(slot.environment)
        self.active.append((training, slot, process, time.monotonic()))
        if self.stopped_by is not None:  # between the look at it and the start
            process.terminate()

    def _end(self, training, slot, process, start):
        self.active.remove((training, slot, process, start))
        self.free.append(slot)
        took = datetime.timedelta(seconds=round(time.monotonic() - start))
        if process.returncode == 0:
            print(f'{training.name} finished after {took}', flush=True)
            return
        if self.stopped_by is not None:
            print(f'{training.name} stopped after {took}', flush=True)
            return
        reason = last_line(training.output) or f'exit code {process.returncode}'
        print(f'{training.name} failed after {took}: {reason}', flush=True)
        leave_note(self.group, training.name, {'failed': reason})
        self.failed.append(training.name)

    @contextlib.contextmanager
    def _handling_signals(self):
        # `nohup` lets SIGHUP be ignored, and so it stays.
        heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        usual = {number: signal.signal(number, self._stop) for number in heard}
        try:
            yield
        finally:
            for number, handler in usual.items():
                signal.signal(number, handler)

    def _stop(self, number, _frame):
        """Hand a signal on; a second one ends the runs at once, as it does without a pool."""
        self.stopped_by = self.stopped_by or number
        for _, _, process, _ in self.active:
            process.terminate()
