"""Any hierarchical encoder of timm, with its levels at the strides 4, 8, 16 and 32.

MMSegmentation's `TIMMBackbone` loads weights while it is being built, half of them if need be, and
gives levels as timm has them: stride 2 among them, and channels last.
"""

import re

import timm
import torch
from mmcv.cnn import initialize

from mmseg.models.backbones.timm_backbone import TIMMBackbone
from mmseg.models.builder import BACKBONES
from mmseg.models.memory import in_format_of
from mmseg.models.weights import pretrained_init_cfg
from mmseg.utils.user_error import UserError

STRIDES = (4, 8, 16, 32)


@BACKBONES.register_module()
class TimmEncoder(TIMMBackbone):
    """An encoder of timm, by its name.

    Args:
        model_name: timm's, without the tag of its weights: 'convnext_tiny'.
        pretrained: a file of timm's own weights or an address, e.g. 'timm://convnext_tiny.fb_in1k',
            loaded by `init_weights()`; None keeps timm's random weights.
        init_cfg: mmcv's way to say the same.
        with_cp: timm's activation checkpointing: less memory, more time. The running statistics of
            BatchNorm, where an encoder has it, move twice per pass then.
        **kwargs: of the timm model, e.g. drop_path_rate=0.1.
    """

    def __init__(self, model_name, pretrained=None, init_cfg=None, with_cp=False, **kwargs):
        levels, channels = four_levels(model_name, kwargs)
        super().__init__(
            model_name,
            pretrained=False,
            init_cfg=pretrained_init_cfg(pretrained, init_cfg),
            out_indices=levels,
            **kwargs,
        )
        self.out_channels = channels
        if with_cp:
            self.timm_model.set_grad_checkpointing()
        self.model_name = model_name
        self.timm_options = kwargs
        self.channels_last = str(getattr(self.timm_model, 'output_fmt', '')).endswith('NHWC')

    def init_weights(self):
        """Load the weight file if there is one."""
        if self.init_cfg:
            initialize(self, self.init_cfg)
        self._is_init = True

    def convert_weights(self, weights):
        """Translate the names of timm's whole model, less what comes after the last level."""
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
        if self.channels_last:
            features = [feature.permute(0, 3, 1, 2) for feature in features]
        return [in_format_of(feature, img) for feature in features]


def four_levels(model_name, options):
    """Return the indices and channels of a timm model's levels at `STRIDES`; allocates nothing."""
    try:
        with torch.device('meta'):
            encoder = timm.create_model(model_name, pretrained=False, features_only=True, **options)
    except (RuntimeError, TypeError) as error:
        raise UserError(
            f'timm {timm.__version__} cannot build {model_name} as an encoder: {error}'
        ) from error
    strides = encoder.feature_info.reduction()
    if not set(STRIDES) <= set(strides):
        raise UserError(
            f'{model_name} has levels at the strides {strides}, and {list(STRIDES)} are needed: '
            'use a hierarchical encoder, e.g. one of ConvNeXt, PVTv2, Swin, EfficientNet'
        )
    channels = encoder.feature_info.channels()
    chosen = [strides.index(stride) for stride in STRIDES]
    return chosen, [channels[level] for level in chosen]


def name_of_level(name, children):
    """Return a name of timm's whole model as the encoder has it: 'stages_0' for 'stages.0'."""
    if children == ['model']:  # the whole model, cut off after the last level
        return f'model.{name}'
    for child in children:
        whole = re.sub(r'_(\d+)$', r'.\1', child)
        if name.startswith(f'{whole}.'):
            return child + name[len(whole) :]
    return name
