"""The gradients of one optimizer step: of a batch in parts, and of float16 losses scaled up."""

import contextlib
import dataclasses

import torch

from mmseg.utils.finite import OVERFLOW, NonFiniteError


class Gradients:
    """Adds up the gradients of an iteration and steps the optimizer. By default nothing special.

    In parts, images go through the networks in micro-batches, whose gradients are averaged: the
    gradient of the whole batch for losses that are means over images, in the memory of one part.
    What belongs to a batch is of a part then: BatchNorm's statistics, the classes that ClassMix
    draws from and the share of trusted pseudo-labels. Each part draws as a process of its own
    would, so that a sample's seeds do not depend on the number of parts.

    float16 has no numbers below 6e-8, where gradients are: losses are multiplied before the
    backward pass and gradients divided after it (Micikevicius et al., ICLR 2018). A step whose
    gradients overflow is left out and the factor halved, as ``torch.amp.GradScaler`` does.

    Of several ranks the last backward pass of an iteration averages the gradients.

    Args:
        parts (int): Number of micro-batches; it divides the batch.
        scaler (torch.amp.GradScaler | None): None scales nothing.

    Attributes:
        no_sync (callable): Gives a context for the forward and backward passes before the last one.
    """

    def __init__(self, parts=1, scaler=None):
        self.parts = parts
        self.scaler = scaler or torch.amp.GradScaler(enabled=False)
        self.no_sync = contextlib.nullcontext

    @property
    def are_special(self):
        """Whether one backward pass of the whole batch does not do."""
        return self.parts > 1 or self.scaler.is_enabled()

    def split(self, batch, step):
        """Yield each part of a batch with its place in the run.

        Args:
            batch (dict): Tensors and lists over images.
            step (Step): Of the whole batch.

        Yields:
            tuple[dict, Step]: Parts are like processes: they share what is drawn per iteration.
        """
        for i in range(self.parts):
            part = {}
            for key, values in batch.items():
                size = len(values) // self.parts
                part[key] = values[i * size : (i + 1) * size]
            rank, world_size = step.rank * self.parts + i, step.world_size * self.parts
            is_last = i == self.parts - 1
            with contextlib.nullcontext() if is_last else self.no_sync():
                yield part, dataclasses.replace(step, rank=rank, world_size=world_size)

    def add(self, loss):
        """Add the gradients of a part's loss, a scalar."""
        self.scaler.scale(loss / self.parts).backward()

    def step(self, optimizer):
        """Let the optimizer make its step.

        Raises:
            NonFiniteError: The gradients are not finite, or overflow however small the factor is.
        """
        self.scaler.step(optimizer)
        self.scaler.update()
        if self.scaler.is_enabled() and self.scaler.get_scale() < 1:
            raise NonFiniteError(*OVERFLOW)


def mean_of(log_vars):
    """The means of what the parts of a batch log: a list of dicts of floats, as one dict."""
    return {name: sum(each[name] for each in log_vars) / len(log_vars) for name in log_vars[0]}
