"""A stand-in for the published training step, to measure against.

Its losses go backward one after the other, attention matrices are written out, 1×1 layers run on
tokens, and the frozen network is a whole segmentor. A test holds it to compute what ours does.
"""

import copy
from types import MethodType

import torch

from mmseg.models.backbones.mix_transformer import EfficientAttention, to_map, to_tokens
from mmseg.models.decode_heads.decoder_layers import ChannelLinear
from mmseg.models.training_pass import pixel_weights
from mmseg.models.uda.class_mix import draw_class_masks
from mmseg.models.uda.feature_distance import downscale_label, feature_distance
from mmseg.models.uda.teacher import pseudo_label_weights, teacher_mode


def explicit_attention(query, key, value):
    """Attention with its matrix of queries × keys in memory."""
    weights = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1)
    return weights @ value


def linear_on_tokens(self, feature):
    """The embedding layer through ``nn.Linear``."""
    return to_map(self.proj(to_tokens(feature)), feature.shape[2:]).contiguous()


def as_published(network):
    """Let a network's modules compute as the published ones do."""
    for module in network.modules():
        if isinstance(module, EfficientAttention):
            module.attention = explicit_attention
        elif isinstance(module, ChannelLinear):
            module.forward = MethodType(linear_on_tokens, module)
    return network


class PublishedStep:
    """Carries out training steps with the state, options and draws of a :class:`DACS`."""

    def __init__(self, method, build_optimizer):
        self.method = method
        self.model = as_published(copy.deepcopy(method.model)).train()
        self.ema_model = copy.deepcopy(self.model).requires_grad_(False)
        teacher_mode(self.ema_model)
        self.imnet_model = copy.deepcopy(self.model).eval()
        self.optimizer = build_optimizer(self)

    def train_step(self, batch, step):
        """Carry out one iteration; return the losses by name."""
        method, img, label = self.method, batch['img'], batch['gt_semantic_seg']
        self._update_teacher(step.iteration)
        self.optimizer.zero_grad()

        features = []
        hook = self.model.backbone.register_forward_hook(lambda *args: features.extend(args[2]))
        with hook:
            losses = self.model.forward_train(img, batch['img_metas'], label)
        log_vars = self._backward(losses, retain_graph=True)
        distance = method.fd_lambda * self._distance(features[-1], img, label)
        log_vars |= self._backward({'src.loss_imnet_feat_dist': distance})

        with torch.no_grad():
            logits = self.ema_model.encode_decode(batch['target_img'], batch['target_img_metas'])
        confidence, pseudo_label = logits.softmax(dim=1).max(dim=1, keepdim=True)
        ratio = (confidence >= method.pseudo_threshold).float().mean()
        weight = pseudo_label_weights(pseudo_label, ratio, *method.ignore_rows)

        generators = step.image_generators('class_mix', len(img))
        mask = draw_class_masks(label, generators, self.model.num_classes + 1)
        mixed_img = torch.where(mask, img, batch['target_img'])
        mixed_img = method.augment(mixed_img, batch['img_metas'][0]['img_norm_cfg'], step)
        mixed_label = torch.where(mask, label, pseudo_label)
        with pixel_weights(self.model, torch.where(mask, torch.ones_like(weight), weight)):
            losses = self.model.forward_train(mixed_img, batch['target_img_metas'], mixed_label)
        log_vars |= self._backward({f'mix.{name}': loss for name, loss in losses.items()})
        self.optimizer.step()
        return log_vars

    def _backward(self, losses, **options):
        total = sum(loss.mean() for name, loss in losses.items() if 'loss' in name)
        log_vars = {name: loss.mean().item() for name, loss in losses.items()}
        total.backward(**options)
        return log_vars

    def _distance(self, student, img, label):
        with torch.no_grad():
            imagenet = self.imnet_model.extract_feat(img)[-1]
        size, method = student.shape[-2:], self.method
        small = downscale_label(label, size, method.fd_min_ratio, self.model.num_classes)
        return feature_distance(student, imagenet, torch.isin(small, method.fd_classes))

    @torch.no_grad()
    def _update_teacher(self, iteration):
        decay = min(1 - 1 / (iteration + 1), self.method.alpha)
        pairs = zip(self.ema_model.parameters(), self.model.parameters(), strict=True)
        for teacher, student in pairs:
            teacher.data[:] = decay * teacher + (1 - decay) * student
