"""One optimizer step: gradients of micro-batches, scaling, clipping, checks, and taking it back."""

import dataclasses
import math

import torch
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from mmseg.utils.collective import average_over_ranks, by_type, mean_over_ranks


class NonFiniteError(ArithmeticError):
    """Something is NaN or infinite, and has not changed the weights; ``what`` names it."""

    def __init__(self, what, details):
        super().__init__(f'{what} not finite: {details}')
        self.what, self.details = what, details


_OVERFLOW = 'the gradient is', 'finite; their gradient overflowed'


class Gradients:
    """Adds up the gradients of an iteration and steps the optimizer.

    Gradients of micro-batches are averaged. Each draws as a process of its own would, so that a
    sample's seeds do not depend on their number. A step whose gradients overflow under a scaler
    (float16) is left out.

    Args:
        parts (int): Number of micro-batches; it divides the batch.
        scaler (torch.amp.GradScaler | None): None scales nothing.
        grad_clip (dict | None): ``max_norm`` and ``norm_type`` of torch's ``clip_grad_norm_``.
    """

    def __init__(self, parts=1, scaler=None, grad_clip=None):
        self.parts = parts
        self.scaler = scaler or torch.amp.GradScaler(enabled=False)
        self.grad_clip = grad_clip
        self._scale = 1.0

    def split(self, batch, step):
        """Yield each micro-batch with its place in the run, and whether it is the last one."""
        for i in range(self.parts):
            part = {}
            for key, values in batch.items():
                size = len(values) // self.parts
                part[key] = values[i * size : (i + 1) * size]
            part_step = dataclasses.replace(step, rank=step.rank * self.parts + i)
            yield part, part_step, i == self.parts - 1

    def add(self, loss):
        """Add the gradients of a micro-batch's loss, a scalar."""
        self.scaler.scale(loss / self.parts).backward()

    def step(self, optimizer, logged, beside=()):
        """Check losses and gradients, clip, and let the optimizer make its step.

        Everything that has to be known on the CPU comes there in one reading, and before that from
        all ranks in one message. ``logged`` are the scalars to log of each micro-batch; returns
        their means over micro-batches and ranks, and a finite ``grad_norm``. The optimizers
        ``beside`` step later (see :meth:`step_beside`); what they will use is checked here.

        Raises:
            NonFiniteError: A loss or the gradient is not finite.
        """
        if self.scaler.is_enabled():
            self.scaler.unscale_(optimizer)
        values = [value for part in logged for value in part.values()]
        count = len(values)
        values += [*self._clip(optimizer), *(get_total_norm(_gradients(each)) for each in beside)]
        values = mean_over_ranks(torch.stack(values).double()).tolist()
        values, (norm, size, *others) = values[:count], values[count:]
        names = list(logged[0])
        log_vars = {
            name: sum(values[i :: len(names)]) / len(logged) for i, name in enumerate(names)
        }
        _check_losses(log_vars)
        if math.isfinite(size):
            log_vars['grad_norm'] = norm
        elif not self.scaler.is_enabled() or self.scaler.get_scale() <= 1:
            raise NonFiniteError(*_OVERFLOW)
        if not all(map(math.isfinite, others)):
            raise NonFiniteError(*_OVERFLOW)
        self._scale = self.scaler.get_scale()
        self.scaler.step(optimizer)
        self.scaler.update()
        return log_vars

    def step_beside(self, optimizer):
        """After :meth:`step`, let the optimizer of another network step, without clipping.

        DistributedDataParallel does not know the network: its gradients are averaged here.
        """
        gradients = _gradients(optimizer)
        torch._foreach_div_(gradients, self._scale)
        average_over_ranks(gradients)
        optimizer.step()

    def _clip(self, optimizer):
        """Clip the gradients, if asked to; return their norm before that, and their L2 norm."""
        weights = [weight for group in optimizer.param_groups for weight in group['params']]
        clip, gradients = self.grad_clip or {}, _gradients(optimizer)
        norm = get_total_norm(gradients, clip.get('norm_type', 2.0))
        size = get_total_norm(gradients)  # AdamW squares them, so their squares have to be finite
        if clip:
            clip_grads_with_norm_(weights, clip['max_norm'], norm)
        return norm, size


def _gradients(optimizer):
    weights = [weight for group in optimizer.param_groups for weight in group['params']]
    return [weight.grad for weight in weights if weight.grad is not None]


def total_loss(losses):
    """Return the sum of the losses that a segmentor returns, and each entry as a detached scalar.

    As in MMSegmentation, entries without ``loss`` in their name are not summed.
    """
    means = {}
    for name, value in losses.items():
        values = value if isinstance(value, list | tuple) else [value]
        means[name] = sum(each.mean() for each in values)
    total = sum(value for name, value in means.items() if 'loss' in name)
    return total, {name: value.detach() for name, value in means.items()}


def _check_losses(log_vars):
    """Check the losses among what is logged; ``loss`` itself is the sum of the others."""
    names = [name for name in log_vars if 'loss' in name and '.grad.' not in name]
    terms = {name: log_vars[name] for name in names if name != 'loss'}
    broken = [name for name, value in terms.items() if not math.isfinite(value)]
    if broken:
        details = ', '.join(f'{name} {value:.6g}' for name, value in terms.items())
        raise NonFiniteError(f'{", ".join(broken)} is', details)


class Snapshot:
    """Takes and restores the values of tensors, which are changed in place."""

    def __init__(self, tensors):
        self._pairs = [(alike, [t.clone() for t in alike]) for alike in by_type(tensors)]

    @torch.no_grad()
    def take(self):
        """Copy the values."""
        for tensors, copies in self._pairs:
            torch._foreach_copy_(copies, tensors)

    @torch.no_grad()
    def restore(self):
        """Give the tensors the values that were taken last."""
        for tensors, copies in self._pairs:
            torch._foreach_copy_(tensors, copies)
