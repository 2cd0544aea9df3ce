"""Rates by weight and iteration equal those of the published code of VFM-UDA and VFM-UDA++."""

import json
import re
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from mmseg.core.hook.full_rate_warmup import FullRateWarmupLrUpdaterHook
from mmseg.engine.checks.config import check_keys
from mmseg.engine.config import load_config
from mmseg.engine.performance import build_grouped_optimizer
from mmseg.models.builder import build_backbone, build_head
from mmseg.utils.user_error import UserError
from tests.test_config_keys import problem
from tests.test_optimisation import rates
from tests.tiny_runs import UDA_CONFIG

GOLDEN = Path(__file__).parent / 'golden' / 'foundation'
CASES = json.loads((GOLDEN / 'lr_groups.json').read_text())
SCHEDULES = json.loads((GOLDEN / 'lr_schedule.json').read_text())
VFM_UDA_PP = dict(encoder_lr_mult=0.1, layer_decay=0.9)
LR = 5e-5


class PlainViT(nn.Module):
    """A ViT of timm and the mask token of masked image modelling."""

    def __init__(self, name, **options):
        super().__init__()
        self.mask_token = nn.Parameter(torch.zeros(1, 4))
        with torch.device('meta'):
            self.timm_model = timm.create_model(name, num_classes=0, **options)


def segmentor(encoder, kind='VFMHead'):
    levels = {} if kind == 'VFMHead' else {'in_index': [0, 1, 2, 3]}
    channels = [768] * 4 if levels else 768
    with torch.device('meta'):
        decoder = build_head(dict(type=kind, in_channels=channels, num_classes=19, **levels))
    return nn.ModuleDict({'backbone': encoder, 'decode_head': decoder})


def optimizer_of(network, paramwise_cfg, **options):
    cfg = dict(type='AdamW', lr=LR, weight_decay=0.01, constructor='LayerDecay', **options)
    return build_grouped_optimizer(network, {**cfg, 'paramwise_cfg': paramwise_cfg})


def options_by_name(network, paramwise_cfg=VFM_UDA_PP):
    """The rate, relative to the config's, and the weight decay of each weight in the optimizer."""
    names = {id(weight): name for name, weight in network.named_parameters()}
    return {
        names[id(weight)]: [group['lr'] / LR, group['weight_decay']]
        for group in optimizer_of(network, paramwise_cfg).param_groups
        for weight in group['params']
    }


@pytest.mark.parametrize('case', CASES)
def test_equals_published_groups(case):
    golden, model = CASES[case], case.split()[-1]
    kind = 'VFMPyramidHead' if case.startswith('vfm_uda_pp') else 'VFMHead'
    network = segmentor(PlainViT(model), kind)
    if kind == 'VFMPyramidHead':
        project = nn.Sequential(
            nn.Conv2d(768, 8, 1), nn.LayerNorm(8), nn.GELU(), nn.Conv2d(8, 8, 1)
        )
        network['feature_distance'] = nn.Module()
        network['feature_distance'].head = nn.ModuleDict({'feat_project': project})
    mults = dict(encoder_lr_mult=golden['encoder_factor'], layer_decay=golden['layer_decay'])
    found = options_by_name(network, mults)
    parts = ('published', 'not_in_published_code_proposed', 'proposed')
    expected = {name: rates for part in parts for name, rates in golden.get(part, {}).items()}
    ours = {name for name in found if case.startswith('vfm') or 'timm_model' in name}
    assert ours - {'backbone.mask_token'} == set(expected) - {'backbone.mask_token'}
    for name, (rate, decay) in expected.items():
        assert found[name] == [pytest.approx(rate, abs=1e-10), decay], name  # ten places are stored


