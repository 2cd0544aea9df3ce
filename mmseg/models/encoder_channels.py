"""The channels that decode heads get, looked up in the encoder.

A config asks for them with `in_channels='from_encoder'`. Those of a MiT are filled in whatever the
config says, so that another size of it needs no more than another `backbone.type`.
"""

from mmseg.models.backbones.timm_encoder import four_levels
from mmseg.models.builder import BACKBONES
from mmseg.utils.user_error import UserError

FROM_ENCODER = 'from_encoder'


def encoder_channels(backbone):
    """Returns the channels of the levels of an encoder, finest first.

    Args:
        backbone: its config.

    Raises:
        UserError: it is neither a MiT nor one of timm's, or timm cannot build it.
    """
    options = dict(backbone)
    kind = options.pop('type')
    if kind == 'TimmEncoder':
        for name in ('pretrained', 'init_cfg', 'with_cp'):
            options.pop(name, None)
        if 'model_name' not in options:
            raise UserError('model.backbone: TimmEncoder needs model_name')
        return four_levels(options.pop('model_name'), options)[1]
    channels = mit_channels(kind)
    if channels is None:
        raise UserError(
            f"in_channels='{FROM_ENCODER}' is for TimmEncoder and mit_b0 to mit_b5; for {kind} "
            'write the channels of its levels.'
        )
    return list(channels)


def mit_channels(kind):
    """Returns the channels of a MiT's levels, None for any other type of encoder."""
    return getattr(BACKBONES.get(kind), 'embed_dims', None)


def last_head(model):
    """Returns the config of the decode head that predicts: the last one of a cascade."""
    head = model['decode_head']
    return head[-1] if isinstance(head, list) else head


def head_configs(model):
    """Returns the configs of all decode and auxiliary heads of a segmentor's config."""
    parts = [model.get('decode_head'), model.get('auxiliary_head')]
    parts = [head for part in parts for head in (part if isinstance(part, list) else [part])]
    return [head for head in parts if isinstance(head, dict)]


def fill_in_channels(model):
    """Writes the channels into the heads of a segmentor's config, in place.

    A head with several `in_index` gets a channel count for each; `c1_in_channels` (DeepLabV3+) is
    of the finest level. Behind a neck other than SegFormerAdapter the config's numbers stay.
    """
    neck, backbone = model.get('neck'), model.get('backbone')
    is_mit = isinstance(backbone, dict) and mit_channels(backbone.get('type')) is not None
    is_known = is_mit and (neck is None or neck.type == 'SegFormerAdapter')
    for head in head_configs(model):
        for key, index in (('in_channels', head.get('in_index', -1)), ('c1_in_channels', 0)):
            if head.get(key) == FROM_ENCODER or (is_known and key in head):
                channels = level_channels(backbone, neck)
                many = isinstance(index, list | tuple)
                head[key] = [channels[i] for i in index] if many else channels[index]


def level_channels(backbone, neck):
    """Returns the channels of the levels that heads get: an adapter replaces the last one."""
    channels = encoder_channels(backbone)
    if neck is not None and neck.type == 'SegFormerAdapter':
        channels[-1] = sum(channels[level] for level in neck.get('out_layers', [3]))
    return channels
