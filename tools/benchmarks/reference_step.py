"""A training step done plainly, as published DAFormer code does it: what our step is compared with.

The arithmetic is that of `DACS` (a test holds it); the way there is not: source loss and feature
distance go backward one after the other, attention matrices are written out, teacher and frozen
network keep the graphs that nothing needs, the frozen network is a whole segmentor whose head runs,
and maps go through `nn.Linear` as tokens.
"""

import copy

import torch
from torch import nn

from mmseg.models.backbones.mix_transformer import EfficientAttention, to_map, to_tokens
from mmseg.models.decode_heads.decoder_layers import ChannelLinear
from mmseg.models.uda.class_mix import draw_class_masks
from mmseg.models.uda.feature_distance import downscale_label, feature_distance
from mmseg.models.uda.pixel_weights import pixel_weights
from mmseg.models.uda.teacher import pseudo_label_weights, teacher_mode


class ExplicitAttention(nn.Module):
    """The attention of MiT with its matrix of queries × keys in memory."""

    def __init__(self, attention):
        super().__init__()
        self.__dict__.update(attention.__dict__)

    def forward(self, tokens, size):
        reduced = tokens
        if self.reduction > 1:
            reduced = self.norm(to_tokens(self.sr(to_map(tokens, size))))
        query = self.q(tokens).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        key_value = self.kv(reduced).unflatten(2, (2, self.num_heads, -1))
        key, value = key_value.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1)
        return self.proj((weights @ value).transpose(1, 2).flatten(2))


class LinearOnTokens(nn.Module):
    """The `mlp` layer through `nn.Linear`: its output is a transposed view of the tokens."""

    def __init__(self, layer):
        super().__init__()
        self.proj = layer.proj

    def forward(self, feature):
        return to_map(self.proj(to_tokens(feature)), feature.shape[2:])


_PLAIN = {EfficientAttention: ExplicitAttention, ChannelLinear: LinearOnTokens}


def make_plain(network):
    """Put the plain modules in the place of ours; parameters and state-dict names stay."""
    for name, child in network.named_children():
        plain = _PLAIN.get(type(child))
        if plain is None:
            make_plain(child)
        else:
            setattr(network, name, plain(child))
    return network


class ReferenceStep:
    """Carries out training steps; the state and the draws are those of a `DACS`.

    Args:
        method (DACS): with feature distance on things; its networks are copied, its options read.
        optimizer (Callable): makes the optimizer of a module with the student as `model`.
    """

    def __init__(self, method, build_optimizer):
        self.method = method
        self.model = make_plain(copy.deepcopy(method.model)).train()
        self.ema_model = copy.deepcopy(self.model)
        teacher_mode(self.ema_model)
        self.imnet_model = copy.deepcopy(self.model).eval()
        self.optimizer = build_optimizer(self)

    def step(self, img, img_metas, gt_semantic_seg, target_img, target_img_metas, step):
        """One iteration; returns the logged losses as `DACS.train_step` does."""
        method = self.method
        self._update_teacher(step.iteration)
        self.optimizer.zero_grad()

        features = self.model.extract_feat(img)
        losses = self.model._decode_head_forward_train(features, img_metas, gt_semantic_seg)
        source, log_vars = self.model._parse_losses(losses)
        source.backward(retain_graph=True)

        distance = method.fd_lambda * self._distance(features, img, gt_semantic_seg)
        log_vars['src.loss_imnet_feat_dist'] = distance.item()
        distance.backward()

        logits = self.ema_model.encode_decode(target_img, target_img_metas).detach()
        confidence, label = logits.softmax(dim=1).max(dim=1, keepdim=True)
        share = (confidence >= method.pseudo_threshold).float().mean()
        weight = pseudo_label_weights(label, share, *method.ignore_rows)

        generators = step.image_generators('class_mix', len(img))
        mask = draw_class_masks(gt_semantic_seg, generators, self.model.num_classes + 1)
        mixed_img = torch.where(mask, img, target_img)
        mixed_img = method.augment(mixed_img, img_metas[0]['img_norm_cfg'], step)
        mixed_label = torch.where(mask, gt_semantic_seg, label)
        with pixel_weights(self.model, torch.where(mask, torch.ones_like(weight), weight)):
            losses = self.model.forward_train(mixed_img, target_img_metas, mixed_label)
        mixed, mixed_vars = self.model._parse_losses(losses)
        log_vars |= {f'mix.{name}': value for name, value in mixed_vars.items()}
        mixed.backward()
        self.optimizer.step()
        return log_vars

    def _distance(self, features, img, label):
        frozen = self.imnet_model.extract_feat(img)
        self.imnet_model.decode_head(frozen)
        imagenet, student = frozen[-1].detach(), features[-1]
        size = student.shape[-2:]
        small = downscale_label(label, size, self.method.fd_min_ratio, self.model.num_classes)
        things = torch.isin(small, self.method.fd_classes)
        return feature_distance(student, imagenet, things)

    @torch.no_grad()
    def _update_teacher(self, iteration):
        decay = min(1 - 1 / (iteration + 1), self.method.alpha)
        pairs = zip(self.ema_model.parameters(), self.model.parameters(), strict=True)
        for teacher, student in pairs:
            teacher.data[:] = decay * teacher + (1 - decay) * student
