"""The student as methods train it: one call gives losses and features, on one device or many.

Losses are weighted per pixel through MMSegmentation's pixel samplers: a head asks its sampler for
the weight of each pixel, so one that returns given weights takes its place.
"""

import contextlib
import warnings

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmseg.core.seg.sampler import BasePixelSampler
from mmseg.models.decode_heads import EncHead, PointHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import CrossEntropyLoss
from mmseg.utils.user_error import UserError


class LossesAndFeatures(nn.Module):
    """All losses of a segmentor and the features behind them.

    A segmentor that needs more than its ``forward_train`` for that, such as several crops per
    image, has a method ``losses_and_features`` with the arguments of :meth:`forward`.
    """

    def __init__(self, segmentor):
        super().__init__()
        self.segmentor = segmentor

    def forward(self, img, img_metas, gt_semantic_seg=None, weight=None):
        """Compute losses that the heads weight per pixel, or logits where no label is given.

        Args:
            gt_semantic_seg (Tensor | None): (N, 1, H, W) int64.
            weight (Tensor | None): (N, 1, H, W) float, of the pixels; None: 1.

        Returns:
            tuple[dict, list[Tensor]]: Losses by name, and the feature maps of the encoder, after
            the neck if there is one. Without a label a Tensor: logits (N, C, H, W).
        """
        segmentor = self.segmentor
        if gt_semantic_seg is None:
            return segmentor.encode_decode(img, img_metas)
        if hasattr(segmentor, 'losses_and_features'):
            return segmentor.losses_and_features(img, img_metas, gt_semantic_seg, weight)
        features = []
        encoder = segmentor.neck if segmentor.with_neck else segmentor.backbone
        hook = encoder.register_forward_hook(lambda _, inputs, output: features.extend(output))
        with hook, pixel_weights(segmentor, weight):
            return segmentor.forward_train(img, img_metas, gt_semantic_seg), features


class Student:
    """Calls :class:`LossesAndFeatures`, through DistributedDataParallel where there are ranks.

    This is no module, so that names of weights do not depend on the number of processes.
    """

    def __init__(self, segmentor):
        self._network = LossesAndFeatures(segmentor)

    def __call__(self, img, img_metas, gt_semantic_seg, weight=None):
        return self._network(img, img_metas, gt_semantic_seg, weight)

    def logits(self, img, img_metas):
        """Return logits (N, C, H, W) at the images' size, for losses without labels."""
        return self._network(img, img_metas)

    def no_sync(self):
        """Return a context in which gradients are not averaged over the ranks."""
        if isinstance(self._network, DistributedDataParallel):
            return self._network.no_sync()
        return contextlib.nullcontext()

    def distribute(self, find_unused_parameters=False):
        """Let the ranks average their gradients; the weights become those of rank 0."""
        with warnings.catch_warnings():
            # torch 2.14 wants it to be called forward_sync_buffers, which older ones do not know.
            warnings.filterwarnings('ignore', '`broadcast_buffers` is deprecated', FutureWarning)
            self._network = DistributedDataParallel(
                self._network,
                broadcast_buffers=False,
                find_unused_parameters=find_unused_parameters,
                gradient_as_bucket_view=True,
            )


class GivenWeights(BasePixelSampler):
    """Returns given weights (N, 1, H, W), times those of the head's own sampler."""

    def __init__(self, weight, inner):
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
    """Refuse losses that would drop the weights without a word (Dice and Lovász do)."""
    for head in loss_heads(segmentor):
        if isinstance(head, EncHead | PointHead):
            raise UserError(f'{type(head).__name__} has a loss that takes no weights of pixels.')
        losses = head.loss_decode
        for loss in losses if isinstance(losses, nn.ModuleList) else [losses]:
            if not isinstance(loss, CrossEntropyLoss) or loss.use_sigmoid or loss.use_mask:
                raise UserError(
                    f'{type(head).__name__} is trained with {type(loss).__name__}, which cannot '
                    'weight single pixels as self-training needs: use '
                    "loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False)."
                )
