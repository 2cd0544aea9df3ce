"""The channels that heads and necks get: `in_channels='from_encoder'`, `embed_dim='from_encoder'`.

An encoder whose type alone fixes its channels (a class with `out_channels`: MiT) decides whatever
the config says, so that another size of it needs no more than another `backbone.type`.
"""

import torch

from mmseg.models.builder import BACKBONES, build_backbone, build_neck
from mmseg.utils.user_error import UserError


def encoder_channels(backbone):
    """Return the channels of an encoder's levels, finest first; allocates nothing."""
    kind = backbone['type']
    backbone = {key: value for key, value in backbone.items() if key != 'adapt'}  # changes none
    if hasattr(BACKBONES.get(kind), 'out_channels'):
        return list(BACKBONES.get(kind).out_channels)
    try:
        with torch.device('meta'):
            encoder = build_backbone(backbone)
            if isinstance(getattr(encoder, 'out_channels', None), list):
                return encoder.out_channels
            encoder.eval()
            return [feature.shape[1] for feature in encoder(torch.empty(1, 3, 128, 128))]
    except RuntimeError as error:  # some need real memory to be built
        raise UserError(
            f"in_channels='from_encoder' cannot be used with {kind} ({error}): mend its options "
            'or write the channels of its levels'
        ) from error


def level_channels(model):
    """Return the channels of the levels that heads get: behind the neck, if there is one."""
    channels = encoder_channels(model['backbone'])
    if model.get('neck') is None:
        return channels
    with torch.device('meta'):
        sides = [2 ** max(0, 5 - level) for level in range(len(channels))]
        features = [torch.empty(1, c, s, s) for c, s in zip(channels, sides, strict=True)]
        neck = build_neck(dict(model['neck'])).eval()  # while training SyncBN wants a GPU
        return [feature.shape[1] for feature in neck(features)]


def fill_in_channels(model):
    """Write the channels into the heads of a config; `c1_in_channels` are the finest level's.

    A neck's `embed_dim` is the width of a plain ViT, all of whose levels have it.
    """
    backbone, neck = model.get('backbone'), model.get('neck') or {}
    if neck.get('embed_dim') == 'from_encoder':
        neck['embed_dim'] = encoder_channels(backbone)[-1]
    kind = backbone.get('type') if isinstance(backbone, dict) else None
    is_fixed = kind is not None and hasattr(BACKBONES.get(kind), 'out_channels')
    for head in head_configs(model):
        for key, index in (('in_channels', head.get('in_index', -1)), ('c1_in_channels', 0)):
            if head.get(key) == 'from_encoder' or (is_fixed and key in head):
                channels = level_channels(model)
                many = isinstance(index, list | tuple)
                head[key] = [channels[i] for i in index] if many else channels[index]


def last_head(model):
    """Return the config of the decode head that predicts: the last one of a cascade."""
    head = model['decode_head']
    return head[-1] if isinstance(head, list) else head


def head_configs(model):
    """Return the configs of all decode and auxiliary heads of a segmentor's config."""
    parts = [model.get('decode_head'), model.get('auxiliary_head')]
    parts = [head for part in parts for head in (part if isinstance(part, list) else [part])]
    return [head for head in parts if isinstance(head, dict)]
