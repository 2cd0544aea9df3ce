"""The gradients of one optimizer step: of a batch in parts, of float16 losses, and clipped."""

import contextlib
import dataclasses
import math

import torch
from torch.nn.utils import clip_grad_norm_

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

    Gradients are clipped by their norm over all trained weights, as they are when the optimizer
    gets them: summed over micro-batches, averaged over ranks and unscaled.

    Args:
        parts (int): Number of micro-batches; it divides the batch.
        scaler (torch.amp.GradScaler | None): None scales nothing.
        grad_clip (dict | None): ``max_norm`` and ``norm_type`` of torch's ``clip_grad_norm_``; None
            clips nothing.

    Attributes:
        no_sync (callable): Gives a context for the forward and backward passes before the last one.
    """

    def __init__(self, parts=1, scaler=None, grad_clip=None):
        self.parts = parts
        self.scaler = scaler or torch.amp.GradScaler(enabled=False)
        self.grad_clip = grad_clip
        self.no_sync = contextlib.nullcontext

    @property
    def are_special(self):
        """Whether one backward pass of the whole batch does not do."""
        return self.parts > 1 or self.scaler.is_enabled() or self.grad_clip is not None

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
        """Clip the gradients, if asked to, and let the optimizer make its step.

        Returns:
            dict[str, float]: ``grad_norm``, the norm before clipping, to be logged. Empty without
            clipping, and where the gradients overflow under a scaler, which leaves the step out.

        Raises:
            NonFiniteError: The gradients are not finite, or overflow however small the factor is.
        """
        log_vars = self._clip(optimizer) if self.grad_clip is not None else {}
        self.scaler.step(optimizer)
        self.scaler.update()
        if self.scaler.is_enabled() and self.scaler.get_scale() < 1:
            raise NonFiniteError(*OVERFLOW)
        return log_vars

    def _clip(self, optimizer):
        self.scaler.unscale_(optimizer)
        weights = [weight for group in optimizer.param_groups for weight in group['params']]
        norm = clip_grad_norm_(weights, **self.grad_clip).item()
        if math.isfinite(norm):
            return {'grad_norm': norm}
        if not self.scaler.is_enabled():
            # Finite gradients whose norm overflows are zeros now: the optimizer would not notice.
            raise NonFiniteError(*OVERFLOW)
        return {}


def mean_of(log_vars):
    """The means of what the parts of a batch log: a list of dicts of floats, as one dict."""
    return {name: sum(each[name] for each in log_vars) / len(log_vars) for name in log_vars[0]}
