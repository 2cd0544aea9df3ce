"""Plain ViTs as encoders: golden maps, sizes, positions, token masks, frozen ones, training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from timm.layers import LayerNorm2d
from torch import nn

from mmseg.engine.config import load_config
from mmseg.models import build_backbone, build_head
from mmseg.utils.user_error import UserError
from tests.golden.fill import array_for, fill
from tests.test_timm_encoders import build_self_training, train_twice

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
GOLDEN = Path(__file__).parent / 'golden/foundation'
PYRAMID = json.loads((GOLDEN / 'pyramid.json').read_text())
DINOV2 = dict(model_name='vit_small_patch14_dinov2', embed_dim=96, num_heads=3, img_size=70)
DINOV3 = dict(model_name='vit_small_patch16_dinov3', embed_dim=96, num_heads=3)
TOLERANCE = 1e-5  # of the largest expected value


def encoder(**options):
    return build_backbone({'type': 'TimmViT', **options})


def of_pyramid(key, **options):
    """The golden pyramid's encoder and its image."""
    case = PYRAMID[key]
    vit = encoder(model_name=case['timm_model'], **case['options'], **options)
    return fill(vit).eval(), image(f'pyramid_img_{key}', case['image'])


def image(name, shape):
    return torch.from_numpy(array_for(name, shape))


def filled(shapes):
    """Tensors that `fill` gives to these names, from {name: shape}."""
    module = nn.Module()
    module.state_dict = lambda: weights
    weights = {name: torch.empty(shape) for name, shape in shapes.items()}
    fill(module)
    return weights


def assert_near(ours, expected):
    error = np.abs(ours.detach().numpy() - expected).max() / np.abs(expected).max()
    assert error <= TOLERANCE


@pytest.mark.parametrize('key', ['dinov2', 'dinov2_reg4', 'dinov3', 'dinov3_qkvb'])
@torch.no_grad()
def test_levels_are_those_of_the_golden_pyramid(key):
    golden = np.load(GOLDEN / 'pyramid.npz')
    vit, img = of_pyramid(key)
    assert vit.out_indices == PYRAMID[key]['indices']  # by default the quarters
    assert_near(torch.stack(vit(img))[:, :, ::12], golden[f'{key}_levels'])
    vit, img = of_pyramid(key, norm=False, out_indices=[7])
    assert not [name for name in vit.state_dict() if name.startswith('timm_model.norm')]
    assert_near(vit(img)[-1][:, ::12], golden[f'{key}_unnormed_last'])


@torch.no_grad()
def test_sizes_that_the_patch_does_not_divide():
    vit, _ = of_pyramid('dinov2')
    img = image('odd_img', PYRAMID['odd_size']['image'])
    assert vit.size_inside(img.shape[2:]) == PYRAMID['odd_size']['resized_to']
    assert_near(vit(img)[-1][:, ::4], np.load(GOLDEN / 'odd_size.npz')['resized_last'])


@pytest.mark.parametrize(
    ('options', 'size', 'grid'),
    [
        (DINOV2, (70, 98), (5, 7)),
        (DINOV2, (64, 99), (5, 8)),
        (DINOV2, (8, 8), (1, 1)),
        (DINOV3, (64, 96), (4, 6)),
        (DINOV3, (65, 33), (5, 3)),
        (DINOV3, (128, 16), (8, 1)),
        (dict(DINOV2, inside_scale=1.1), (76, 128), (5, 10)),
        (dict(DINOV2, inside_scale=0.5), (64, 8), (2, 1)),
    ],
)
@torch.no_grad()
def test_four_contiguous_levels_of_one_stride(options, size, grid):
    vit = encoder(depth=4, **options)
    features = vit(torch.rand(2, 3, *size))
    assert vit.out_channels == [96] * 4 and vit.token_grid(size) == list(grid)
    assert [tuple(feature.shape) for feature in features] == [(2, 96, *grid)] * 4
    assert all(feature.is_contiguous() for feature in features)


def test_the_published_size_inside():
    with torch.device('meta'):
        vit = encoder(depth=4, inside_scale=1.1, **DINOV2)
    assert vit.size_inside((1024, 1024)) == [1120, 1120]


@pytest.mark.parametrize(
    'name', ['eva02_tiny_patch14_224', 'vit_base_patch16_radio_v3', 'vit_large_patch16_dinov3']
)
def test_other_families(name):
    with torch.device('meta'):
        vit = encoder(model_name=name)
        patch = vit.timm_model.patch_embed.patch_size[0]
        features = vit.eval()(torch.empty(1, 3, 4 * patch, 5 * patch))
    assert [feature.shape[1:] for feature in features] == [(vit.out_channels[0], 4, 5)] * 4