@pytest.mark.parametrize(
    ('model', 'groups', 'first', 'stem'),
    [
        ('vit_base_patch14_dinov2', 14, 0.03138, 0.02824),
        ('vit_large_patch14_dinov2', 26, 0.008863, 0.007977),
    ],
)
def test_one_group_for_each_block_the_stem_and_the_head(model, groups, first, stem):
    network = segmentor(PlainViT(model))
    assert len(optimizer_of(network, VFM_UDA_PP).param_groups) == groups
    found = options_by_name(network)
    block = 'backbone.timm_model.blocks.0.attn.qkv.bias'
    assert found[block][0] == pytest.approx(first, rel=1e-3)
    assert found['backbone.timm_model.pos_embed'][0] == pytest.approx(stem, rel=1e-3)


TINY = dict(embed_dim=16, depth=2, num_heads=2, img_size=28)


def tiny():
    return segmentor(PlainViT('vit_small_patch14_dinov2', **TINY))


def test_frozen_weights_are_in_no_group_and_adapters_are_as_fast_as_the_head():
    network = tiny()
    network['backbone'].requires_grad_(False)
    attention = network['backbone'].timm_model.blocks[0].attn
    attention.qkv.lora_A = nn.Linear(16, 2, bias=False)
    network['backbone'].rein = nn.Linear(2, 2)
    found = options_by_name(network)
    inside = {name: rate for name, (rate, _) in found.items() if name.startswith('backbone.')}
    adapters = ['rein.weight', 'rein.bias', 'timm_model.blocks.0.attn.qkv.lora_A.weight']
    assert inside == {f'backbone.{name}': 1.0 for name in adapters}


def test_a_weight_of_no_layer_needs_a_rate_of_its_own():
    network = tiny()
    network['backbone'].prompts = nn.Parameter(torch.zeros(2, 2))
    with pytest.raises(UserError, match=r'^backbone.prompts is in no layer .* custom_keys'):
        options_by_name(network)
    found = options_by_name(network, dict(VFM_UDA_PP, custom_keys=dict(prompts=dict(lr_mult=2))))
    assert found['backbone.prompts'] == [2, 0.01]
    network['backbone'].prompts = None
    network['backbone'].timm_model.fc_norm = nn.LayerNorm(4)
    with pytest.raises(UserError, match=r'^backbone.timm_model.fc_norm.weight is in no layer'):
        options_by_name(network)


def test_weight_decay():
    decays = {name: decay for name, (_, decay) in options_by_name(tiny()).items()}
    assert set(decays.values()) == {0.01}
    keys = dict(norm=dict(decay_mult=2), norm1=dict(decay_mult=0.5))
    without = dict(VFM_UDA_PP, no_weight_decay=True, custom_keys=keys)
    found = options_by_name(tiny(), without)
    assert [name for name, (_, decay) in found.items() if decay == 0] == [
        'backbone.timm_model.cls_token', 'backbone.timm_model.pos_embed',
    ]  # fmt: skip
    # The longest key decides on the weight decay, and the layer still on the rate.
    assert found['backbone.timm_model.blocks.0.norm1.bias'] == [pytest.approx(0.09), 0.005]


@pytest.mark.parametrize(
    ('model', 'layers', 'order'),
    [
        ('convnext_tiny', 18, 'stem_0 stages_0.blocks.0 stages_1.downsample stages_1.blocks.2 '
                              'stages_3.blocks.2'),
        ('swin_tiny_patch4_window7_224', 12, 'patch_embed layers_0.blocks.1 layers_1.downsample '
                                             'layers_2.blocks.5 layers_3.blocks.1'),
        ('efficientnet_b0', 16, 'conv_stem blocks.0.0 blocks.3.1 blocks.6.0'),
    ],
)  # fmt: skip
def test_hierarchical_encoders(model, layers, order):
    encoder = build_backbone(dict(type='TimmEncoder', model_name=model))
    found = options_by_name(segmentor(encoder))
    rate = {name: rate for name, (rate, _) in found.items() if name.startswith('backbone.')}
    assert len(rate) == sum(1 for _ in encoder.parameters())
    assert min(rate.values()) == pytest.approx(0.1 * 0.9**layers)
    parts = [f'backbone.timm_model.{part}.' for part in order.split()]
    rising = [next(rate[name] for name in rate if name.startswith(part)) for part in parts]
    assert rising == sorted(set(rising))
    assert rising[0] == min(rate.values()) and rising[-1] == pytest.approx(0.1)


