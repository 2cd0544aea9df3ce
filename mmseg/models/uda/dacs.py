"""DACS with feature distance: the self-training of DAFormer, one iteration from top to bottom."""

import copy

import torch
from mmcv.runner import BaseModule

from mmseg.models.builder import SEGMENTORS, build_segmentor
from mmseg.models.uda.class_mix import draw_class_masks
from mmseg.models.uda.debug_pictures import save_debug_pictures
from mmseg.models.uda.feature_distance import FrozenEncoder, downscale_label, feature_distance
from mmseg.models.uda.grad_magnitude import grad_magnitudes
from mmseg.models.uda.pixel_weights import check_losses_take_weights, heads_of, pixel_weights
from mmseg.models.uda.strong_augmentation import BLUR_THRESHOLD, color_jitter, gaussian_blur
from mmseg.models.uda.student import Student
from mmseg.models.uda.teacher import (
    pseudo_label_weights,
    pseudo_labels,
    teacher_mode,
    update_teacher,
)
from mmseg.utils.finite import check_losses
from mmseg.utils.gradients import Gradients, mean_of
from mmseg.utils.user_error import UserError


@SEGMENTORS.register_module()
class DACS(BaseModule):
    """Trains a student on labelled source and unlabelled target images (paper, section 3).

    Wraps any ``EncoderDecoder`` and does not change it. State-dict names: ``model.`` (student),
    ``ema_model.`` (teacher), ``imnet_model.`` (frozen encoder, where the feature distance is on).

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
        debug_img_interval (int): Iterations between debug pictures; 0 = none.
        print_grad_magnitude (bool): Log gradient norms per loss; costs a backward pass for each.
        imnet_feature_dist_scale_method: Stands in published configs and means nothing.

    Raises:
        UserError: If a loss cannot be weighted per pixel, or ``mix`` is unknown.
    """

    def __init__(
        self,
        model,
        alpha=0.99,
        pseudo_threshold=0.968,
        pseudo_weight_ignore_top=0,
        pseudo_weight_ignore_bottom=0,
        imnet_feature_dist_lambda=0,
        imnet_feature_dist_classes=None,
        imnet_feature_dist_scale_min_ratio=None,
        mix='class',
        blur=True,
        color_jitter_strength=0.2,
        color_jitter_probability=0.2,
        debug_img_interval=1000,
        print_grad_magnitude=False,
        imnet_feature_dist_scale_method=None,
    ):
        super().__init__()
        if mix != 'class':
            raise UserError(f"uda.mix is {mix!r}; there is only 'class' (ClassMix).")
        self.alpha = alpha
        self.pseudo_threshold = pseudo_threshold
        self.ignore_rows = (pseudo_weight_ignore_top, pseudo_weight_ignore_bottom)
        self.fd_lambda = imnet_feature_dist_lambda
        self.fd_classes = imnet_feature_dist_classes
        self.fd_min_ratio = imnet_feature_dist_scale_min_ratio
        self.blur = blur
        self.color_jitter_strength = color_jitter_strength
        self.color_jitter_probability = color_jitter_probability
        self.debug_img_interval = debug_img_interval
        self.print_grad_magnitude = print_grad_magnitude
        self.gradients = Gradients()

        self.model = build_segmentor(copy.deepcopy(model))
        self.ema_model = build_segmentor(copy.deepcopy(model)).requires_grad_(False)
        self.imnet_model = None
        if self.fd_lambda > 0:
            self.imnet_model = FrozenEncoder(
                copy.deepcopy(self.model.backbone),
                copy.deepcopy(self.model.neck) if self.model.with_neck else None,
            )
        check_losses_take_weights(self.model)
        self.student = Student(self.model)

    def init_weights(self):
        """Initialise the student (with its pretrained file); the others start as its copies."""
        self.model.init_weights()
        self.start_teacher()
        if self.imnet_model is not None:
            self.imnet_model.backbone.load_state_dict(self.model.backbone.state_dict())

    def start_teacher(self):
        """Make the teacher a copy of the student, buffers included."""
        self.ema_model.load_state_dict(self.model.state_dict())

    def train(self, mode=True):
        """Set the student's mode; the teacher labels in its own, the frozen encoder stays eval."""
        super().train(mode)
        if mode:
            teacher_mode(self.ema_model)
        return self

    def forward(self, img, img_metas, return_loss=False, **kwargs):
        """Predict with the student, as ``EncoderDecoder.forward(return_loss=False)``."""
        assert not return_loss, 'DACS is trained through train_step, not through forward'
        return self.model(img=img, img_metas=img_metas, return_loss=False, **kwargs)

    def train_step(self, data_batch, optimizer, *, step):
        """Carry out one iteration, the optimizer's step included.

        Args:
            data_batch (dict): ``img`` (N, 3, H, W), ``img_metas``, ``gt_semantic_seg``
                (N, 1, H, W) of the source, ``target_img``, ``target_img_metas``.
            optimizer (torch.optim.Optimizer): Over the student's parameters.
            step (Step): Where the run is.

        Returns:
            dict: ``log_vars`` (name to float) and ``num_samples``.

        Raises:
            NonFiniteError: Before the optimizer's step; the teacher and BatchNorm have moved.
        """
        update_teacher(self.ema_model, self.model, step.iteration, self.alpha)
        optimizer.zero_grad()
        log_vars = [
            self._forward_backward(step=part_step, **part)
            for part, part_step in self.gradients.split(data_batch, step)
        ]
        log_vars = mean_of(log_vars) | self.gradients.step(optimizer)
        return dict(log_vars=log_vars, num_samples=len(data_batch['img_metas']))

    def _forward_backward(
        self, img, img_metas, gt_semantic_seg, target_img, target_img_metas, step
    ):
        # Source loss and feature distance share one forward and one backward pass.
        log_vars = {}
        fd_label = fd_mask = None
        with self.gradients.no_sync():
            losses, features = self.student(img, img_metas, gt_semantic_seg)
            if self.imnet_model is not None:
                distance, fd_label, fd_mask = self._feature_distance(features, img, gt_semantic_seg)
                losses['src.loss_imnet_feat_dist'] = distance
            self._backward(losses, 'src', log_vars)

        # The teacher labels the target images, as they are.
        label, share = pseudo_labels(
            self.ema_model, target_img, target_img_metas, self.pseudo_threshold
        )
        weight = pseudo_label_weights(label, share, *self.ignore_rows)

        # Mix: half of the source classes onto the target image.
        mask = draw_class_masks(gt_semantic_seg, step.image_generators('class_mix', len(img)))
        mixed_img = torch.where(mask, img, target_img)
        mixed_label = torch.where(mask, gt_semantic_seg, label)
        mixed_weight = torch.where(mask, torch.ones_like(weight), weight)
        mixed_img = self._augment(mixed_img, img_metas, step)

        with pixel_weights(self.model, mixed_weight):
            losses, _ = self.student(mixed_img, target_img_metas, mixed_label)
        losses = {f'mix.{name}': loss for name, loss in losses.items()}
        self._backward(losses, 'mix', log_vars)
        log_vars['pseudo_label_weight'] = share.item()

        if self.debug_img_interval and step.iteration % self.debug_img_interval == 0:
            save_debug_pictures(
                step,
                img_metas[0]['img_norm_cfg'],
                palette=self.PALETTE,
                source_img=img,
                source_label=gt_semantic_seg,
                target_img=target_img,
                pseudo_label=label,
                mixed_img=mixed_img,
                mixed_label=mixed_label,
                mix_mask=mask,
                weight=weight,
                fd_label=fd_label,
                fd_mask=fd_mask,
            )
        return log_vars

    def _feature_distance(self, features, img, label):
        """The weighted distance, the downscaled label and the mask that it was taken on."""
        imagenet, student = self.imnet_model(img), features[-1]
        if self.fd_classes is None:
            return self.fd_lambda * feature_distance(student, imagenet), None, None
        small = downscale_label(
            label, student.shape[-2:], self.fd_min_ratio, self.model.num_classes,
            heads_of(self.model)[0].ignore_index,
        )  # fmt: skip
        things = torch.isin(small, small.new_tensor(self.fd_classes))
        return self.fd_lambda * feature_distance(student, imagenet, things), small, things

    def _augment(self, img, img_metas, step):
        """Strong augmentation: whether is drawn once per iteration, how much per image."""
        norm = img_metas[0]['img_norm_cfg']
        chance = torch.rand(2, generator=step.shared_generator('augment'))
        if chance[0] > self.color_jitter_probability and self.color_jitter_strength > 0:
            mean, std = img.new_tensor(norm['mean']), img.new_tensor(norm['std'])
            seeds = step.image_seeds('color_jitter', len(img))
            img = color_jitter(img, mean, std, self.color_jitter_strength, seeds)
        if self.blur and chance[1] > BLUR_THRESHOLD:
            img = gaussian_blur(img, step.image_generators('blur', len(img)))
        return img

    def _backward(self, losses, part, log_vars):
        """Add the gradients of the sum of ``losses``, and to ``log_vars`` what to log of them."""
        total, values = self.model._parse_losses(losses)
        values.pop('loss')
        log_vars |= values
        check_losses(log_vars)
        if self.print_grad_magnitude:
            log_vars |= grad_magnitudes(losses, self.model, part)
        self.gradients.add(total)
