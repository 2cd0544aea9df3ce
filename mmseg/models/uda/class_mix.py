"""ClassMix: paste the pixels of half of the source classes onto the target image (DACS)."""

import torch

from mmseg.utils.collective import present_in_any_rank


def draw_class_masks(label, generators, max_classes):
    """Draw half of the classes (rounded up) per image, without replacement, and mark their pixels.

    It is drawn from the classes in the labels of all ranks; ignored pixels are a class, too.

    Args:
        label (Tensor): (N, 1, H, W) int64, values from 0 to 255.
        generators (list[torch.Generator]): On the CPU; one per image.
        max_classes (int): The largest number of different values.
    """
    present = present_in_any_rank(label)
    # How many classes there are is known on the device alone, and to ask for it would mean to wait.
    # So for each image the draw is made for every number that there may be.
    number = present.sum()[None]
    position = (present.cumsum(0) - 1).clamp(0, max_classes - 1)
    masks = []
    for one, generator in zip(label, generators, strict=True):
        drawn = _draws(max_classes, generator).to(label.device)[number][0]
        masks.append((present & drawn[position])[one])
    return torch.stack(masks)


def _draws(most, generator):
    """Draw half of n things for n from 0 to ``most``: (most + 1, most) bool, marked in row n."""
    drawn = torch.zeros(most + 1, most, dtype=torch.bool)
    state = generator.get_state()
    for n in range(1, most + 1):
        generator.set_state(state)
        drawn[n, torch.randperm(n, generator=generator)[: (n + 1) // 2]] = True
    return drawn
