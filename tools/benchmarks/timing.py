"""Timing of several candidates in turn, in seconds and in multiples of one matrix product.

The speed of a virtual machine varies by half from one moment to the next. So the candidates take
turns, a matrix product of known size between them, and what counts is the ratio within a round.
"""

import statistics
import time
from dataclasses import dataclass, field
from functools import partial

import torch

MATMUL_SIDE = 2048
MATMUL_FLOPS = 2 * MATMUL_SIDE**3


@dataclass
class Timing:
    """How long one candidate took in each round.

    Attributes:
        seconds: wall time, one entry per round.
        matmul: seconds of one 2048³ float32 matrix product, measured just before and just after.
    """

    seconds: list = field(default_factory=list)
    matmul: list = field(default_factory=list)

    @property
    def median(self):
        return statistics.median(self.seconds)

    @property
    def units(self):
        """Median time in multiples of the matrix product of the same round."""
        return statistics.median(s / m for s, m in zip(self.seconds, self.matmul, strict=True))

    def as_dict(self):
        """Plain values for JSON; `spread` is (largest - smallest) / median."""
        return {
            'median_s': self.median,
            'min_s': min(self.seconds),
            'max_s': max(self.seconds),
            'spread': (max(self.seconds) - min(self.seconds)) / self.median,
            'matmul_units': self.units,
            'rounds': len(self.seconds),
        }


def times_faster(timing, reference):
    """How many times faster a candidate is than another: the median of the rounds' ratios."""
    return statistics.median(
        theirs / ours for ours, theirs in zip(timing.seconds, reference.seconds, strict=True)
    )


class Clock:
    """Measures on one device.

    Args:
        device (torch.device): a GPU is waited for before and after each measurement.
    """

    def __init__(self, device):
        self.device = device
        self._factor = torch.rand(MATMUL_SIDE, MATMUL_SIDE, device=device)

    def seconds(self, work):
        """Wall time of one call of `work`."""
        self._wait()
        began = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - began

    def matmul(self, repeats=3):
        """Seconds of one matrix product, the median of some."""
        return statistics.median(
            self.seconds(lambda: self._factor @ self._factor) for _ in range(repeats)
        )

    def take_turns(self, candidates, rounds, warmups=1):
        """Time candidates in turn.

        Args:
            candidates (dict[str, Callable]): called without arguments.
            rounds (int): measurements of each.
            warmups (int): calls of each that do not count.

        Returns:
            dict[str, Timing]: for each name.
        """
        timers = {name: partial(self.seconds, work) for name, work in candidates.items()}
        return self.take_timed_turns(timers, rounds, warmups)

    def take_timed_turns(self, timers, rounds, warmups=1):
        """As `take_turns`, for candidates that return how many seconds they took."""
        for timer in list(timers.values()) * warmups:
            timer()
        timings = {name: Timing() for name in timers}
        before = self.matmul()
        for _ in range(rounds):
            for name, timer in timers.items():
                timings[name].seconds.append(timer())
                after = self.matmul()
                timings[name].matmul.append((before + after) / 2)
                before = after
        return timings

    def _wait(self):
        if self.device.type == 'cuda':
            torch.cuda.synchronize(self.device)
