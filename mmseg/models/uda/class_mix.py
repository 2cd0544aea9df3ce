"""ClassMix: paste the pixels of half of the source classes onto the target image (DACS)."""

import torch

from mmseg.utils.collective import classes_over_ranks


def draw_class_mask(label, classes, generator):
    """Draw half of the classes (rounded up) without replacement and mark their pixels.

    Args:
        label (Tensor): (1, H, W) int64, one source label.
        classes (Tensor): (n,) the classes present in the source labels of all ranks; ignore is one.
        generator (torch.Generator): On the CPU; one per image.

    Returns:
        Tensor: (1, H, W) bool.
    """
    count = (len(classes) + 1) // 2
    chosen = torch.randperm(len(classes), generator=generator)[:count]
    return torch.isin(label, classes[chosen.to(classes.device)])


def draw_class_masks(label, generators):
    """One mask per image of this rank's batch; see :func:`draw_class_mask`.

    Args:
        label (Tensor): (N, 1, H, W) int64.
        generators (list[torch.Generator]): N of them.

    Returns:
        Tensor: (N, 1, H, W) bool.
    """
    classes = classes_over_ranks(label)
    return torch.stack(
        [draw_class_mask(one, classes, gen) for one, gen in zip(label, generators, strict=True)]
    )
