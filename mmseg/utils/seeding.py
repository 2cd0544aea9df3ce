"""Randomness as a function of (seed, where we are), so that nothing has to be replayed on resume.

Every draw names its stream and its place (sample number, iteration, image): the number of data
workers does not matter, and a resumed run draws what the uninterrupted one would have drawn.
"""

import contextlib
import random
import zlib
from dataclasses import dataclass, field

import numpy as np
import torch


def seed_for(seed, stream, *place):
    """A 63-bit seed for one draw of a run.

    Args:
        seed (int): The run's seed.
        stream (str): What is drawn, e.g. ``'class_mix'``; different streams are independent.
        *place (int): Where, e.g. the iteration and the image's index in the global batch.
    """
    entropy = (seed, zlib.crc32(stream.encode()), *place)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


def numpy_generator(seed, stream, *place):
    """A numpy ``Generator`` for one draw; arguments as in :func:`seed_for`."""
    return np.random.default_rng(seed_for(seed, stream, *place))


@contextlib.contextmanager
def seeded_globals(seed):
    """Seed the global generators of ``random``, numpy and torch (CPU) inside, restore them after.

    For code of other libraries that draws from them: MMSegmentation's transforms, kornia.
    """
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    # Not torch.manual_seed: that would reseed the GPUs as well, which are not restored here.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


@dataclass(frozen=True)
class Step:
    """One training iteration on one rank.

    Attributes:
        seed: The run's seed.
        iteration: From 0, counted over resumes.
        rank: This process, or the micro-batch of a process, among all.
        work_dir: Where images go; None writes none.
        max_iters: Iterations of the run, for a method that has a schedule of its own.
        pictures: What :meth:`show` was given; None where nothing is drawn in this iteration.
    """

    seed: int
    iteration: int
    rank: int = 0
    work_dir: str | None = None
    max_iters: int | None = None
    pictures: dict | None = field(default=None, compare=False)

    def show(self, row, pictures):
        """Add to a row of the debug images, where there are some in this iteration.

        Args:
            row (str): E.g. ``'mixed'``.
            pictures (dict): By title, each a function that gives it or a tensor (N, C, H, W):
                int64 is a label, three channels are a normalised image, one is grey from 0 to 1.
        """
        if self.pictures is None:
            return
        shown = self.pictures.setdefault(row, {})
        for title, tensor in pictures.items():
            tensor = tensor() if callable(tensor) else tensor
            if tensor is not None:
                shown[title] = tensor.detach()

    def image_seeds(self, stream, batch_size):
        """A seed per image of this rank's batch, from the image's index in the global batch."""
        first = self.rank * batch_size
        return [seed_for(self.seed, stream, self.iteration, first + i) for i in range(batch_size)]

    def image_generators(self, stream, batch_size):
        """A CPU generator per image; as :meth:`image_seeds`."""
        seeds = self.image_seeds(stream, batch_size)
        return [torch.Generator().manual_seed(seed) for seed in seeds]

    def shared_generator(self, stream):
        """A generator for what is drawn once per iteration, the same on all ranks."""
        return torch.Generator().manual_seed(seed_for(self.seed, stream, self.iteration))
