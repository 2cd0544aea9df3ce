"""Augmentation of images on the device: colour jitter, grey, Gaussian blur."""

import math

import numpy as np
import torch
from kornia.augmentation import ColorJiggle
from kornia.color import rgb_to_grayscale
from kornia.filters import gaussian_blur2d

from mmseg.utils.seeding import seeded_globals

BLUR_SIGMA = (0.15, 1.15)
BLUR_THRESHOLD = 0.5
MASKED = 'masked '  # the stream of MIC's images


def build_augmentations(strong, source=None, target=None, mix=None):
    """Build an :class:`ImageAugmentation` of each dict of options.

    Without them source and target images stay as they are, and mixed ones get ``strong``.
    """
    return tuple(
        otherwise if options is None else ImageAugmentation(**options)
        for options, otherwise in ((source, _unchanged), (target, _unchanged), (mix, strong))
    )


def _unchanged(img, img_norm_cfg, step, stream=''):
    return img


class StrongAugmentation:
    """DACS's: whether to jitter and to blur is drawn once per iteration, how much per image.

    The jitter acts where u > ``probability``, u ~ U(0, 1); ``blur`` acts on half of the batches.
    """

    def __init__(self, blur, strength, probability):
        self.blur = blur
        self.strength = strength
        self.probability = probability
        self._norm = _Norm()

    def __call__(self, img, img_norm_cfg, step, stream=''):
        """Augment a batch (N, 3, H, W), normalised with ``mean`` and ``std``.

        ``stream`` tells the draws of one call in an iteration from those of another. The images
        of :data:`MASKED` share their blur, as in the published MIC.
        """
        chance = torch.rand(2, generator=step.shared_generator(f'{stream}augment'))
        if chance[0] > self.probability and self.strength > 0:
            seeds = step.image_seeds(f'{stream}color_jitter', len(img))
            img = color_jitter(img, *self._norm(img, img_norm_cfg), [self.strength] * 4, seeds)
        if self.blur and chance[1] > BLUR_THRESHOLD:
            name = f'{stream}blur'
            each = step.image_generators(name, len(img))
            img = gaussian_blur(img, [step.shared_generator(name)] if stream == MASKED else each)
        return img


class ImageAugmentation:
    """VFM-UDA's: whether to jitter, to grey and to blur is drawn for each image.

    Args:
        jitter (list[float]): Largest amounts of brightness, contrast, saturation and hue.
        jitter_probability, grey_probability, blur_probability (float): How often each acts.
        blur_sigma (list[float]): From and to, in pixels.
    """

    def __init__(
        self, jitter, jitter_probability, grey_probability=0, blur_probability=0,
        blur_sigma=BLUR_SIGMA,
    ):  # fmt: skip
        self.jitter = jitter
        probabilities = [jitter_probability, grey_probability, blur_probability]
        # Draws are on the CPU, also of a method that is built on another device.
        self.probabilities = torch.tensor(probabilities, device='cpu')
        self.blur_sigma = blur_sigma
        self._norm = _Norm()

    def __call__(self, img, img_norm_cfg, step, stream=''):
        """Augment a batch (N, 3, H, W); ``stream`` is as for :class:`StrongAugmentation`."""
        norm = self._norm(img, img_norm_cfg)
        generators = step.image_generators(f'{stream}augment', len(img))
        # Of their own: from one seed, what is drawn for the jitter would follow whether it acts.
        seeds = step.image_seeds(f'{stream}color_jitter', len(img))
        each = zip(img.split(1), generators, seeds, strict=True)
        return torch.cat([self._augment(one, *norm, *draws) for one, *draws in each])

    def _augment(self, img, mean, std, generator, seed):
        jitters, greys, blurs = torch.rand(3, generator=generator) < self.probabilities
        if jitters:
            img = color_jitter(img, mean, std, self.jitter, [seed])
        if greys:
            mean, std = _in_unit_range(mean, std)
            img = (rgb_to_grayscale(img * std + mean) - mean) / std
        return gaussian_blur(img, [generator], self.blur_sigma) if blurs else img


class _Norm:
    """Mean and std of the normalisation, (3,) each, in [0, 255]; copied to the device once."""

    def __init__(self):
        self._copy = None

    def __call__(self, img, img_norm_cfg):
        if self._copy is None or self._copy.dtype != img.dtype:
            self._copy = img.new_tensor(np.stack([img_norm_cfg['mean'], img_norm_cfg['std']]))
        return self._copy


def _in_unit_range(mean, std):
    return mean.view(1, 3, 1, 1) / 255, std.view(1, 3, 1, 1) / 255


def blur_kernel_size(side):
    """The largest odd size up to about 10 % of an image side (pixels)."""
    tenth = math.ceil(0.1 * side)
    return math.floor(tenth - 0.5 + tenth % 2)


def color_jitter(img, mean, std, amounts, seeds):
    """Jitter brightness, contrast, saturation and hue, up to the four amounts, drawn per image.

    The jitter is defined on images in [0, 1], so the normalisation by ``mean`` and ``std`` (3,) of
    [0, 255] is undone and redone.
    """
    mean, std = _in_unit_range(mean, std)
    jitter = ColorJiggle(*amounts, p=1.0)
    pixels = img * std + mean
    jittered = []
    for one, seed in zip(pixels, seeds, strict=True):
        with seeded_globals(seed):
            jittered.append(jitter(one[None]))
    return (torch.cat(jittered) - mean) / std


def gaussian_blur(img, generators, sigma=BLUR_SIGMA):
    """Blur images (N, C, H, W) with a sigma per generator: one per image, or one for all.

    Borders are reflected.
    """
    low, high = sigma
    sigma = torch.stack([low + (high - low) * torch.rand(1, generator=g) for g in generators])
    kernel = tuple(blur_kernel_size(side) for side in img.shape[2:])
    # kornia checks sigma where it is, so that it stays on the CPU.
    sigma = sigma.expand(len(img), 2).to(img.dtype)
    return gaussian_blur2d(img, kernel, sigma, border_type='reflect')
