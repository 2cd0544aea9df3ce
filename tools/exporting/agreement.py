"""Whether an exported file predicts what the segmentor does, on a picture."""

import os.path as osp

import cv2
import mmcv
import torch

from mmseg.datasets.readable import read_image
from mmseg.utils.user_error import UserError

PICTURE = osp.join(osp.dirname(__file__), '..', '..', 'demo', 'demo.png')
LEAST_AGREEMENT = 0.999
LARGEST_DIFFERENCE = 1e-3


def demo_picture(shape):
    """The demo's picture at a size: BGR uint8 (H, W, 3)."""
    height, width = shape
    return cv2.resize(read_image(PICTURE), (width, height))


def as_input(picture):
    """A BGR picture (H, W, 3) as exported files take it: (1, 3, H, W) uint8, RGB."""
    return torch.from_numpy(picture[..., ::-1].transpose(2, 0, 1).copy())[None]


def reference_logits(segmentor, preparation, picture):
    """Logits (1, classes, H, W) of the segmentor, from mmcv's normalisation of a BGR picture."""
    pixels = mmcv.imnormalize(
        picture,
        torch.tensor(preparation.mean).numpy(),
        torch.tensor(preparation.std).numpy(),
        preparation.to_rgb,
    )
    with torch.no_grad():
        return segmentor.encode_decode(torch.from_numpy(pixels.transpose(2, 0, 1))[None], [{}])


def check_agreement(found, logits, output):
    """Compare what an exported file gave with the segmentor's logits.

    Args:
        found (Tensor): Labels (1, H, W) uint8, or logits (1, classes, H, W).
        logits (Tensor): (1, classes, H, W).
        output (str): ``'labels'`` or ``'logits'``.

    Returns:
        tuple[float, float | None]: Share of the pixels with the same label, and the largest
        difference of logits (None for labels).

    Raises:
        UserError: Fewer than 99.9 % of the pixels agree, or a logit differs by more than 0.001.
    """
    difference = None
    if output == 'logits':
        difference = (found - logits).abs().max().item()
        found = found.argmax(1)
    share = (found == logits.argmax(1)).double().mean().item()
    wrong = f'only {share:.3%} of the pixels agree' if not share >= LEAST_AGREEMENT else ''
    if difference is not None and not difference <= LARGEST_DIFFERENCE:
        wrong += f'{" and " if wrong else ""}logits differ by up to {difference:.2g}'
    if wrong:
        raise UserError(
            f'what was exported does not predict what the network does: {wrong}. Nothing is '
            'written; the versions of torch and onnxruntime may not fit together.'
        )
    return share, difference
