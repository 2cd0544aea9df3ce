"""Gradient norm of each loss: for finding out which term dominates."""

import torch


def grad_magnitudes(losses, network, term):
    """Compute the L2 norm of each loss's gradient over the trainable parameters of a network.

    Args:
        losses (dict[str, Tensor]): Scalars; entries without ``loss`` in their name are skipped.
        network (nn.Module): The student.
        term (str): First part of the logged names.

    Returns:
        dict[str, Tensor]: ``{term}.grad.{loss name}`` to a scalar.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    norms = {}
    for name, loss in losses.items():
        if 'loss' in name:
            grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            squares = [grad.double().square().sum() for grad in grads if grad is not None]
            norms[f'{term}.grad.{name}'] = torch.stack(squares).sum().sqrt()
    return norms
