"""DACS with feature distance: the self-training of DAFormer, one iteration from top to bottom."""

import copy
from functools import partial

import torch

from mmseg.models.builder import SEGMENTORS
from mmseg.models.encoder_channels import level_channels
from mmseg.models.training_pass import check_losses_take_weights, heads_of
from mmseg.models.uda.class_mix import draw_class_masks
from mmseg.models.uda.feature_distance import FrozenEncoder, distance_of_views
from mmseg.models.uda.feature_distillation import FeatureDistillation
from mmseg.models.uda.masked_consistency import MaskingMethod
from mmseg.models.uda.strong_augmentation import StrongAugmentation, build_augmentations
from mmseg.models.uda.style_consistency import StyleConsistency
from mmseg.models.uda.teacher import pseudo_label_weights, pseudo_labels
from mmseg.utils.user_error import UserError


@SEGMENTORS.register_module()
class DACS(MaskingMethod):
    """Trains a student on labelled source and unlabelled target images (paper, section 3).

    State-dict names: ``model.`` (student), ``ema_model.`` (teacher), ``imnet_model.`` (frozen
    encoder, where the feature distance is on), ``feature_distance.`` (distillation).

    Args:
        model (dict): Config of the segmentor.
        alpha (float): Decay of the teacher.
        pseudo_threshold (float): Probability from which a pseudo-label is trusted.
        pseudo_weight_ignore_top, pseudo_weight_ignore_bottom (int): Rows without weight.
        imnet_feature_dist_lambda (float): Weight of the feature distance; 0 = off.
        imnet_feature_dist_classes (list[int] | None): Its train ids; None = all positions.
        imnet_feature_dist_scale_min_ratio (float | None): Majority that a cell needs.
        mix (str): Only ``'class'`` (ClassMix).
        blur (bool): Whether mixed images may be blurred.
        color_jitter_strength (float): Largest amount of the jitter.
        color_jitter_probability (float): The jitter acts where u > this, u ~ U(0, 1).
        source_only (bool): Neither teacher nor mixed images.
        flip_pseudo_labels (bool): See :func:`pseudo_labels`.
        augmentations (dict | None): Options of :class:`ImageAugmentation` for the student's
            ``source`` images, the ``target`` images that are mixed, the ``mix`` and masked images;
            ``mix`` takes the place of blur and jitter above.
        feature_distance (dict | None): Options of :class:`FeatureDistillation`, which works on
            source and target images.
        style_consistency_lambda (float): Weight of the consistency of styles, which the encoder
            hallucinates from source images; 0 = off. See :class:`StyleConsistency` (SHADE).
        imnet_feature_dist_scale_method, share_src_backward: Stand in published configs and mean
            nothing.
        **kwargs: See :class:`MaskingMethod` (MIC) and :class:`UDAMethod`.
    """

    terms = ('src', 'mix')
    hallucinates_styles = True

    def __init__(
        self, model, alpha=0.99, pseudo_threshold=0.968, pseudo_weight_ignore_top=0,
        pseudo_weight_ignore_bottom=0, imnet_feature_dist_lambda=0,
        imnet_feature_dist_classes=None, imnet_feature_dist_scale_min_ratio=None, mix='class',
        blur=True, color_jitter_strength=0.2, color_jitter_probability=0.2, source_only=False,
        debug_img_interval=1000, imnet_feature_dist_scale_method=None, flip_pseudo_labels=False,
        augmentations=None, feature_distance=None, style_consistency_lambda=0,
        share_src_backward=True, **kwargs,
    ):  # fmt: skip
        super().__init__(model, debug_img_interval=debug_img_interval, **kwargs)
        if mix != 'class':
            raise UserError(f"uda.mix is {mix!r}; there is only 'class' (ClassMix).")
        check_losses_take_weights(self.model)
        self.alpha = alpha
        self.pseudo_threshold = pseudo_threshold
        self.ignore_rows = (pseudo_weight_ignore_top, pseudo_weight_ignore_bottom)
        self.fd_lambda = imnet_feature_dist_lambda
        self.fd_min_ratio = imnet_feature_dist_scale_min_ratio
        self.flip = flip_pseudo_labels
        strong = StrongAugmentation(blur, color_jitter_strength, color_jitter_probability)
        augmentations = build_augmentations(strong, **augmentations or {})
        self.augment_source, self.augment_target, self.augment = augmentations
        self.styles = StyleConsistency(self.model, style_consistency_lambda)
        self.ema_model = self.imnet_model = self.feature_distance = None
        if source_only:
            self.terms = ('src',)
        else:
            self.ema_model = self.add_teacher(model, alpha)
        if self.fd_lambda > 0:
            self.imnet_model = FrozenEncoder(
                copy.deepcopy(self.model.backbone),
                copy.deepcopy(self.model.neck) if self.model.with_neck else None,
            )
        if feature_distance is not None:
            if source_only or hasattr(self.model, 'training_pass'):
                raise UserError(
                    'uda.feature_distance needs source_only=False and an EncoderDecoder; leave it '
                    'out (None)'
                )
            channels = level_channels(model)[-1]
            self.feature_distance = FeatureDistillation(**feature_distance, in_channels=channels)
            self.terms = ('src', 'distilled src', 'distilled trg', 'mix')
        self.set_up_masking(
            model, alpha, pseudo_threshold, self.augment, not source_only, self.flip
        )
        masks_target = self.mic is not None and self.mic.images != 'separatesrc'
        self.needs_target = not source_only or masks_target
        classes = imnet_feature_dist_classes
        classes = None if classes is None else torch.tensor(classes, dtype=torch.long)
        self.register_buffer('fd_classes', classes, persistent=False)

    def losses(self, batch, step):
        """Yield the losses of the source images, of the mixed and, in MIC, of the masked ones."""
        img, img_metas, label = batch['img'], batch['img_metas'], batch['gt_semantic_seg']
        norm = img_metas[0]['img_norm_cfg']

        # Source: cross entropy, in SHADE also in other styles, and the distance to the frozen
        # ImageNet features.
        source_img = self.augment_source(img, norm, step, 'source ')
        source_label, in_other_styles = self.styles.hallucinate(label, step)
        with in_other_styles:
            losses, logits, views, _ = self.student(
                source_img, img_metas, source_label, row='source'
            )
        if self.imnet_model is not None:
            distance, fd_label, fd_mask = distance_of_views(
                self.imnet_model, views, heads_of(self.model)[0], self.fd_classes, self.fd_min_ratio
            )
            losses['src.loss_imnet_feat_dist'] = self.fd_lambda * distance
            step.show('source', {'FD label': fd_label, 'FD mask': fd_mask})
        losses |= self.styles.losses(logits)
        yield losses
        del losses, logits, views, source_img  # the next passes need their memory
        if self.ema_model is None:
            if self.mic is not None:
                yield self.mic.losses(self.student, batch, step, self.ignore_rows)
            return

        target_img, target_metas = batch['target_img'], batch['target_img_metas']
        weak_img = self.augment_target(target_img, norm, step, 'target ')
        # Distillation: jittered images for the student, plain ones for the frozen encoder.
        if self.feature_distance is not None:
            distil = partial(self.feature_distance.losses, self.student)
            weak_source_img = self.augment_target(img, norm, step, 'weak source ')
            yield distil('src', weak_source_img, img_metas, img)
            yield distil('trg', weak_img, target_metas, target_img)

        # The teacher labels the target images; all pixels are weighted by the ratio of confident
        # ones, over the whole batch.
        pseudo_label, ratio = pseudo_labels(
            self.ema_model, target_img, target_metas, self.pseudo_threshold, self.flip
        )
        valid = batch.get('valid_pseudo_mask')
        weight = pseudo_label_weights(pseudo_label, ratio, *self.ignore_rows, valid)
        step.show('target', {'image': target_img, 'pseudo-label': pseudo_label, 'weight': weight})

        # Mix: half of the batch's classes onto the target image, strongly augmented. Ignored
        # pixels are a class more.
        generators = step.image_generators('class_mix', len(img))
        mask = draw_class_masks(label, generators, self.model.num_classes + 1)
        mixed_img = self.augment(torch.where(mask, img, weak_img), norm, step)
        mixed_label = torch.where(mask, label, pseudo_label)
        mixed_weight = torch.where(mask, torch.ones_like(weight), weight)

        losses = self.student(
            mixed_img, target_metas, mixed_label, mixed_weight, row='mixed'
        ).losses
        step.show('mixed', {'from the source': mask})
        losses = {f'mix.{name}': loss for name, loss in losses.items()}
        yield losses | {'pseudo_label_weight': ratio}

        if self.mic is not None:
            pseudo = pseudo_label, weight
            yield self.mic.losses(self.student, batch, step, self.ignore_rows, pseudo)

    def trained_beside(self):
        """List the weights of the distillation's head."""
        distillation = self.feature_distance
        return [] if distillation is None else list(distillation.head.parameters())

    def init_weights(self):
        """Initialise the student with its pretrained file; the others start as its copies."""
        super().init_weights()
        if self.imnet_model is not None:
            self.imnet_model.backbone.load_state_dict(self.model.backbone.state_dict())
            if self.imnet_model.neck is not None:
                self.imnet_model.neck.load_state_dict(self.model.neck.state_dict())
        if self.feature_distance is not None:
            self.feature_distance.teacher.backbone.init_weights()
