"""Style hallucination: the same images once more, in styles drawn around those of the source.

Source: Zhao et al., SHADE, ECCV 2022 (arXiv 2204.02548), section 3.2. The style of an image is the
mean and the standard deviation of each channel of its first feature map.
"""

import contextlib

import numpy as np
import torch
from torch import nn

from mmseg.utils.user_error import UserError

_NAME = 'style_hallucination.'  # of the module in an encoder


class StyleHallucination(nn.Module):
    """Doubles a batch of feature maps by copies in other styles, inside :meth:`of_images` alone.

    A style is drawn as a convex combination of prototypes (buffers ``proto_mean`` and
    ``proto_std``), which are far from each other among the styles of the source.

    Args:
        channels (int): Of the maps.
        concentration_coeff (float): Of the Dirichlet distribution of the weights; the lower, the
            nearer is each style to a single prototype.
        base_style_num (int): Number of prototypes.
        style_dim (int | None): Stands in published configs; has to be ``channels``.
    """

    def __init__(self, channels, concentration_coeff, base_style_num, style_dim=None):
        super().__init__()
        if style_dim not in (None, channels):
            raise UserError(
                f'model.backbone.style_hallucination_cfg.style_dim is {style_dim}, but the first '
                f'map of this encoder has {channels} channels: leave style_dim out'
            )
        self.concentration = np.full(base_style_num, concentration_coeff)
        self.register_buffer('proto_mean', torch.zeros(base_style_num, channels))
        self.register_buffer('proto_std', torch.zeros(base_style_num, channels))
        self._generators = None

    @contextlib.contextmanager
    def of_images(self, seeds):
        """Double the maps that are given inside; what is drawn for an image follows its seed."""
        self._generators = [np.random.default_rng(seed) for seed in seeds]
        try:
            yield
        finally:
            self._generators = None

    def draw_weights(self):
        """Draw the weights of the prototypes, (images, prototypes), anew for each call."""
        # Not torch's Dirichlet, which takes no generator.
        drawn = [generator.dirichlet(self.concentration) for generator in self._generators]
        return torch.from_numpy(np.stack(drawn))

    def forward(self, feature):
        """Return maps (N, C, h, w) as they are or, inside :meth:`of_images`, (2N, C, h, w)."""
        if self._generators is None:
            return feature
        mean, std = channel_statistics(feature.detach())
        weights = self.draw_weights().to(self.proto_mean)
        new_mean, new_std = weights @ self.proto_mean, weights @ self.proto_std
        styled = (feature - mean) / std * new_std[..., None, None] + new_mean[..., None, None]
        return torch.cat([feature, styled.to(feature.dtype)])

    @torch.no_grad()
    def set_prototypes(self, styles, first):
        """Pick the prototypes from styles (M, 2, C), each a mean and a std; ``first`` is one."""
        picked = styles[farthest_points(styles.flatten(1), len(self.concentration), first)]
        self.proto_mean.copy_(picked[:, 0])
        self.proto_std.copy_(picked[:, 1])


def channel_statistics(feature):
    """Return mean and standard deviation of each channel of maps (N, C, h, w): (N, C, 1, 1)."""
    std, mean = torch.std_mean(feature, dim=(2, 3), keepdim=True)
    return mean, std + 1e-7


def farthest_points(points, number, first):
    """Pick points one by one, each the farthest from all that are picked already.

    Args:
        points (Tensor): (M, D), of Euclidean distances.
        number (int): How many to pick.
        first (int): The one to begin with.

    Returns:
        list[int]: Their indices.
    """
    picked, distance = [first], torch.full((len(points),), torch.inf, dtype=points.dtype)
    while len(picked) < number:
        distance = torch.minimum(distance, (points - points[picked[-1]]).square().sum(dim=1))
        picked.append(int(distance.argmax()))
    return picked


def image_styles(segmentor, img):
    """Compute the styles (N, 2, C) of images (N, 3, H, W), at the scale of HRDA's context."""
    if hasattr(segmentor, 'at_feature_scale'):
        img = segmentor.at_feature_scale(img)
    statistics = channel_statistics(segmentor.backbone.first_map(img))
    return torch.stack(statistics, dim=1).flatten(2)


def fit_prototypes(weights, own):
    """Give weights the prototypes that a state dict ``own`` has, and no others.

    They are of a run's source, and each run picks its own before its first iteration.
    """
    others = {name: value for name, value in weights.items() if _NAME not in name}
    return others | {name: value for name, value in own.items() if _NAME in name}
