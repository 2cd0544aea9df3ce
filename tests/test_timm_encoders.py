"""Encoders of timm under DAFormer's decoder, from a config alone: channels, weights, training."""

import math
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from mmseg.engine.config import load_config
from mmseg.models import build_backbone
from mmseg.models.backbones.timm_encoder import name_of_level
from mmseg.models.builder import SEGMENTORS
from mmseg.utils.seeding import Step
from mmseg.utils.user_error import UserError
from tests.golden.fill import fill
from tests.test_dacs import THINGS, random_batch

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
CHANNELS = {
    'convnext_atto': [40, 80, 160, 320],
    'pvt_v2_b0': [32, 64, 160, 256],
    'efficientnet_b0': [24, 40, 112, 320],
    'mambaout_femto': [48, 96, 192, 288],  # has its channels last
}
THREE = list(CHANNELS)[:3]

CONFIG = """
_base_ = ['{configs}/_base_/models/daformer_sepaspp_mitb5.py']
model = dict(
    pretrained=None,
    backbone=dict(_delete_=True, type='TimmEncoder', model_name='{name}', drop_path_rate=0.1),
    decode_head=dict(in_channels='from_encoder', channels=16, decoder_params=dict(embed_dims=16)),
)
data = dict()
"""


def model_config(tmp_path, name, overrides=None):
    (tmp_path / 'config.py').write_text(CONFIG.format(configs=CONFIGS, name=name))
    return load_config(str(tmp_path / 'config.py'), overrides).model


def encoder(name, pretrained=None):
    cfg = {'type': 'TimmEncoder', 'model_name': name}
    return build_backbone({**cfg, 'pretrained': pretrained and str(pretrained)})


