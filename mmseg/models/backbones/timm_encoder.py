"""Any hierarchical encoder of timm, with its levels at the strides 4, 8, 16 and 32.

MMSegmentation's `TIMMBackbone` has all of timm's levels, and may load half of a weight file.
"""

import re

import timm
import torch

from mmseg.models.adapters.base import AdaptedEncoder
from mmseg.models.backbones.timm_backbone import TIMMBackbone
from mmseg.models.builder import BACKBONES
from mmseg.models.memory import in_format_of
from mmseg.models.weights import pretrained_init_cfg
from mmseg.utils.user_error import UserError

STRIDES = (4, 8, 16, 32)


@BACKBONES.register_module()
class TimmEncoder(AdaptedEncoder, TIMMBackbone):
    """An encoder of timm, by its name.

    Args:
        model_name: timm's, without the tag of its weights: 'convnext_tiny'.
        pretrained: a file of timm's own weights or an address, 'timm://convnext_tiny.fb_in1k';
            None keeps timm's random weights.
        with_cp: timm's activation checkpointing; BatchNorm's running statistics move twice then.
        adapt: an adapter, all that is trained: dict(type='LoRA') or 'SoMA', with the options of
            that class in mmseg/models/adapters.
        **kwargs: of the timm model, e.g. drop_path_rate=0.1.
    """

    def __init__(
        self, model_name, pretrained=None, init_cfg=None, with_cp=False, adapt=None, **kwargs
    ):  # fmt: skip
        init_cfg = pretrained_init_cfg(pretrained, init_cfg)
        super().__init__(model_name, pretrained=False, init_cfg=init_cfg, **kwargs)
        self.model_name = model_name
        self.timm_options = kwargs
        if with_cp:
            # Of some models (Hiera) timm's feature extractor only wraps the whole one.
            getattr(self.timm_model, 'model', self.timm_model).set_grad_checkpointing()
        info = self.timm_model.feature_info
        if not set(STRIDES) <= set(info.reduction()):
            raise UserError(
                f'{model_name} has levels at the strides {info.reduction()}, and {STRIDES} are '
                'needed: use a hierarchical encoder, e.g. a ConvNeXt, PVTv2, Swin or EfficientNet, '
                "or type='TimmViT' for a plain ViT"
            )
        self.levels = [info.reduction().index(stride) for stride in STRIDES]
        self.out_channels = [info.channels()[level] for level in self.levels]
        self.channels_last = str(getattr(self.timm_model, 'output_fmt', '')).endswith('NHWC')
        self.adapt(adapt)

    def convert_weights(self, weights):
        """Translate the names of timm's whole model, less what comes after the last level."""
        if any(name.startswith('timm_model.') for name in weights):  # a checkpoint of ours
            return weights
        children = [name for name, _ in self.timm_model.named_children()]
        with torch.device('meta'):
            whole = timm.create_model(self.model_name, pretrained=False, **self.timm_options)
        own = self.timm_model.state_dict()
        left_out = {name_of_level(name, children) for name in whole.state_dict()} - set(own)
        converted = {name_of_level(name, children): value for name, value in weights.items()}
        return {f'timm_model.{n}': value for n, value in converted.items() if n not in left_out}

    def forward(self, img):
        """Return four maps (batch, out_channels[i], height / stride, width / stride)."""
        features = self.timm_model(img)
        features = [features[level] for level in self.levels]
        if self.channels_last:
            features = [feature.permute(0, 3, 1, 2) for feature in features]
        return [in_format_of(feature, img) for feature in features]


def name_of_level(name, children):
    """Return a name of timm's whole model as the encoder has it: 'stages_0' for 'stages.0'."""
    if children == ['model']:  # the whole model, cut off after the last level
        return f'model.{name}'
    for child in children:
        whole = re.sub(r'_(\d+)$', r'.\1', child)
        if name.startswith(f'{whole}.'):
            return child + name[len(whole) :]
    return name
