"""Timing of several ways to do the same, in turn."""

import statistics
import time

import torch


def seconds(work, device):
    """Return the wall time of one call, in seconds."""
    wait = torch.cuda.synchronize if device.type == 'cuda' else lambda: None
    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began


def take_turns(timers, rounds):
    """Call functions that return seconds in turn; the first call of each does not count.

    Returns:
        dict: ``median_s``, ``min_s`` and ``max_s`` per name; and ``times_faster``, the median of
        the second's time divided by the first's within a round.
    """
    measured = [{name: timer() for name, timer in timers.items()} for _ in range(rounds + 1)][1:]
    found = {}
    for name in timers:
        times = [one[name] for one in measured]
        found[name] = dict(median_s=statistics.median(times), min_s=min(times), max_s=max(times))
    ours, other = list(timers)[:2]
    found['times_faster'] = statistics.median(one[other] / one[ours] for one in measured)
    return found
