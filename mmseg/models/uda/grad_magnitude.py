"""How strongly each loss pulls at the network: for finding out which term dominates."""

import torch

from mmseg.utils.collective import mean_over_ranks


def grad_magnitudes(losses, network, part):
    """The L2 norm of the gradient of each loss over all parameters of a network.

    Args:
        losses (dict[str, Tensor]): Scalars; entries without ``loss`` in their name are skipped.
        network (nn.Module): Its trainable parameters count.
        part (str): First part of the logged names.

    Returns:
        dict[str, float]: ``{part}.grad.{loss name}`` to the norm, of several ranks their mean.
    """
    parameters = [p for p in network.parameters() if p.requires_grad]
    norms = {}
    for name, loss in losses.items():
        if 'loss' not in name:
            continue
        grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        squares = [grad.double().square().sum() for grad in grads if grad is not None]
        norms[f'{part}.grad.{name}'] = float(mean_over_ranks(torch.stack(squares).sum().sqrt()))
    return norms