@pytest.mark.parametrize(('rule', 'array'), [('timm', 'timm'), ('meta', 'meta_no_registers')])
@torch.no_grad()
def test_positions_follow_the_size_by_either_rule(rule, array):
    golden = np.load(GOLDEN / 'pos_embed_at_run_time.npz')
    options = dict(embed_dim=8, num_heads=1, depth=4, positions=rule)
    model = encoder(model_name='vit_small_patch14_dinov2', **options).timm_model
    model.pos_embed[:, 1:] = image('pos_grid', (1, 37 * 37, 8))
    for case in range(3):
        tokens = model._pos_embed(torch.zeros(1, *golden[f'grid{case}'], 8))
        assert_near(tokens[:, 1:][:, ::7], golden[f'{array}{case}'])
        assert torch.equal(tokens[:, :1], model.cls_token + model.pos_embed[:, :1])


class _VFMHead(nn.Module):
    """The decode head of VFM-UDA."""

    def __init__(self):
        super().__init__()
        self.upscale = nn.Sequential(
            nn.ConvTranspose2d(96, 48, 2, 2, bias=False), LayerNorm2d(48), nn.GELU(),
            nn.ConvTranspose2d(48, 24, 2, 2, bias=False), LayerNorm2d(24),
            nn.Conv2d(24, 24, 3, padding=1, bias=False), LayerNorm2d(24),
        )  # fmt: skip
        self.out = nn.Conv2d(24, 19, 1, bias=False)

    def forward(self, feature):
        logits = self.out(self.upscale(feature))
        return F.interpolate(logits, (64, 64), mode='bilinear')[:, :, ::4, ::4]


@torch.no_grad()
def test_the_network_of_vfm_uda_with_and_without_masked_tokens():
    golden = np.load(GOLDEN / 'vfm_network.npz')
    shapes = json.loads((GOLDEN / 'vfm_keys.json').read_text())['vfm_network']
    weights = filled(shapes)
    options = dict(DINOV2, depth=4, inside_scale=1.1, out_indices=[3], mask_token=True)
    vit, head = encoder(**options).eval(), _VFMHead()
    ours = {n.removeprefix('encoder.'): v for n, v in weights.items() if n.startswith('encoder.')}
    ours['mask_token'] = torch.from_numpy(golden['mask_token'])
    vit.load_state_dict(vit.convert_weights(ours))
    head.load_state_dict({n: v for n, v in weights.items() if n in head.state_dict()})
    img, hidden = image('img', (2, 3, 64, 64)), torch.from_numpy(golden['token_u'] < 0.7)

    [features] = vit(img)
    assert_near(features, golden['features'])
    assert_near(head(features), golden['logits'])
    with vit.masked_tokens(hidden):
        assert_near(head(vit(img)[0]), golden['masked_logits'])
    assert torch.equal(vit(img)[0], features)


@pytest.mark.parametrize('options', [DINOV2, DINOV3], ids=['dinov2', 'dinov3'])
def test_the_mask_token_is_trained(options):
    vit = fill(encoder(depth=4, mask_token=True, **options)).train()
    img = torch.randn(2, 3, 64, 64)

    def masked(hidden):
        with vit.masked_tokens(hidden):
            return vit(img)[-1]

    some = torch.rand(2, *vit.token_grid(img.shape[2:])) < 0.5
    assert torch.equal(masked(torch.zeros_like(some)), vit(img)[-1])
    assert torch.equal(*masked(torch.ones_like(some)))  # of the two images nothing is left
    masked(some).square().sum().backward()
    assert vit.mask_token.grad.abs().max() > 0


