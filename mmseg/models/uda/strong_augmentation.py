"""Strong augmentation of the mixed images: colour jitter, then Gaussian blur (DACS)."""

import math

import numpy as np
import torch
from kornia.augmentation import ColorJiggle
from kornia.filters import gaussian_blur2d

from mmseg.utils.seeding import seeded_globals

BLUR_SIGMA = (0.15, 1.15)
BLUR_THRESHOLD = 0.5


class StrongAugmentation:
    """Jitters and blurs images; whether is drawn once per iteration, how much per image.

    The jitter acts where u > ``probability``, u ~ U(0, 1); ``blur`` acts on half of the batches.
    """

    def __init__(self, blur, strength, probability):
        self.blur = blur
        self.strength = strength
        self.probability = probability
        self._norm = None  # a copy on the device

    def __call__(self, img, img_norm_cfg, step, stream='', shares_blur=False):
        """Augment a batch (N, 3, H, W), normalised with ``mean`` and ``std``.

        ``stream`` tells the draws of one call in an iteration from those of another;
        ``shares_blur`` blurs all images alike.
        """
        chance = torch.rand(2, generator=step.shared_generator(f'{stream}augment'))
        if chance[0] > self.probability and self.strength > 0:
            if self._norm is None or self._norm.dtype != img.dtype:
                self._norm = img.new_tensor(np.stack([img_norm_cfg['mean'], img_norm_cfg['std']]))
            seeds = step.image_seeds(f'{stream}color_jitter', len(img))
            img = color_jitter(img, *self._norm, self.strength, seeds)
        if self.blur and chance[1] > BLUR_THRESHOLD:
            name = f'{stream}blur'
            each = step.image_generators(name, len(img))
            img = gaussian_blur(img, [step.shared_generator(name)] if shares_blur else each)
        return img


def blur_kernel_size(side):
    """The largest odd size up to about 10 % of an image side (pixels)."""
    tenth = math.ceil(0.1 * side)
    return math.floor(tenth - 0.5 + tenth % 2)


def color_jitter(img, mean, std, strength, seeds):
    """Jitter brightness, contrast, saturation and hue, the amounts drawn per image.

    The jitter is defined on images in [0, 1], so the normalisation by ``mean`` and ``std`` (3,) of
    [0, 255] is undone and redone.
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
    """Blur images (N, C, H, W) with a sigma per generator: one per image, or one for all.

    Borders are reflected.
    """
    low, high = BLUR_SIGMA
    sigma = torch.stack([low + (high - low) * torch.rand(1, generator=g) for g in generators])
    kernel = tuple(blur_kernel_size(side) for side in img.shape[2:])
    return gaussian_blur2d(img, kernel, sigma.expand(len(img), 2).to(img), border_type='reflect')
