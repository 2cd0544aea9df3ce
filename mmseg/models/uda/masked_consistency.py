"""Masked image consistency: predict the pseudo-labels of an image of which most is hidden.

Source: Hoyer et al., MIC, CVPR 2023 (arXiv 2212.01322), section 3; tokens instead of blocks are
hidden in Englert et al., VFM-UDA (2024).
"""

import contextlib

import torch
import torch.nn.functional as F
from torch import nn

from mmseg.models.uda.base import UDAMethod
from mmseg.models.uda.strong_augmentation import MASKED
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
        mask_generator (dict | None): Options of :class:`BlockMask` (``type='block'``) or
            :class:`TokenMask` (``'token'``).
        **kwargs: See :class:`UDAMethod`.
    """

    def __init__(
        self, model, mask_mode=None, mask_alpha='same', mask_pseudo_threshold='same',
        mask_lambda=1, mask_generator=None, **kwargs,
    ):  # fmt: skip
        super().__init__(model, **kwargs)
        self.mic = None
        self._masking = mask_mode, mask_alpha, mask_pseudo_threshold, mask_lambda, mask_generator

    def set_up_masking(self, model, alpha, threshold, augment, shares_labels, flip=False):
        """Build what the options ask for, for a method whose teacher has ``alpha``."""
        mode, mask_alpha, mask_threshold, weight, generator = self._masking
        if mode is None:
            _refuse_mask_token(self.model)
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
        mask = build_mask(generator, self.model)
        self.mic = MaskedConsistency(teacher, mode, threshold, weight, mask, augment, flip)
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
        flip (bool): See :func:`pseudo_labels`.
    """

    def __init__(self, teacher, mode, threshold, weight, mask, augment, flip):
        super().__init__()
        self.images = mode.removesuffix('aug')
        if self.images not in MASK_MODES:
            raise UserError(f"uda.mask_mode is {mode!r}; known are {MASK_MODES}, and each + 'aug'")
        self.threshold = threshold or 0  # which all probabilities reach
        self.weight = weight
        self.mask = mask
        self.flip = flip
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
            img = self.augment(img, metas[0]['img_norm_cfg'], step, MASKED)
        img, hiding = self.mask.hide(img, step)
        with hiding:
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
            teacher = self.teacher.ema_model
            label, ratio = pseudo_labels(teacher, img, metas, self.threshold, self.flip)
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


def build_mask(generator, segmentor):
    """Build the mask of ``uda.mask_generator`` for a segmentor.

    Raises:
        UserError: It does not fit the encoder.
    """
    options = {key: value for key, value in generator.items() if key not in ('type', '_delete_')}
    kind = generator.get('type', 'block')
    if kind == 'token':
        return TokenMask(segmentor, **options)
    if kind != 'block':
        raise UserError(f"uda.mask_generator.type is {kind!r}; there are 'block' and 'token'")
    _refuse_mask_token(segmentor)
    return BlockMask(**options)


def _refuse_mask_token(segmentor):
    """Refuse a weight that nothing would train, for which ranks would wait."""
    if getattr(segmentor.backbone, 'mask_token', None) is not None:
        raise UserError(
            "model.backbone.mask_token=True is for uda.mask_generator.type='token': leave it out"
        )


class BlockMask:
    """Hides blocks of ``mask_block_size`` pixels, each with the probability ``mask_ratio``."""

    def __init__(self, mask_ratio, mask_block_size=None):
        if mask_block_size is None:
            raise UserError("uda.mask_generator has no mask_block_size, which type='block' needs")
        self.ratio, self.block_size = mask_ratio, mask_block_size

    def hide(self, img, step):
        """Return the images with hidden blocks, and a context for the student's pass on them."""
        return img * self(img, step), contextlib.nullcontext()

    def __call__(self, img, step):
        """Draw for each image of a batch (N, C, H, W) what stays: (N, 1, H, W), 0 or 1."""
        grid = [max(1, round(side / self.block_size)) for side in img.shape[2:]]
        return self.of(_uniform(grid, step, len(img)).to(img), img.shape[2:])

    def of(self, uniform, size):
        """Return the mask of numbers (N, 1, h, w) drawn from U(0, 1)."""
        return F.interpolate((uniform > self.ratio).to(uniform.dtype), size, mode='nearest')


class TokenMask:
    """Replaces tokens of a :class:`TimmViT`, each with the probability ``mask_ratio``."""

    def __init__(self, segmentor, mask_ratio, mask_block_size=None):
        if mask_block_size is not None:
            raise UserError("uda.mask_generator.type='token' takes no mask_block_size")
        self.encoder, self.ratio = segmentor.backbone, mask_ratio
        if getattr(self.encoder, 'mask_token', None) is None:
            raise UserError(
                "uda.mask_generator.type='token' needs model.backbone.type='TimmViT' with "
                'mask_token=True'
            )
        if hasattr(segmentor, 'training_pass'):  # of several crops of different grids
            raise UserError(
                f"uda.mask_generator.type='token' does not work with {type(segmentor).__name__}: "
                "use 'block'"
            )

    def hide(self, img, step):
        """Return the images, and a context in which the encoder replaces their tokens."""
        grid = self.encoder.token_grid(img.shape[2:])
        hidden = _uniform(grid, step, len(img)).to(img.device) < self.ratio
        step.show('masked', {'hidden tokens': hidden})
        return img, self.encoder.masked_tokens(hidden[:, 0])


def _uniform(grid, step, number):
    """Draw (N, 1, rows, columns) from U(0, 1)."""
    generators = step.image_generators('mask', number)
    return torch.stack([torch.rand(1, *grid, generator=each) for each in generators])