def test_other_encoders_are_refused():
    with pytest.raises(UserError, match=r'needs an encoder of timm .*, not mit_b0'):
        options_by_name(segmentor(build_backbone(dict(type='mit_b0'))))


# Schedule


@pytest.mark.parametrize('golden', SCHEDULES, ids=lambda golden: f'lr{golden["lr"]:.1e}')
def test_schedule_equals_published_rates(golden, tmp_path):
    lr_config = dict(
        policy='FullRateWarmup',
        warmup_iters=golden['warmup_iters'],
        warmup_ratio=golden['start_factor'],
        min_lr=golden['final_factor'],
        by_epoch=False,
    )
    values = {int(iteration): rate for iteration, rate in golden['values'].items()}
    found = rates(lr_config, golden['total_iters'], values, tmp_path, golden['lr'])
    assert found == {i: pytest.approx(rate, rel=1e-9, abs=1e-18) for i, rate in values.items()}


def test_a_warmup_of_one_iteration():
    hook = FullRateWarmupLrUpdaterHook(warmup_iters=1)
    hook.base_lr = [1.0]
    assert hook.get_warmup_lr(0) == [1e-3]


# In a config


def recipe():
    """Overrides of a config: a rate for each layer, and VFM-UDA's schedule."""
    vit = dict(type='TimmViT', model_name='vit_small_patch14_dinov2', depth=4)
    return {
        'model.backbone': dict(vit, _delete_=True),
        'model.decode_head.in_channels': 'from_encoder',
        'optimizer.constructor': 'LayerDecay',
        'optimizer.paramwise_cfg': dict(VFM_UDA_PP, _delete_=True),
        'lr_config': dict(policy='FullRateWarmup', warmup_iters=1500, _delete_=True),
    }


def test_config_is_accepted():
    check_keys(load_config(str(UDA_CONFIG), recipe()), str(UDA_CONFIG))


OPTIONS = 'optimizer.paramwise_cfg'


@pytest.mark.parametrize(
    ('overrides', 'says'),
    [
        ({f'{OPTIONS}.layer_deacy': 1}, f'{OPTIONS}.layer_deacy: nothing reads this key; did you '),
        ({f'{OPTIONS}.bias_lr_mult': 1}, f'{OPTIONS}.bias_lr_mult: nothing reads this key'),
        ({f'{OPTIONS}.layer_decay': 1.1}, 'layer_decay is 1.1; it has to be a number above 0 and '),
        ({f'{OPTIONS}.encoder_lr_mult': '1'}, "mult is '1'; it has to be a number above 0"),
        ({OPTIONS: dict(layer_decay=0.9, _delete_=True)}, 'encoder_lr_mult is missing'),
        ({OPTIONS: None}, 'encoder_lr_mult is missing, which LayerDecay needs'),
        ({'optimizer.constructor': 'LayerDecy'}, 'LayerDecy.; it has to be a registered optimizer'),
        ({'optimizer.constructor': 'DefaultOptimizerConstructor'}, 'mult: nothing reads this key'),
        ({'model.backbone': dict(type='mit_b0', _delete_=True)}, 'not mit_b0: leave it and'),
        ({'lr_config.warmup': 'exp'}, "warmup is 'exp'; FullRateWarmup has only 'linear'"),
        ({'lr_config.warmup_iters': 0}, 'lr_config cannot be used: .* positive'),
        ({'lr_config.warmup_itres': 0}, 'warmup_itres: nothing reads this key; did you mean '),
    ],
)
def test_mistakes_are_found_at_start_up(overrides, says):
    assert re.search(says, problem({**recipe(), **overrides}, UDA_CONFIG))
