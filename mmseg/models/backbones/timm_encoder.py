"""Any hierarchical encoder of timm, with its levels at the strides 4, 8, 16 and 32.

MMSegmentation's `TIMMBackbone` loads weights over the network while it is being built, half of
them if need be, and hands on levels as timm has them: stride 2 among them, and channels last.
"""

import difflib
import logging
import re

import timm
import torch

from mmseg.models.backbones.timm_backbone import TIMMBackbone
from mmseg.models.builder import BACKBONES
from mmseg.utils.user_error import UserError
from mmseg.utils.weight_address import local_file
from mmseg.utils.weight_file import read_weights, require_fit

STRIDES = (4, 8, 16, 32)


@BACKBONES.register_module()
class TimmEncoder(TIMMBackbone):
    """An encoder of timm, by its name.

    Args:
        model_name: timm's, without the tag of its weights: 'convnext_tiny'.
        pretrained: a file of timm's own weights or an address, e.g. 'timm://convnext_tiny.fb_in1k',
            read by `init_weights()`; None keeps timm's random weights.
        init_cfg: MMSegmentation's way to say the same: dict(type='Pretrained', checkpoint=path).
        with_cp: the backward pass computes the layers once more instead of remembering what is in
            them (timm's `set_grad_checkpointing`): less memory, more time. The running statistics
            of BatchNorm, where an encoder has it, move twice per pass then.
        **kwargs: of the timm model, e.g. drop_path_rate=0.1.

    Raises:
        UserError: timm has no such model, or it has no levels at all four strides.
    """

    def __init__(self, model_name, pretrained=None, init_cfg=None, with_cp=False, **kwargs):
        levels, _ = four_levels(model_name, kwargs)
        super().__init__(model_name, pretrained=False, out_indices=levels, **kwargs)
        if with_cp:
            self.timm_model.set_grad_checkpointing()
        self.model_name = model_name
        self.timm_options = kwargs
        self.pretrained = pretrained or (init_cfg and init_cfg['checkpoint'])
        self.channels_last = str(getattr(self.timm_model, 'output_fmt', '')).endswith('NHWC')

    def init_weights(self):
        """Loads the weight file where there is one.

        Raises:
            UserError: the file cannot be had or read, or does not fit.
        """
        if self.pretrained is not None:
            self._load(read_weights(local_file(self.pretrained)))
            logging.getLogger('mmseg').info('%s: loaded %s', self.model_name, self.pretrained)
        self._is_init = True

    def _load(self, state):
        """All of the encoder's weights must be there, and nothing that timm's model has not."""
        children = [name for name, _ in self.timm_model.named_children()]
        state = {name_of_level(name, children): value for name, value in state.items()}
        wanted = self.timm_model.state_dict()
        with torch.device('meta'):
            whole = timm.create_model(self.model_name, pretrained=False, **self.timm_options)
        # The classifier and what else comes after the last level.
        left_over = {name_of_level(name, children) for name in whole.state_dict()} - set(wanted)
        state = {name: value for name, value in state.items() if name not in left_over}
        require_fit(self.model_name, wanted, state, self.pretrained)
        self.timm_model.load_state_dict(state)

    def forward(self, img):
        """Encodes images.

        Args:
            img: (batch, 3, height, width), normalised.

        Returns:
            Four contiguous maps (batch, channels, height / stride, width / stride).
        """
        features = self.timm_model(img)
        if self.channels_last:
            features = [feature.permute(0, 3, 1, 2) for feature in features]
        # A transposed view is a channels_last map, which slows down all that follows on a CPU.
        return [feature.contiguous() for feature in features]


def four_levels(model_name, options):
    """Asks timm which of a model's levels have the strides 4, 8, 16 and 32; allocates nothing.

    Args:
        model_name: timm's.
        options: dict of the timm model's other arguments.

    Returns:
        Indices of the four levels and their channels, two lists.

    Raises:
        UserError: there is no such model, it takes no such argument, or lacks one of the strides.
    """
    if not timm.is_model(model_name):
        close = difflib.get_close_matches(model_name, timm.list_models(), n=3)
        hint = f'; like it are {", ".join(close)}' if close else ''
        raise UserError(f'timm {timm.__version__} has no model {model_name}{hint}')
    try:
        with torch.device('meta'):
            encoder = timm.create_model(model_name, pretrained=False, features_only=True, **options)
    except (RuntimeError, TypeError) as error:
        raise UserError(f'timm cannot build {model_name} as an encoder: {error}') from error
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
    """A name of timm's whole model as the encoder has it: there 'stages.0' is a child 'stages_0'.

    Args:
        name: of a weight.
        children: names of the encoder's children.
    """
    if children == ['model']:  # the whole model, cut off after the last level
        return f'model.{name}'
    for child in children:
        whole = re.sub(r'_(\d+)$', r'.\1', child)
        if name.startswith(f'{whole}.'):
            return child + name[len(whole) :]
    return name