@pytest.mark.parametrize('name', CHANNELS)
def test_four_contiguous_levels_at_strides_4_to_32(name):
    with torch.no_grad():
        features = encoder(name)(torch.rand(1, 3, 64, 64))
    assert [list(f.shape) for f in features] == [
        [1, channels, 64 // stride, 64 // stride]
        for channels, stride in zip(CHANNELS[name], (4, 8, 16, 32), strict=True)
    ]
    assert all(feature.is_contiguous() for feature in features)


@pytest.mark.parametrize(
    ('name', 'channels', 'smaller'),
    [
        ('convnext_tiny.dinov3_lvd1689m', [96, 192, 384, 768], dict(depths=[1] * 4)),
        ('sam2_hiera_tiny', [96, 192, 384, 768], dict(stages=[1] * 4)),
        ('sam2_hiera_base_plus', [112, 224, 448, 896], dict(stages=[1] * 4)),
    ],
)
def test_foundation_models_that_are_hierarchical(tmp_path, name, channels, smaller):
    with torch.device('meta'):
        ours = encoder(name)
        assert ours.out_channels == channels
        for height, width in ((96, 160), (128, 64)):
            assert [feature.shape for feature in ours.eval()(torch.empty(1, 3, height, width))] == [
                (1, width_of, height // stride, width // stride)
                for width_of, stride in zip(channels, (4, 8, 16, 32), strict=True)
            ]
    theirs = fill(timm.create_model(name, **smaller)).eval()
    torch.save(theirs.state_dict(), tmp_path / 'weights.pth')
    ours = build_backbone(
        dict(
            type='TimmEncoder', model_name=name, pretrained=str(tmp_path / 'weights.pth'), **smaller
        )
    )  # fmt: skip
    ours.init_weights()
    img = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        expected = theirs.forward_intermediates(img, intermediates_only=True)
        for mine, other in zip(ours.eval()(img), expected[-4:], strict=True):
            torch.testing.assert_close(mine, other, rtol=0, atol=1e-5 * other.abs().max())


def build_self_training(model):
    """DACS with feature distance on a network, initialised, in training mode."""
    dacs = SEGMENTORS.build(
        dict(
            type='DACS', model=model, imnet_feature_dist_lambda=0.005,
            imnet_feature_dist_classes=THINGS, imnet_feature_dist_scale_min_ratio=0.01,
            debug_img_interval=0,
        )
    )  # fmt: skip
    dacs.init_weights()
    return dacs.train()


def train_twice(dacs):
    """Train for two iterations; returns the last log and the names of the weights that moved."""
    before = {n: w.clone() for n, w in dacs.model.named_parameters()}
    optimizer = torch.optim.AdamW(dacs.model.parameters(), lr=1e-3)
    data = random_batch()
    for i in range(2):
        log = dacs.train_step(data, optimizer, step=Step(0, i))['log_vars']
        assert all(math.isfinite(value) for value in log.values())
    return log, {n for n, w in dacs.model.named_parameters() if not torch.equal(w, before[n])}


@pytest.mark.parametrize('name', THREE)
def test_self_training_with_feature_distance(tmp_path, name):
    torch.manual_seed(0)
    model = model_config(tmp_path, name)
    assert model.decode_head.in_channels == CHANNELS[name]
    dacs = build_self_training(model)
    frozen = {n: w.clone() for n, w in dacs.imnet_model.state_dict().items()}
    log, changed = train_twice(dacs)
    assert log['src.loss_imnet_feat_dist'] > 0
    # Nothing is left without gradients, and what is frozen stays so.
    assert changed == {n for n, _ in dacs.model.named_parameters()}
    assert all(torch.equal(w, frozen[n]) for n, w in dacs.imnet_model.state_dict().items())


@pytest.mark.parametrize(
    ('name', 'ending'),
    list(zip(CHANNELS, ['pth', 'safetensors', 'pth', 'safetensors'], strict=True)),
)
def test_timms_own_files_load(tmp_path, name, ending):
    theirs = fill(timm.create_model(name, num_classes=7))
    path = tmp_path / f'weights.{ending}'
    (torch.save if ending == 'pth' else save_file)(theirs.state_dict(), path)
    ours = encoder(name, path)
    ours.init_weights()
    img = torch.randn(1, 3, 64, 64)
    indices = [ours.timm_model.feature_info.out_indices[level] for level in ours.levels]
    with torch.no_grad():
        features = ours.eval()(img)
        # Another way through timm to the same maps.
        expected = theirs.eval().forward_intermediates(
            img, indices=indices, intermediates_only=True, norm=False
        )
    for mine, other in zip(features, expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ('name', 'changes', 'channels'),
    [
        (
            'convnext_tiny.dinov3_lvd1689m',
            dict(depths=[1] * 4, dims=[16, 32, 48, 64]),
            [16, 32, 48, 64],
        ),
        (
            'sam2_hiera_tiny',
            dict(stages=[1, 1, 2, 1], embed_dim=16, num_heads=1, global_att_blocks=[3]),
            [16, 32, 64, 128],
        ),
    ],
)
def test_self_training_of_foundation_models_from_a_config(tmp_path, name, changes, channels):
    torch.manual_seed(0)
    smaller = {f'model.backbone.{key}': value for key, value in changes.items()}
    model = model_config(tmp_path, name, smaller)
    assert model.decode_head.in_channels == channels
    dacs = build_self_training(model)
    features = dacs.model.backbone(torch.rand(1, 3, 64, 96))
    assert [feature.shape[1:] for feature in features] == [
        (width, 64 // stride, 96 // stride)
        for width, stride in zip(channels, (4, 8, 16, 32), strict=True)
    ]
    log, changed = train_twice(dacs)
    assert log['src.loss_imnet_feat_dist'] > 0
    assert changed == {n for n, _ in dacs.model.named_parameters()}


@pytest.mark.parametrize(
    ('name', 'channels'),
    [
        ('convnext_small.dinov3_lvd1689m', [96, 192, 384, 768]),
        ('convnext_base.dinov3_lvd1689m', [128, 256, 512, 1024]),
        ('convnext_large.dinov3_lvd1689m', [192, 384, 768, 1536]),
        ('sam2_hiera_small', [96, 192, 384, 768]),
        ('sam2_hiera_large', [144, 288, 576, 1152]),
    ],
)
def test_channels_of_foundation_models_of_full_size(name, channels):
    with torch.device('meta'):
        assert encoder(name).out_channels == channels


def test_names_of_weights_in_the_encoder():
    children = ['stem_0', 'stages_1', 'conv_1', 'norm']
    for whole, ours in (
        ('stem.0.weight', 'stem_0.weight'),
        ('stages.1.blocks.0.bias', 'stages_1.blocks.0.bias'),
        ('stages.11.bias', 'stages.11.bias'),
        ('conv_1.weight', 'conv_1.weight'),
        ('norm.weight', 'norm.weight'),
    ):
        assert name_of_level(whole, children) == ours
    assert name_of_level('stages.0.bias', ['model']) == 'model.stages.0.bias'  # e.g. Twins, Hiera


def test_a_file_that_does_not_fit_is_refused(tmp_path):
    path = tmp_path / 'weights.pth'
    state = timm.create_model('convnext_atto').state_dict()
    femto = timm.create_model('convnext_femto').state_dict()
    for wrong, message in (
        (femto, r'timm_model.stem_0.weight \(48, 3, 4, 4\) instead of \(40'),
        (
            {k: v for k, v in state.items() if k != 'stem.1.bias'},
            'missing: timm_model.stem_1.bias',
        ),
        ({**state, 'decode_head.bias': torch.ones(1)}, '1 unknown: timm_model.decode_head.bias'),
    ):
        torch.save(wrong, path)
        with pytest.raises(UserError, match=message):
            encoder('convnext_atto', path).init_weights()


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('convnext_ato', r'cannot be used with TimmEncoder .*Unknown model \(convnext_ato\)'),
        (
            'vit_tiny_patch16_224',
            r"strides \[16, 16, 16\].*use a hierarchical.*or type='TimmViT' for a plain ViT",
        ),
        ('beit3_base_patch16_224', 'levels at the strides|cannot be used'),
    ],
)
def test_models_that_cannot_be_used(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        model_config(tmp_path, name)


def test_channels_are_filled_in_for_any_encoder_and_for_single_levels(tmp_path):
    overrides = {
        'model.backbone': dict(_delete_=True, type='mit_b0'),
        'model.auxiliary_head': dict(type='FCNHead', in_channels='from_encoder', in_index=2),
    }
    model = model_config(tmp_path, 'convnext_atto', overrides)
    assert model.decode_head.in_channels == [32, 64, 160, 256]
    assert model.auxiliary_head.in_channels == 160
    overrides['model.backbone'] = dict(_delete_=True, type='ResNetV1c', depth=50)
    model = model_config(tmp_path, 'convnext_atto', overrides)
    assert model.decode_head.in_channels == [256, 512, 1024, 2048]
    assert model.auxiliary_head.in_channels == 1024
    overrides['model.backbone'] = dict(_delete_=True, type='SwinTransformer')
    with pytest.raises(UserError, match='cannot be used with SwinTransformer'):
        model_config(tmp_path, 'convnext_atto', overrides)
