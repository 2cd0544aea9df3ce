"""Heads and necks of vision foundation models equal the golden arrays of the published code."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn

import mmseg  # noqa: F401  (registers the networks)
from mmseg.engine.checks.errors import config_errors
from mmseg.models import build_head
from mmseg.models.builder import BACKBONES, build_neck
from mmseg.models.encoder_channels import fill_in_channels
from mmseg.models.memory import is_channels_last
from mmseg.models.training_pass import pixel_weights
from mmseg.utils.user_error import UserError
from tests.golden.fill import array_for, fill

GOLDEN = Path(__file__).parent / 'golden' / 'foundation'
LEVELS = [0, 1, 2, 3]


def head(kind, width=96, **options):
    """A head on an encoder of this width, of one or four levels."""
    levels = {} if kind == 'VFMHead' else {'in_index': LEVELS}
    channels = [width] * 4 if levels else width
    return build_head(dict(type=kind, in_channels=channels, num_classes=19, **levels, **options))


def published(network):
    """The parts of a head under their published names."""
    return nn.ModuleDict({'upscale': network.upscale, 'out': network.conv_seg})


def names_and_shapes(module):
    return {name: list(value.shape) for name, value in module.state_dict().items()}


def golden_keys(file):
    return json.loads((GOLDEN / file).read_text())


def tensor(name, shape):
    return torch.from_numpy(array_for(name, shape))


def assert_equal(found, expected, tolerance=1e-5):
    found = found.detach().numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def pyramid_levels(requires_grad=False):
    """Four maps of the strides 4, 8, 16 and 32."""
    shapes = [(2, 96, 3 * side, 4 * side) for side in (8, 4, 2, 1)]
    named = enumerate(shapes)
    return [tensor(f'level{i}', shape).requires_grad_(requires_grad) for i, shape in named]


def test_vfm_head_equals_golden_arrays():
    golden = np.load(GOLDEN / 'vfm_head.npz')
    network = head('VFMHead')
    parts = fill(published(network))
    assert names_and_shapes(parts) == golden_keys('vfm_keys.json')['vfm_head']
    feature = tensor('feature', (2, 96, 5, 7)).requires_grad_()
    logits = network([feature])
    assert_equal(logits, golden['logits'])
    (logits * tensor('grad', logits.shape)).sum().backward()
    assert_equal(feature.grad, golden['feature_grad'], 1e-4)


def test_pyramid_head_equals_golden_arrays():
    golden = np.load(GOLDEN / 'pyramid_head.npz')
    network = head('VFMPyramidHead')
    parts = fill(published(network))
    assert names_and_shapes(parts) == golden_keys('vfmpp_keys.json')['pyramid_head']
    levels = pyramid_levels(requires_grad=True)
    logits = network.eval()(levels)
    assert_equal(logits[:, ::2], golden['eval_logits'])
    (logits * tensor('grad', logits.shape)).sum().backward()
    for i, (level, step) in enumerate(zip(levels, (16, 8, 4, 2), strict=True)):
        assert_equal(level.grad[:, ::step], golden[f'grad_level{i}'], 1e-4)
    assert_equal(network.train()(levels)[:, ::2], golden['train_logits'])
    for i in (1, 2, 3):
        norm = getattr(network.upscale, f'norm{i}')
        assert_equal(norm.running_mean, golden[f'after_norm{i}_running_mean'])
        assert_equal(norm.running_var, golden[f'after_norm{i}_running_var'])


@pytest.mark.parametrize('key', ['dinov2', 'dinov3'])
def test_feature2pyramid_on_levels_of_timm(key):
    golden, case = np.load(GOLDEN / 'pyramid.npz'), golden_keys('pyramid.json')[key]
    encoder = timm.create_model(case['timm_model'], num_classes=0, **case['options']).eval()
    fill(nn.ModuleDict({'timm_model': encoder}))
    neck = build_neck(dict(type='Feature2Pyramid', embed_dim=96, norm_cfg=dict(type='BN')))
    fill(neck.eval())
    with torch.no_grad():
        levels = encoder.forward_intermediates(
            tensor(f'pyramid_img_{key}', case['image']),
            indices=case['indices'],
            norm=True,
            intermediates_only=True,
        )
        pyramid = neck(levels)
    assert [list(level.shape) for level in pyramid] == case['pyramid_shapes']
    assert_equal(torch.stack(levels)[:, :, ::12], golden[f'{key}_levels'])
    for i, (level, step) in enumerate(zip(pyramid, (24, 16, 12, 6), strict=True)):
        assert_equal(level[:, ::step], golden[f'{key}_pyramid{i}'])


def test_bilinear_pyramid_equals_golden_arrays():
    golden = np.load(GOLDEN / 'rein.npz')  # of whose maps every other channel is stored
    pyramid = build_neck(dict(type='BilinearPyramid'))(list(torch.from_numpy(golden['raw'])))
    for i, (level, step) in enumerate(zip(pyramid, (12, 6, 4, 2), strict=True)):
        assert_equal(level[:, :: step // 2], golden[f'level{i}'])


@pytest.mark.parametrize('kind', ['Feature2Pyramid', 'BilinearPyramid'])
def test_odd_sizes_meet_in_the_pyramid_head(kind):
    width = dict(embed_dim=96) if kind == 'Feature2Pyramid' else {}
    levels = build_neck(dict(type=kind, **width))([torch.ones(1, 96, 5, 7)] * 4)
    assert [level.shape[2:] for level in levels] == [(20, 28), (10, 14), (5, 7), (2, 3)]
    assert head('VFMPyramidHead').eval()(levels).shape == (1, 19, 20, 28)


@pytest.mark.parametrize(
    ('kind', 'base', 'large'),
    [('VFMHead', 1.81, 3.22), ('VFMPyramidHead', 3.9, 6.9)],
)
def test_parameter_counts(kind, base, large):
    with torch.device('meta'):
        for width, millions in ((768, base), (1024, large)):
            count = sum(weight.numel() for weight in head(kind, width).parameters()) / 1e6
            assert round(count, 2 if kind == 'VFMHead' else 1) == millions


def test_initialisation():
    torch.manual_seed(0)
    for kind in ('VFMHead', 'VFMPyramidHead'):
        network = head(kind, 768)
        network.init_weights()
        assert network.conv_seg.bias is None
        assert network.conv_seg.weight.std().item() == pytest.approx(0.1, rel=0.05)
    # The bounds of uniform draws: sqrt(6 / fan).
    up, reduce = network.upscale.up_conv1, network.upscale.reduce_conv1
    assert up.weight.abs().max().item() == pytest.approx(math.sqrt(6 / (4 * 768)), rel=1e-3)
    assert reduce.weight.abs().max().item() == pytest.approx(math.sqrt(6 / 768), rel=1e-3)
    assert not up.bias.any() and not reduce.bias.any()
    assert network.upscale.norm1.weight.eq(1).all()


def features_for(kind):
    return pyramid_levels() if kind == 'VFMPyramidHead' else [torch.ones(2, 96, 6, 8)] * 4


ALL_HEADS = ['VFMHead', 'VFMPyramidHead', 'VFMSegHead']


@pytest.mark.parametrize('kind', ALL_HEADS)
def test_losses_obey_ignored_and_weighted_pixels(kind):
    segmentor = fill(nn.ModuleDict({'decode_head': head(kind)}).eval())
    network = segmentor['decode_head']
    label = torch.arange(2 * 48 * 64).reshape(2, 1, 48, 64) % 19
    ignored = label.clone()
    ignored[..., 32:] = 255
    weight = (ignored != 255).float()

    def loss(gt, weight=None):
        with pixel_weights(segmentor, weight):
            return network.forward_train(features_for(kind), [{}] * 2, gt, {})['loss_ce']

    assert loss(label).requires_grad and not torch.isclose(loss(label), loss(ignored))
    torch.testing.assert_close(loss(label, weight), loss(ignored))
    torch.testing.assert_close(loss(label, 0.5 * torch.ones_like(weight)), 0.5 * loss(label))


@pytest.mark.parametrize('kind', ALL_HEADS)
def test_gradients_reach_all_weights_and_maps_keep_their_format(kind):
    network = fill(head(kind))
    logits = network(features_for(kind))
    assert logits.shape == (2, 19, 24, 32) and logits.is_contiguous()
    logits.square().sum().backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None and weight.grad.any(), name
    network.eval().to(memory_format=torch.channels_last)
    last = [level.to(memory_format=torch.channels_last) for level in features_for(kind)]
    with torch.no_grad():
        logits = network(last)
        assert is_channels_last(logits)
        torch.testing.assert_close(logits, network(features_for(kind)), rtol=1e-4, atol=1e-4)


def test_daformer_head_on_levels_of_one_stride():
    embed, fusion = dict(type='mlp'), dict(type='aspp', sep=True, dilations=(1, 6), pool=False)
    decoder = dict(embed_dims=8, embed_cfg=embed, embed_neck_cfg=embed, fusion_cfg=fusion)
    network = head('DAFormerHead', channels=8, decoder_params=decoder)
    assert network([torch.ones(2, 96, 5, 7)] * 4).shape == (2, 19, 5, 7)


# In a config


@pytest.fixture
def plain_encoder():
    """An encoder whose levels are all 48 wide, by its name."""

    @BACKBONES.register_module()
    class PlainEncoder(nn.Module):
        out_channels = [48] * 4

    yield 'PlainEncoder'
    del BACKBONES.module_dict['PlainEncoder']


@pytest.mark.parametrize(
    ('neck', 'kind', 'channels'),
    [
        (dict(type='Feature2Pyramid', embed_dim='from_encoder'), 'VFMPyramidHead', [48] * 4),
        (dict(type='BilinearPyramid'), 'VFMPyramidHead', [48] * 4),
        (None, 'VFMSegHead', [48] * 4),
        (None, 'VFMHead', 48),
    ],
)
def test_channels_from_the_encoder(plain_encoder, neck, kind, channels):
    decoder = dict(type=kind, in_channels='from_encoder', num_classes=19)
    if kind != 'VFMHead':
        decoder['in_index'] = LEVELS
    fill_in_channels(dict(backbone=dict(type=plain_encoder), neck=neck, decode_head=decoder))
    assert decoder['in_channels'] == channels
    assert neck is None or neck.get('embed_dim', 48) == 48


def test_channels_behind_a_synchronised_norm(plain_encoder, tmp_path):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/rendezvous', rank=0, world_size=1
    )
    try:
        neck = dict(type='Feature2Pyramid', embed_dim='from_encoder')
        model = dict(backbone=dict(type=plain_encoder), neck=neck)
        model['decode_head'] = dict(in_channels='from_encoder', in_index=LEVELS)
        fill_in_channels(model)
    finally:
        torch.distributed.destroy_process_group()
    assert model['decode_head']['in_channels'] == [48] * 4


def test_layer_norm_of_a_pyramid():
    norm = dict(type='LN2d', eps=1e-6)
    neck = build_neck(dict(type='Feature2Pyramid', embed_dim=8, norm_cfg=norm))
    layer, feature = neck.upsample_4x[1], torch.randn(2, 8, 3, 4)
    assert layer.eps == 1e-6
    torch.testing.assert_close(layer(feature).mean(1), torch.zeros(2, 3, 4), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ('build', 'says'),
    [
        (lambda: head('VFMHead', 90), 'in_channels is 90; it has to be a multiple of 4'),
        (lambda: head('VFMPyramidHead', 100), 'in_channels is 100; .* multiple of 8'),
        (lambda: build_head(dict(type='VFMPyramidHead', in_channels=[8] * 3, num_classes=2)),
         'needs four levels'),
        (lambda: build_neck(dict(type='BilinearPyramid'))([torch.ones(1, 8, 2, 2)] * 3),
         'got 3 levels'),
    ],
)  # fmt: skip
def test_what_does_not_fit(build, says):
    with pytest.raises(UserError, match=says), config_errors('model'):
        build()
