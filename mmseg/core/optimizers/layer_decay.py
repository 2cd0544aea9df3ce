"""Learning rates that fall layer by layer from an encoder's last block to its stem.

Source: BEiT (Bao et al., ICLR 2022), as VFM-UDA++ uses it. timm says what the layers are.
"""

from itertools import chain

import timm
import torch
from mmcv.runner import OPTIMIZER_BUILDERS, DefaultOptimizerConstructor
from timm.models._manipulate import group_with_matcher

from mmseg.models.adapters.base import is_of_adapter
from mmseg.models.backbones.timm_encoder import name_of_level
from mmseg.utils.user_error import UserError


@OPTIMIZER_BUILDERS.register_module()
class LayerDecay(DefaultOptimizerConstructor):
    """Builds an optimizer with a rate for each layer of an encoder of timm.

    With L blocks, block k (from 0) has the rate lr * encoder_lr_mult * layer_decay^(L - 1 - k), the
    stem (patch embedding, positions, class, register and mask tokens) and, as in VFM-UDA, the final
    norm lr * encoder_lr_mult * layer_decay^L. Heads, necks and adapters have lr. Frozen weights are
    left out.

    Options (`paramwise_cfg`):
        encoder_lr_mult (float): The last block's rate, relative to the head's.
        layer_decay (float): Factor from one layer to the one before; 1 for one rate.
        no_weight_decay (bool): No weight decay for what timm names (tokens, positions). The default
            decays all weights, as VFM-UDA does.
        custom_keys (dict): As in mmcv, {part of a name: dict(lr_mult=..., decay_mult=...)}, of
            which the longest decides. Without lr_mult the layer's rate stays.
    """

    def __init__(self, optimizer_cfg, paramwise_cfg=None):
        super().__init__(optimizer_cfg, paramwise_cfg)
        for key in ('encoder_lr_mult', 'layer_decay'):
            if key not in self.paramwise_cfg:
                raise UserError(f'optimizer.paramwise_cfg.{key} is missing, which LayerDecay needs')
        self._set_options(**self.paramwise_cfg)

    def _set_options(self, encoder_lr_mult, layer_decay, no_weight_decay=False, custom_keys=None):
        self.encoder_lr_mult = encoder_lr_mult
        self.layer_decay = layer_decay
        self.no_weight_decay = no_weight_decay
        self.custom_keys = custom_keys or {}

    def add_params(self, params, module, **kwargs):
        """Append a group for each trainable weight of a segmentor to `params`."""
        layers, exempt = encoder_layers(module.backbone)
        last = max(layers.values())
        for name, weight in module.named_parameters():
            if not weight.requires_grad:
                continue
            custom = self._custom_options(name)
            rate, decay = custom.get('lr_mult'), custom.get('decay_mult', 1.0)
            inside = name.removeprefix('backbone.')
            if rate is None and (inside == name or is_of_adapter(inside)):
                rate = 1.0
            elif rate is None:
                if inside not in layers:
                    raise UserError(
                        f'{name} is in no layer of the encoder, so optimizer.paramwise_cfg has to '
                        'say its rate: custom_keys={PART_OF_ITS_NAME: dict(lr_mult=...)}'
                    )
                rate = self.encoder_lr_mult * self.layer_decay ** (last - layers[inside])
            if self.no_weight_decay and inside in exempt:
                decay = 0.0
            group = {'params': [weight], 'lr': self.base_lr * rate}
            if self.base_wd is not None or decay == 0:
                group['weight_decay'] = (self.base_wd or 0.0) * decay
            params.append(group)

    def _custom_options(self, name):
        keys = [key for key in self.custom_keys if key in name]
        return self.custom_keys[max(keys, key=len)] if keys else {}


def encoder_layers(encoder):
    """Return the layer of each weight, 0 for the stem, and the weights that timm does not decay.

    timm knows the layers of a whole model. The feature extractor that it makes of a hierarchical
    one has other names.
    """
    if not hasattr(encoder, 'timm_model'):
        raise UserError(
            "optimizer.constructor='LayerDecay' needs an encoder of timm (TimmEncoder, TimmViT), "
            f'not {type(encoder).__name__}: leave it and paramwise_cfg out'
        )
    whole, children = encoder.timm_model, []
    if not hasattr(whole, 'group_matcher'):
        children = [name for name, _ in whole.named_children()]
        with torch.device('meta'):
            whole = timm.create_model(encoder.model_name, **encoder.timm_options)
    # timm puts what no pattern matches (classifiers) into a layer after the last.
    named = chain(whole.named_parameters(), [('unmatched', None)])
    layers = group_with_matcher(named, whole.group_matcher(coarse=False), reverse=True)
    unmatched = layers.pop('unmatched')
    layers = {name: layer for name, layer in layers.items() if layer != unmatched}
    layers |= {name: 0 for name in layers if name.startswith('norm.')}
    exempt = whole.no_weight_decay() if hasattr(whole, 'no_weight_decay') else ()

    def own_name(name):
        return f'timm_model.{name_of_level(name, children)}'

    present = dict(encoder.named_parameters())
    layers = {own_name(name): layer for name, layer in layers.items()}
    layers = {name: layer for name, layer in layers.items() if name in present}
    return {**layers, 'mask_token': 0}, {own_name(name) for name in exempt}
