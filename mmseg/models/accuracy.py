"""Pixel accuracy that does not wait for the GPU: MMSegmentation's counts by boolean indexing."""

import torch

from mmseg.models.decode_heads import decode_head


def accuracy(pred, target, ignore_index=None):
    """Compute the percentage of pixels whose class is right; 100 where no pixel is counted."""
    counted = torch.ones_like(target) if ignore_index is None else (target != ignore_index).long()
    right = (pred.argmax(dim=1) == target) * counted
    eps = torch.finfo(torch.float32).eps
    return 100 * ((right.sum() + eps) / (counted.sum() + eps))


decode_head.accuracy = accuracy
