"""Masked image consistency: predict the pseudo-labels of an image of which most is hidden.

Source: Hoyer et al., MIC, CVPR 2023 (arXiv 2212.01322), section 3.
"""

import torch
import torch.nn.functional as F
from torch import nn

from mmseg.models.uda.base import UDAMethod
from mmseg.models.uda.teacher import pseudo_label_weights, pseudo_labels
from mmseg.utils.user_error import UserError

# Which images are masked: all of the target, all of the source, or half of the batch from each.
MASK_MODES = ('separatetrg', 'separatesrc', 'separate')


class MaskingMethod(UDAMethod):
    """A method that may have masked image consistency as its last term.

    Args:
        model (dict): Config of the segmentor.
        mask_mode (str | None): One of ``MASK_MODES``, with ``aug`` behind it where the images are
            strongly augmented; None: no masking.
        mask_alpha (float | str): Decay of a teacher for these pseudo-labels alone; ``'same'``: the
            method's.
        mask_pseudo_threshold (float | None | str): Probability from which they are trusted, None:
            always; ``'same'``: the method's.
        mask_lambda (float): Weight of the loss.
        mask_generator (dict | None): ``mask_ratio`` (how much is hidden) and ``mask_block_size``
            (pixels) of the ``block`` mask.
        **kwargs: See :class:`UDAMethod`.
    """

    def __init__(
        self, model, mask_mode=None, mask_alpha='same', mask_pseudo_threshold='same',
        mask_lambda=1, mask_generator=None, **kwargs,
    ):  # fmt: skip
        super().__init__(model, **kwargs)
        self.mic = None
        self._masking = mask_mode, mask_alpha, mask_pseudo_threshold, mask_lambda, mask_generator

    def set_up_masking(self, model, alpha, threshold, augment, shares_labels):
        """Build what the options ask for, for a method whose teacher has ``alpha``."""
        mode, mask_alpha, mask_threshold, weight, generator = self._masking
        if mode is None:
            return
        if generator is None:
            raise UserError(
                f'uda.mask_mode={mode!r} needs uda.mask_generator, e.g. '
                "dict(type='block', mask_ratio=0.7, mask_block_size=64)"
            )
        same = mask_alpha == 'same' and mask_threshold == 'same'
        alpha = alpha if mask_alpha == 'same' else mask_alpha
        threshold = threshold if mask_threshold == 'same' else mask_threshold
        needs_teacher = not mode.startswith('separatesrc') and not (same and shares_labels)
        teacher = self.add_teacher(model, alpha) if needs_teacher else None
        self.mic = MaskedConsistency(teacher, mode, threshold, weight, generator, augment)
        self.terms = (*self.terms, 'masked')

    def check_batch(self, size):
        """Refuse a (micro-)batch that cannot be halved."""
        if self.mic is not None and self.mic.images == 'separate' and size % 2:
            raise UserError(
                f"uda.mask_mode='separate' masks half of a batch from each domain: {size} image(s) "
                'in a (micro-)batch cannot be halved'
            )

    def networks(self):
        """List the segmentors and encoders, the teacher of the masked images last."""
        teacher = None if self.mic is None else self.mic.teacher
        networks = [network for network in super().networks() if network is not self.mic]
        return networks if teacher is None else [*networks, teacher.ema_model]


class MaskedConsistency(nn.Module):
    """The loss, and its own teacher where there is one (``teacher.ema_model``).

    Args:
        teacher (nn.Module | None): Its own teacher.
    """

    def __init__(self, teacher, mode, threshold, weight, generator, augment):
        super().__init__()
        self.images = mode.removesuffix('aug')
        if self.images not in MASK_MODES:
            raise UserError(f"uda.mask_mode is {mode!r}; known are {MASK_MODES}, and each + 'aug'")
        self.threshold = threshold or 0  # which all probabilities reach
        self.weight = weight
        self.mask = BlockMask(**generator)
        self.augment = augment if mode.endswith('aug') else None
        self.teacher = None
        if teacher is not None:
            self.teacher = nn.Module()
            self.teacher.ema_model = teacher

    def losses(self, student, batch, step, ignore_rows=(0, 0), pseudo=None):
        """Mask images and return the student's losses on them.

        Args:
            student (Student): Called once.
            ignore_rows (tuple[int]): Rows above and below without weight, of the own teacher's.
            pseudo (tuple[Tensor] | None): Labels (N, 1, H, W) of the target images and the weights
                of their pixels, unless the own teacher gives them.
        """
        img, metas, label, weight = self._images(batch, pseudo, ignore_rows)
        if self.augment is not None:
            img = self.augment(img, metas[0]['img_norm_cfg'], step, 'masked ', shares_blur=True)
        img = img * self.mask(img, step)
        losses = student(img, metas, label, weight, row='masked').losses
        # The published code weights the head's main loss alone.
        main = {name for name in losses if name.startswith('decode.loss')}
        return {
            f'masked.{name}': self.weight * loss if name in main else loss
            for name, loss in losses.items()
        }

    def _images(self, batch, pseudo, ignore_rows):
        source = batch['img'], batch['img_metas'], batch['gt_semantic_seg'], None
        if self.images == 'separatesrc':
            return source
        img, metas = batch['target_img'], batch['target_img_metas']
        if self.teacher is not None:
            label, ratio = pseudo_labels(self.teacher.ema_model, img, metas, self.threshold)
            valid = batch.get('valid_pseudo_mask')
            pseudo = label, pseudo_label_weights(label, ratio, *ignore_rows, valid)
        target = img, metas, *pseudo
        if self.images == 'separatetrg':
            return target
        source = (*source[:3], torch.ones_like(target[3]))
        half = len(img) // 2
        img, metas, label, weight = (
            (ours[:half], theirs[:half]) for ours, theirs in zip(source, target, strict=True)
        )
        return torch.cat(img), metas[0] + metas[1], torch.cat(label), torch.cat(weight)


class BlockMask:
    """Hides blocks of ``mask_block_size`` pixels, each with the probability ``mask_ratio``."""

    def __init__(self, mask_ratio, mask_block_size, type='block', _delete_=None):
        if type != 'block':
            raise UserError(f"uda.mask_generator.type is {type!r}; there is only 'block'")
        self.ratio, self.block_size = mask_ratio, mask_block_size

    def __call__(self, img, step):
        """Draw for each image of a batch (N, C, H, W) what stays: (N, 1, H, W), 0 or 1."""
        grid = [max(1, round(side / self.block_size)) for side in img.shape[2:]]
        generators = step.image_generators('mask', len(img))
        uniform = torch.stack([torch.rand(1, *grid, generator=g) for g in generators])
        return self.of(uniform.to(img), img.shape[2:])

    def of(self, uniform, size):
        """Return the mask of numbers (N, 1, h, w) drawn from U(0, 1)."""
        return F.interpolate((uniform > self.ratio).to(uniform.dtype), size, mode='nearest')
