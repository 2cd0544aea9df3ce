"""What the parts of a run's name stand for: encoders, architectures, ways of training, data sets.

Plain Python without imports of torch or mmcv, so that listing experiments is instant.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Encoder:
    """An encoder: its family (what it can be combined with), weights and backbone settings."""

    family: str
    pretrained: str
    backbone: dict


def cnn(weights, **backbone):
    """Returns a CNN at output stride 8; the settings change those of the base's ResNet."""
    return Encoder('cnn', f'open-mmlab://{weights}', backbone)


def mit(size, family='mit', **backbone):
    """Returns MiT-B0 to B5."""
    return Encoder(family, f'pretrained/mit_b{size}.pth', {**backbone, 'type': f'mit_b{size}'})


RESNEXT = {'type': 'ResNeXt', 'groups': 32, 'base_width': 4}
RESNEST = {'type': 'ResNeSt', 'radix': 2, 'reduction_factor': 4, 'avg_down_stride': True}

ENCODERS = {
    'r50v1c': cnn('resnet50_v1c', depth=50),
    'r101v1c': cnn('resnet101_v1c', depth=101),
    'x50-32': cnn('resnext50_32x4d', **RESNEXT, depth=50),
    'x101-32': cnn('resnext101_32x4d', **RESNEXT, depth=101),
    's50': cnn('resnest50', **RESNEST, depth=50, stem_channels=64),
    's101': cnn('resnest101', **RESNEST, depth=101, stem_channels=128),
    's200': cnn('resnest200', **RESNEST, depth=200, stem_channels=128),
    **{f'mitb{size}': mit(size) for size in range(6)},
    # In place of a CNN, whose backbone settings they replace whole.
    **{f'mitb{size}-del': mit(size, 'mit-del', _delete_=True) for size in range(6)},
}


@dataclass(frozen=True)
class Architecture:
    """A decoder: its file in _base_/models for each encoder family, and what changes in it."""

    files: dict
    decode_head: dict = field(default_factory=dict)
    neck: dict | None = None


NO_DECODER_BN = {'norm_cfg': None}
# Brings the last MiT map (512 channels, stride 32) to the stride 8 of the CNNs.
ADAPTER = {'type': 'SegFormerAdapter', 'out_layers': [3], 'scales': [4]}

ARCHITECTURES = {
    'dlv2red': Architecture({'cnn': 'deeplabv2red_r50-d8'}),
    'da_nodbn': Architecture({'cnn': 'danet_r50-d8'}, NO_DECODER_BN),
    'isa_nodbn': Architecture({'cnn': 'isanet_r50-d8'}, NO_DECODER_BN),
    'dlv3p_nodbn': Architecture({'cnn': 'deeplabv3plus_r50-d8'}, NO_DECODER_BN),
    'sfa_dlv3p_nodbn': Architecture(
        {'mit-del': 'deeplabv3plus_r50-d8'},
        {**NO_DECODER_BN, 'in_channels': 512, 'c1_in_channels': 64},
        ADAPTER,
    ),
    'segformer': Architecture({'mit': 'segformer_b5', 'cnn': 'segformer_r101'}),
    'upernet': Architecture({'mit': 'upernet_mit'}),
    'upernet_ch256': Architecture({'mit': 'upernet_ch256_mit'}),
    'daformer_conv1': Architecture({'mit': 'daformer_conv1_mitb5'}),
    'daformer_isa': Architecture({'mit': 'daformer_isa_mitb5'}),
    'daformer_sepaspp_bottleneck': Architecture({'mit': 'daformer_sepaspp_bottleneck_mitb5'}),
    'daformer_aspp': Architecture({'mit': 'daformer_aspp_mitb5'}),
    'daformer_sepaspp': Architecture({'mit': 'daformer_sepaspp_mitb5'}),
}


@dataclass(frozen=True)
class Method:
    """A way of training.

    Args:
        uda: a file of _base_/uda, or 'source-only' or 'target-only', which are supervised.
        rcs: temperature of rare class sampling, None for none.
        cpl: whether pseudo-labels get no weight at the top and bottom of the image.
    """

    uda: str
    rcs: float | None = None
    cpl: bool = False

    @property
    def supervised(self):
        return self.uda in ('source-only', 'target-only')

    @property
    def name(self):
        rcs = '' if self.rcs is None else f'_rcs{self.rcs}'
        return self.uda + rcs + ('_cpl' if self.cpl else '')


# Source and target → the file of _base_/datasets for each kind of training.
DATASETS = {
    ('gta', 'cityscapes'): {
        'uda': 'uda_gta_to_cityscapes_512x512',
        'source-only': 'gta_to_cityscapes_512x512',
        'target-only': 'cityscapes_half_512x512',
    },
    ('synthia', 'cityscapes'): {
        'uda': 'uda_synthia_to_cityscapes_512x512',
        'target-only': 'cityscapes_half_512x512',
    },
    ('cityscapes', 'acdc'): {'uda': 'uda_cityscapes_to_acdc_512x512'},
    ('cityscapes', 'darkzurich'): {'uda': 'uda_cityscapes_to_darkzurich_512x512'},
}
SHORT_NAMES = {'cityscapes': 'cs', 'synthia': 'syn', 'darkzurich': 'dzur'}


def look_up(table, name, what):
    """Returns the entry; raises ValueError, with the list of what exists, where there is none."""
    if name not in table:
        known = ', '.join('2'.join(key) if isinstance(key, tuple) else str(key) for key in table)
        name = '2'.join(name) if isinstance(name, tuple) else name
        raise ValueError(f'unknown {what} {name}; there are: {known}')
    return table[name]
