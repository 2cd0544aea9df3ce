"""The networks of configs/_base_/models, with the values of the paper and its ablations."""

from pathlib import Path

import mmcv
import pytest

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
MODELS = (
    *('daformer_conv1_mitb5', 'daformer_sepaspp_mitb5', 'daformer_aspp_mitb5'),
    *('daformer_isa_mitb5', 'daformer_sepaspp_bottleneck_mitb5', 'segformer_b5'),
    *('segformer_r101', 'upernet_mit', 'upernet_ch256_mit', 'deeplabv2_r50-d8'),
    *('deeplabv2red_r50-d8', 'deeplabv3plus_r50-d8', 'danet_r50-d8', 'isanet_r50-d8'),
)


def load_model(name):
    return mmcv.Config.fromfile(str(CONFIGS / f'_base_/models/{name}.py')).model


@pytest.mark.parametrize('name', MODELS)
def test_models_are_plain_encoder_decoders_of_19_classes(name):
    model = load_model(name)
    assert model.type == 'EncoderDecoder'
    assert model.decode_head.num_classes == 19
    assert model.decode_head.align_corners is False
    assert model.get('auxiliary_head') is None
    assert model.test_cfg == dict(mode='whole')
    has_params = model.decode_head.type in ('DAFormerHead', 'SegFormerHead')
    assert ('decoder_params' in model.decode_head) == has_params


HEADS = {
    'segformer_b5': dict(channels=128, decoder_params=dict(embed_dims=768, conv_kernel_size=1)),
    'segformer_r101': dict(channels=128, decoder_params=dict(embed_dims=768, conv_kernel_size=1)),
    'upernet_mit': dict(type='UPerHead', channels=512, pool_scales=(1, 2, 3, 6)),
    'upernet_ch256_mit': dict(type='UPerHead', channels=256, pool_scales=(1, 2, 3, 6)),
    'deeplabv2_r50-d8': dict(type='DLV2Head', dilations=(6, 12, 18, 24)),
    'deeplabv2red_r50-d8': dict(type='DLV2Head', dilations=(6, 12)),
    'deeplabv3plus_r50-d8': dict(
        type='DepthwiseSeparableASPPHead',
        channels=512,
        dilations=(1, 12, 24, 36),
        c1_in_channels=256,
        c1_channels=48,
    ),
    'danet_r50-d8': dict(type='DAHead', channels=512, pam_channels=64),
    'isanet_r50-d8': dict(type='ISAHead', channels=512, isa_channels=256, down_factor=(8, 8)),
}


@pytest.mark.parametrize('name', HEADS)
def test_other_heads(name):
    model = load_model(name)
    assert {key: model.decode_head[key] for key in HEADS[name]} == HEADS[name]
    if model.backbone.type == 'ResNetV1c':  # output stride 8
        assert model.backbone.strides == (1, 2, 1, 1)
        assert model.backbone.dilations == (1, 1, 2, 4)


NORM_AND_ACT = dict(act_cfg=dict(type='ReLU'), norm_cfg=dict(type='BN', requires_grad=True))
ASPP = dict(type='aspp', sep=True, dilations=(1, 6, 12, 18), pool=False, **NORM_AND_ACT)
CONV1 = dict(type='conv', kernel_size=1, **NORM_AND_ACT)
ISA = dict(type='isa', isa_channels=256, key_query_num_convs=1, down_factor=(8, 8), **NORM_AND_ACT)


@pytest.mark.parametrize(
    ('name', 'fusion', 'deepest'),
    [
        ('sepaspp', ASPP, dict(type='mlp')),
        ('aspp', dict(ASPP, sep=False), dict(type='mlp')),
        ('conv1', CONV1, dict(type='mlp')),
        ('isa', ISA, dict(type='mlp')),
        ('sepaspp_bottleneck', CONV1, dict(ASPP, type='rawconv_and_aspp', kernel_size=1)),
    ],
)
def test_daformer_and_its_ablations(name, fusion, deepest):
    model = load_model(f'daformer_{name}_mitb5')
    assert model.decode_head.channels == 256
    assert model.decode_head.decoder_params == dict(
        embed_dims=256,
        embed_cfg=dict(type='mlp'),
        embed_neck_cfg=deepest,
        fusion_cfg=fusion,
    )
    adapter = dict(type='SegFormerAdapter', scales=[8]) if name.endswith('bottleneck') else None
    assert model.get('neck') == adapter
