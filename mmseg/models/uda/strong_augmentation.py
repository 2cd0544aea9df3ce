"""Strong augmentation of the mixed images: colour jitter, then Gaussian blur (DACS)."""

import math

import torch
from kornia.augmentation import ColorJiggle
from kornia.filters import gaussian_blur2d

from mmseg.utils.seeding import seeded_globals

BLUR_SIGMA = (0.15, 1.15)
BLUR_THRESHOLD = 0.5


def blur_kernel_size(side):
    """The largest odd size up to about 10 % of an image side (pixels)."""
    tenth = math.ceil(0.1 * side)
    return math.floor(tenth - 0.5 + tenth % 2)


def color_jitter(img, mean, std, strength, seeds):
    """Jitter brightness, contrast, saturation and hue, the amounts drawn per image.

    The jitter is defined on images in [0, 1], so the normalisation is undone and redone.

    Args:
        img (Tensor): (N, 3, H, W), normalised.
        mean, std (Tensor): (3,) of the normalisation, in [0, 255].
        strength (float): Largest amount of each of the four.
        seeds (list[int]): N of them, one per image.

    Returns:
        Tensor: (N, 3, H, W), normalised.
    """
    mean, std = mean.view(1, 3, 1, 1) / 255, std.view(1, 3, 1, 1) / 255
    jitter = ColorJiggle(strength, strength, strength, strength, p=1.0)
    pixels = img * std + mean
    jittered = []
    for one, seed in zip(pixels, seeds, strict=True):
        with seeded_globals(seed):
            jittered.append(jitter(one[None]))
    return (torch.cat(jittered) - mean) / std


def gaussian_blur(img, generators):
    """Blur with a sigma drawn per image; borders are reflected.

    Args:
        img (Tensor): (N, C, H, W).
        generators (list[torch.Generator]): N of them, on the CPU.
    """
    low, high = BLUR_SIGMA
    sigma = torch.stack([low + (high - low) * torch.rand(1, generator=g) for g in generators])
    kernel = tuple(blur_kernel_size(side) for side in img.shape[2:])
    return gaussian_blur2d(img, kernel, sigma.expand(-1, 2).to(img), border_type='reflect')
