"""Stopping on a signal after the iteration that is under way."""

import signal

SIGNALS = (signal.SIGTERM, signal.SIGINT)


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

    def __enter__(self):
        self._usual = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_):
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def _note(self, number, _frame):
        self.signal = number
        for each in SIGNALS if self._again else ():
            signal.signal(each, self._usual[each])
