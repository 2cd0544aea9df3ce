"""Stopping on a signal: at once where the run waits for data or evaluates, else after the step."""

import signal

from mmseg.datasets.dataloader import kill_workers

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Interrupted(KeyboardInterrupt):
    """Ends what :meth:`StopRequest.interrupt` calls; no handler of mere errors catches it."""


class StopRequest:
    """While active, a first SIGTERM or SIGINT is noted; a second one acts as usual.

    Args:
        again (bool): A second one acts. Not below a launcher, which may hand on one that all
            processes have got already, and kills what does not end.

    Attributes:
        signal (int | None): The signal that asked for the stop.
    """

    def __init__(self, again=True):
        self.signal = None
        self._again = again
        self._usual = {}
        self._interrupts = False

    def __enter__(self):
        self._usual = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_):
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def interrupt(self, function, *args):
        """Return what a function returns that may wait long, or None once there is a signal.

        Then the data workers are killed: of those that hang each would hold up the end.
        """
        try:
            try:
                self._interrupts = True
                if self.signal is None:
                    return function(*args)
            finally:
                self._interrupts = False
        except _Interrupted:
            pass
        kill_workers()
        return None

    def _note(self, number, _frame):
        self.signal = number
        for each in SIGNALS if self._again else ():
            signal.signal(each, self._usual[each])
        if self._interrupts:
            self._interrupts = False
            raise _Interrupted
