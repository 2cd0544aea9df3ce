"""Losses and gradients that are not finite: noticed before they reach the weights."""

import math

import torch

# What and details of a NonFiniteError.
OVERFLOW = 'the gradient is', 'finite; their gradient overflowed'


class NonFiniteError(ArithmeticError):
    """Something is NaN or infinite, and the weights do not know yet.

    Args:
        what (str): Names it, and goes before "not finite".
        details (str): One line for the log.
    """

    def __init__(self, what, details):
        super().__init__(f'{what} not finite: {details}')
        self.what, self.details = what, details


def check_losses(log_vars):
    """Check the losses of an iteration; the log needs them on the CPU anyway.

    Args:
        log_vars (dict[str, float]): What is logged; entries without ``loss`` in their name are
            skipped, such as accuracies.

    Raises:
        NonFiniteError: If one is NaN or infinite.
    """
    # MMSegmentation's own 'loss' is the sum of the others.
    terms = {k: value for k, value in log_vars.items() if 'loss' in k and k != 'loss'}
    broken = [name for name, value in terms.items() if not math.isfinite(value)]
    if broken:
        details = ', '.join(f'{name} {value:.6g}' for name, value in terms.items())
        raise NonFiniteError(f'{", ".join(broken)} is', details)


@torch.no_grad()
def check_gradients(optimizer, *_):
    """Check the gradients just before an optimizer's step; for its ``register_step_pre_hook``.

    A training that diverges has gradients that overflow before its losses do: one look at the
    losses of the next iteration is too late to save whole weights. The price is one reading of the
    gradients, and that the CPU waits for the GPU once more per iteration, which DACS makes it do
    for its losses and for the classes of the batch as well.

    Raises:
        NonFiniteError: If one is NaN or infinite, or so large that its square is: AdamW squares it.
    """
    # Under a GradScaler an infinite gradient is no accident. It does not call `step` then, except
    # of fused optimizers, which look at this themselves.
    if getattr(optimizer, 'found_inf', None):
        return
    gradients = [
        weight.grad
        for group in optimizer.param_groups
        for weight in group['params']
        if weight.grad is not None
    ]
    if not torch.stack(torch._foreach_norm(gradients)).isfinite().all():
        raise NonFiniteError(*OVERFLOW)