@pytest.mark.parametrize('options', [DINOV2, DINOV3], ids=['dinov2', 'dinov3'])
def test_gradients_reach_everything_and_are_the_same_with_checkpointing(options):
    found, runs = [], []
    for with_cp in (False, True):
        vit = fill(encoder(depth=4, drop_path_rate=0.3, with_cp=with_cp, **options)).train()
        rates = [getattr(block.drop_path1, 'drop_prob', 0.0) for block in vit.timm_model.blocks]
        assert rates == pytest.approx([0, 0.1, 0.2, 0.3])
        counted = []
        fc1 = vit.timm_model.blocks[0].mlp.fc1
        fc1.register_forward_hook(lambda *_, counted=counted: counted.append(1))
        torch.manual_seed(0)
        features = vit(torch.linspace(-1, 1, 4 * 3 * 64 * 64).reshape(4, 3, 64, 64))
        sum(f.pow(3).mean() for f in features).backward()
        found.append({name: weight.grad for name, weight in vit.named_parameters()})
        runs.append(len(counted))
    assert runs == [1, 2]
    assert all(gradient.abs().max() > 0 for gradient in found[0].values())
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_channels_last_images_give_channels_last_maps():
    vit = encoder(depth=4, **DINOV2).eval()
    img = torch.rand(1, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    for feature in vit(img):
        assert feature.is_contiguous(memory_format=torch.channels_last)


CONFIG = """
_base_ = ['{configs}/_base_/models/daformer_sepaspp_mitb5.py']
model = dict(
    pretrained=None,
    backbone=dict(
        _delete_=True, type='TimmViT', model_name='{model_name}',
        embed_dim=96, num_heads=3, depth=4, frozen={frozen}, norm={norm},
    ),
    decode_head=dict(in_channels='from_encoder', channels=16, decoder_params=dict(embed_dims=16)),
)
data = dict()
"""


def model_config(tmp_path, model_name, frozen=False, norm=True, **overrides):
    text = CONFIG.format(configs=CONFIGS, model_name=model_name, frozen=frozen, norm=norm)
    (tmp_path / 'config.py').write_text(text)
    return load_config(str(tmp_path / 'config.py'), overrides).model


@pytest.mark.parametrize(
    ('name', 'frozen', 'norm'),
    [
        ('vit_small_patch14_reg4_dinov2', False, False),
        ('vit_small_patch16_dinov3_qkvb', False, True),
        ('vit_small_patch16_dinov3', True, True),
    ],
)
def test_self_training_on_four_levels(tmp_path, name, frozen, norm):
    torch.manual_seed(0)
    model = model_config(tmp_path, name, frozen, norm)
    assert model.decode_head.in_channels == [96] * 4
    dacs = build_self_training(model)
    vit = dacs.model.backbone
    assert dacs.model.training and vit.timm_model.blocks[0].training != frozen
    _, changed = train_twice(dacs)
    frozen_names = {f'backbone.{n}' for n, _ in vit.named_parameters()} if frozen else set()
    assert changed == {n for n, _ in dacs.model.named_parameters()} - frozen_names
    assert all((w.grad is None) == frozen for w in vit.parameters())


@torch.no_grad()
def test_a_head_on_four_levels_of_a_vit():
    head = build_head(
        dict(
            type='DAFormerHead', in_channels=[96] * 4, in_index=[0, 1, 2, 3], channels=16,
            num_classes=19, decoder_params=dict(
                embed_dims=16, embed_cfg=dict(type='mlp'), embed_neck_cfg=dict(type='mlp'),
                fusion_cfg=dict(type='conv', kernel_size=1),
            ),
        )
    ).eval()  # fmt: skip
    assert head(encoder(depth=4, **DINOV2)(torch.rand(1, 3, 70, 98))).shape == (1, 19, 5, 7)


PLAIN = 'vit_small_patch14_dinov2'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(model_name='vit_smal'), "timm has no model 'vit_smal'"),
        (dict(model_name='convnext_atto'), "convnext_atto is no plain ViT: use .*'TimmEncoder'"),
        (dict(model_name='swin_tiny_patch4_window7_224'), 'is no plain ViT'),
        (dict(model_name='vit_base_r50_s16_224'), 'is no plain ViT'),
        (dict(model_name=PLAIN, out_indices=[3, 12]), r'\[3, 12\]: use ascending .* 0 to 11'),
        (dict(model_name=PLAIN, out_indices=[5, 3]), r'\[5, 3\]: use ascending'),
        (dict(model_name=PLAIN, depth=3), r'has 3 block\(s\) here: name .* from 0 to 2'),
        (dict(model_name=PLAIN, positions='mta'), "positions is 'mta': use 'timm'"),
        *[
            (dict(model_name=name, positions='meta'), "'meta' is for DINOv2 without registers")
            for name in (
                *('vit_small_patch14_reg4_dinov2', 'vit_small_patch16_dinov3'),
                *('vit_base_patch16_siglip_224', 'deit3_small_patch16_224'),
                'eva02_tiny_patch14_224',
            )
        ],
    ],
)
def test_mistakes(options, message):
    with pytest.raises(UserError, match=message), torch.device('meta'):
        encoder(**options)


def test_misspelt_options():
    with pytest.raises(TypeError, match='drop_path_rat'):  # for which the config has a better hint
        encoder(drop_path_rat=0.1, **DINOV2)
