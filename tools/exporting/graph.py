"""What is exported: a segmentor from an RGB picture to labels, normalisation included."""

from typing import NamedTuple

import torch
from torch import nn

from mmseg.utils.user_error import UserError


class Preparation(NamedTuple):
    """How the config's test pipeline normalises a picture.

    Args:
        mean, std (list[float]): Per channel, of values 0 to 255.
        to_rgb (bool): Whether they, and the network, want RGB; False: BGR.
    """

    mean: list
    std: list
    to_rgb: bool


class PictureToLabels(nn.Module):
    """A segmentor with what comes before and after it.

    ``forward`` takes pictures (N, 3, H, W) uint8, RGB, and returns labels (N, H, W) uint8, or
    logits (N, classes, H, W) float32.

    Args:
        segmentor (EncoderDecoder): In eval mode.
        preparation (Preparation): Of its config.
        output (str): ``'labels'`` or ``'logits'``.
    """

    def __init__(self, segmentor, preparation, output):
        super().__init__()
        self.segmentor = segmentor
        self.to_rgb = preparation.to_rgb
        self.output = output
        for name in ('mean', 'std'):
            values = torch.tensor(getattr(preparation, name), dtype=torch.float32)
            self.register_buffer(name, values.view(1, 3, 1, 1))
        self.eval()

    def forward(self, picture):
        if not self.to_rgb:
            picture = picture.flip(1)
        logits = self.segmentor.encode_decode((picture.float() - self.mean) / self.std, None)
        return logits if self.output == 'logits' else logits.argmax(1).to(torch.uint8)


def preparation_of(cfg):
    """The :class:`Preparation` of a config's test pipeline.

    Raises:
        UserError: It normalises never, or more than once.
    """
    found = [step for step in _steps(cfg.data.test.pipeline) if step['type'] == 'Normalize']
    if len(found) != 1:
        raise UserError(f'data.test.pipeline has {len(found)} Normalize and needs one.')
    step = found[0]
    return Preparation(list(step['mean']), list(step['std']), step.get('to_rgb', True))


def _steps(pipeline):
    for step in pipeline:
        yield step
        yield from _steps(step.get('transforms', ()))
