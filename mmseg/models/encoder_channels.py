"""`in_channels='from_encoder'`: the decode head's channels, looked up in the encoder."""

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
        for name in ('pretrained', 'init_cfg'):
            options.pop(name, None)
        return four_levels(options.pop('model_name'), options)[1]
    channels = getattr(BACKBONES.get(kind), 'embed_dims', None)
    if channels is None:
        raise UserError(
            f"in_channels='{FROM_ENCODER}' is for TimmEncoder and mit_b0 to mit_b5; for {kind} "
            'write the channels of its levels.'
        )
    return list(channels)


def fill_in_channels(model):
    """Replaces 'from_encoder' in the heads of a segmentor's config by the numbers, in place.

    A head with several `in_index` gets a channel count for each.
    """
    heads = [model.decode_head]
    auxiliary = model.get('auxiliary_head') or []
    heads += auxiliary if isinstance(auxiliary, list) else [auxiliary]
    for head in heads:
        if head.get('in_channels') != FROM_ENCODER:
            continue
        channels, index = encoder_channels(model.backbone), head.get('in_index', -1)
        many = isinstance(index, list | tuple)
        head.in_channels = [channels[i] for i in index] if many else channels[index]
