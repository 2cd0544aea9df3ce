"""Copies of tensors, for taking an iteration back."""

import torch


class Snapshot:
    """Takes and restores the values of tensors.

    Args:
        tensors (Iterable[Tensor]): Changed in place between the two.
    """

    def __init__(self, tensors):
        by_type = {}  # tensors of one type are copied in one call
        for tensor in tensors:
            by_type.setdefault(tensor.dtype, []).append(tensor)
        self._pairs = [(alike, [t.clone() for t in alike]) for alike in by_type.values()]

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
