"""Numbers that are not finite: losses before they reach the weights, weights before a file."""

import math

import torch

from mmseg.utils.user_error import UserError


class NonFiniteLossError(ArithmeticError):
    """A loss is NaN or infinite; nothing has been learnt from it yet.

    Args:
        terms (dict[str, float]): All losses of the iteration that are known so far.
    """

    def __init__(self, terms):
        super().__init__(', '.join(f'{name} {value:.6g}' for name, value in terms.items()))
        self.terms = terms


def check_losses(log_vars):
    """Check the losses of an iteration, before the optimizer steps.

    The log needs them on the CPU anyway, so this costs nothing. Gradients are not looked at, for
    which the CPU would have to wait for the GPU once more in every iteration: those that overflow
    while their losses are finite are noticed an iteration later, or by :func:`check_weights`.

    Args:
        log_vars (dict[str, float]): What is logged; entries without ``loss`` in their name are
            skipped, such as accuracies.

    Raises:
        NonFiniteLossError: If one is NaN or infinite.
    """
    terms = {name: value for name, value in log_vars.items() if 'loss' in name}
    if not all(math.isfinite(value) for value in terms.values()):
        raise NonFiniteLossError(terms)


@torch.no_grad()
def check_weights(model, iteration):
    """Check a model before it is saved, so that broken weights never replace whole ones.

    Args:
        model (nn.Module): Its parameters and buffers count.
        iteration (int): After which it is saved.

    Raises:
        UserError: If a value is NaN or infinite.
    """
    tensors = [value for value in model.state_dict().values() if value.is_floating_point()]
    if not torch.stack(torch._foreach_norm(tensors)).isfinite().all():
        raise UserError(
            f'after iteration {iteration} the weights are not finite, though the losses were: a '
            'gradient overflowed. They are not saved; the same command goes on from the newest '
            'state before. Train with a lower optimizer.lr.'
        )
