"""Per-pixel loss weights for any segmentor, through MMSegmentation's pixel samplers.

A head asks its sampler for the weight of each pixel (``sampler.sample(logits, label)``). For the
mixed loss the weights are known beforehand, so a sampler that hands them out is put in its place.
"""

import contextlib

from torch import nn

from mmseg.core.seg.sampler import BasePixelSampler
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import CrossEntropyLoss
from mmseg.utils.user_error import UserError


class GivenWeights(BasePixelSampler):
    """Hands out given weights, times those of the sampler that the head already had.

    Args:
        weight (Tensor): (N, 1, H, W), as the label.
        inner (BasePixelSampler | None): The head's own sampler.
    """

    def __init__(self, weight, inner=None):
        super().__init__()
        self.weight = weight.squeeze(1)
        self.inner = inner

    def sample(self, seg_logit, seg_label):
        """Return the weights (N, H, W)."""
        if self.inner is None:
            return self.weight
        return self.weight * self.inner.sample(seg_logit, seg_label)


def loss_heads(segmentor):
    """List all heads of a segmentor, those inside other heads included."""
    return [module for module in segmentor.modules() if isinstance(module, BaseDecodeHead)]


def heads_of(segmentor):
    """List the heads that stand in a segmentor's config, the decode heads first."""
    heads = []
    for head in (segmentor.decode_head, getattr(segmentor, 'auxiliary_head', None) or []):
        # A cascade has a list of decode heads.
        heads += head if isinstance(head, (list, nn.ModuleList)) else [head]
    return heads


@contextlib.contextmanager
def pixel_weights(segmentor, weight):
    """Inside, every loss of ``segmentor`` is weighted by ``weight`` (N, 1, H, W); None: not."""
    heads = [] if weight is None else loss_heads(segmentor)
    samplers = [head.sampler for head in heads]
    for head, sampler in zip(heads, samplers, strict=True):
        head.sampler = GivenWeights(weight, sampler)
    try:
        yield
    finally:
        for head, sampler in zip(heads, samplers, strict=True):
            head.sampler = sampler


def check_losses_take_weights(segmentor):
    """Refuse losses that would drop the weights without a word (Dice and Lovász do).

    Raises:
        UserError: If a head has a loss other than per-pixel softmax cross entropy.
    """
    for head in loss_heads(segmentor):
        losses = head.loss_decode
        for loss in losses if isinstance(losses, nn.ModuleList) else [losses]:
            if not isinstance(loss, CrossEntropyLoss) or loss.use_sigmoid or loss.use_mask:
                raise UserError(
                    f'{type(head).__name__} is trained with {type(loss).__name__}, which cannot '
                    'weight single pixels as self-training needs: use '
                    "loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False)."
                )
