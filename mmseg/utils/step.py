"""Where a training run is: what a method needs to know of the iteration that it carries out."""

from dataclasses import dataclass

import torch

from mmseg.utils.seeding import seed_for, torch_generator


@dataclass(frozen=True)
class Step:
    """One training iteration on one rank.

    Attributes:
        seed: The run's seed.
        iteration: From 0, counted over resumes.
        rank, world_size: This process among all.
        work_dir: Where pictures go; None writes none.
    """

    seed: int
    iteration: int
    rank: int = 0
    world_size: int = 1
    work_dir: str | None = None

    def image_seeds(self, stream, batch_size):
        """A seed per image of this rank's batch, from the image's index in the global batch."""
        first = self.rank * batch_size
        return [seed_for(self.seed, stream, self.iteration, first + i) for i in range(batch_size)]

    def image_generators(self, stream, batch_size):
        """A CPU generator per image; as :meth:`image_seeds`."""
        return [
            torch.Generator().manual_seed(seed) for seed in self.image_seeds(stream, batch_size)
        ]

    def shared_generator(self, stream):
        """A generator for what is drawn once per iteration, the same on all ranks."""
        return torch_generator(self.seed, stream, self.iteration)
