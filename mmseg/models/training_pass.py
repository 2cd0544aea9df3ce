"""The contract of a segmentor in training: one call gives all of a forward pass.

Losses are weighted per pixel through MMSegmentation's pixel samplers: a head asks its sampler for
the weight of each pixel, so one that returns given weights takes its place.
"""

import contextlib
from typing import NamedTuple

from torch import Tensor, nn

from mmseg.core.seg.sampler import BasePixelSampler
from mmseg.models.decode_heads import EncHead, PointHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from mmseg.models.losses import CrossEntropyLoss
from mmseg.utils.user_error import UserError


class View(NamedTuple):
    """Images as the encoder saw them, and the feature maps that it, or the neck, made of them."""

    img: Tensor  # (N, 3, h, w)
    label: Tensor | None  # (N, 1, H, W) of the same part of the scene, at any scale
    features: list  # of (N, C_i, h_i, w_i), finest first


class PassOutput(NamedTuple):
    """What a forward pass in training gives."""

    losses: dict  # by name; empty without a label
    logits: Tensor  # (N, C, h, w), smaller than the images where the head's are
    views: list  # a View for each run of the encoder that the feature distance is taken on
    pictures: dict = {}  # what a debug image may show of it, see Step.show


class TrainingPass(nn.Module):
    """A forward pass of a segmentor in training.

    A segmentor that needs more than its ``forward_train`` for it, such as several crops per image,
    has a method ``training_pass`` with the arguments of :meth:`forward`.
    """

    def __init__(self, segmentor):
        super().__init__()
        self.segmentor = segmentor

    def forward(
        self, img, img_metas, gt_semantic_seg=None, weight=None, generator=None, heads=True
    ):
        """Run encoder and heads, and compute losses that the heads weight per pixel.

        Args:
            img (Tensor): (N, 3, H, W).
            img_metas (list[dict]): As of MMSegmentation's pipelines.
            gt_semantic_seg (Tensor | None): (N, 1, H, W) int64; None: no losses.
            weight (Tensor | None): (N, 1, H, W) float, of the pixels; None: 1.
            generator (torch.Generator | None): For what a segmentor draws, on the CPU.
            heads (bool): False runs encoder and neck alone, for the features.

        Returns:
            PassOutput: Losses, logits and views.
        """
        segmentor = self.segmentor
        if hasattr(segmentor, 'training_pass'):
            assert heads, f'{type(segmentor).__name__} has no pass without heads'
            return segmentor.training_pass(img, img_metas, gt_semantic_seg, weight, generator)
        if not heads:
            return PassOutput({}, None, [View(img, None, segmentor.extract_feat(img))])
        outputs = {}

        def keep(name):
            return lambda module, inputs, output: outputs.update({name: output})

        encoder = segmentor.neck if segmentor.with_neck else segmentor.backbone
        head = segmentor.decode_head
        head = head[-1] if isinstance(head, nn.ModuleList) else head  # of a cascade
        with (
            encoder.register_forward_hook(keep('features')),
            head.register_forward_hook(keep('logits')),
            pixel_weights(segmentor, weight),
        ):
            if gt_semantic_seg is None:
                losses = {}
                outputs['logits'] = segmentor.encode_decode(img, img_metas)
            else:
                losses = segmentor.forward_train(img, img_metas, gt_semantic_seg)
        view = View(img, gt_semantic_seg, outputs['features'])
        return PassOutput(losses, outputs.get('logits'), [view])


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
