"""What all processes of a run share: sums, means and classes; of one process alone its own."""

import torch
import torch.distributed as dist
from mmcv.runner import get_dist_info


def sum_over_ranks(value):
    """Return the sum of a tensor over all ranks, detached; all of them must call this."""
    value = value.detach()
    if get_dist_info()[1] == 1:
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value


def mean_over_ranks(value):
    """The mean of a float tensor over all ranks; as :func:`sum_over_ranks`."""
    return sum_over_ranks(value) / get_dist_info()[1]


def present_in_any_rank(label):
    """Mark the values, from 0 to 255, in the labels of all ranks: (256,) bool."""
    present = torch.zeros(256, dtype=torch.int64, device=label.device)
    return sum_over_ranks(present.scatter_(0, label.flatten(), 1)) > 0


def by_type(tensors):
    """Group tensors by their type: those of one group can be handled in one call."""
    groups = {}
    for tensor in tensors:
        groups.setdefault(tensor.dtype, []).append(tensor)
    return groups.values()


def copy_from_rank_0(tensors):
    """Give tensors the values that they have on rank 0, in one message for each type."""
    _exchange(tensors, lambda flat: dist.broadcast(flat, src=0))


def average_over_ranks(tensors):
    """Give float tensors their means over all ranks, in one message for each type."""
    _exchange(tensors, lambda flat: flat.copy_(mean_over_ranks(flat)))


@torch.no_grad()
def _exchange(tensors, change):
    """Change tensors in place, those of a type as one vector; a process alone changes nothing."""
    if get_dist_info()[1] == 1:
        return
    for alike in by_type(tensors):
        flat = torch.cat([tensor.flatten() for tensor in alike])
        change(flat)
        parts = flat.split([tensor.numel() for tensor in alike])
        for tensor, part in zip(alike, parts, strict=True):
            tensor.copy_(part.view_as(tensor))


def signal_of_any(number):
    """Return the largest of the ranks' signal numbers; None where no rank has got one."""
    if get_dist_info()[1] == 1:
        return number
    # On the CPU, where also runs on GPUs have a connection: no GPU is waited for.
    largest = torch.tensor(number or 0)
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return int(largest) or None


def gather_over_ranks(value):
    """The picklable values of all ranks, in their order, on each of them."""
    world_size = get_dist_info()[1]
    if world_size == 1:
        return [value]
    values = [None] * world_size
    dist.all_gather_object(values, value)
    return values
