"""Adapters of encoders: golden maps and gradients, what is trained, files, training, merging."""

import copy
import json
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv import ConfigDict
from torch import nn

from mmseg.engine.checkpoint import load_file, save_file
from mmseg.engine.config import load_config, parse_options
from mmseg.engine.performance import build_grouped_optimizer
from mmseg.engine.runner import SeededRunner
from mmseg.engine.trained import load_trained
from mmseg.models import build_backbone, build_segmentor
from mmseg.models.adapters.low_rank import LowRankLinear
from mmseg.models.adapters.rein import ReinTokens
from mmseg.utils.seeding import Step
from tests.golden.fill import array_for
from tests.test_config_keys import check, problem
from tests.test_dacs import build_dacs, random_batch, tiny_model
from tests.test_engine import _signal_at
from tests.test_layer_decay import options_by_name, segmentor
from tests.test_timm_vit import DINOV2, GOLDEN, assert_near, filled, image
from tests.tiny_runs import (
    SMALL_UDA,
    UDA_CONFIG,
    TrainedRun,
    assert_same_training,
    run_experiment,
)
from tools import publish_model

pytestmark = pytest.mark.usefixtures('one_thread')

LORA = json.loads((GOLDEN / 'lora.json').read_text())
SOMA = json.loads((GOLDEN / 'soma.json').read_text())
REIN = json.loads((GOLDEN / 'rein.json').read_text())
ENCODERS = {
    'dinov2': dict(type='TimmViT', depth=4, **DINOV2),
    'dinov3': dict(
        type='TimmViT', model_name='vit_small_patch16_dinov3_qkvb', embed_dim=96, num_heads=3,
        depth=4,
    ),
    'eva02': dict(
        type='TimmViT', model_name='eva02_tiny_patch14_224', embed_dim=48, num_heads=3, depth=4,
    ),
    'mit': dict(type='mit_b0'),
    'convnext': dict(
        type='TimmEncoder', model_name='convnext_tiny', depths=[1] * 4, dims=[16, 32, 64, 128],
    ),
    'hiera': dict(
        type='TimmEncoder', model_name='sam2_hiera_tiny', stages=[1] * 4, embed_dim=32,
    ),
}  # fmt: skip
FULL_LORA = dict(type='LoRA', r=4, targets=['fc1', 'fc2'])
ADAPTED = [
    *((key, dict(type='LoRA', r=4)) for key in ('dinov2', 'dinov3', 'eva02', 'mit', 'hiera')),
    ('convnext', FULL_LORA),
    *((key, dict(type='SoMA', r=4, alpha=8)) for key in ENCODERS),
    *((key, dict(type='Rein', m=10, r=4)) for key in ('dinov2', 'dinov3', 'eva02')),
]
each_adapted = pytest.mark.parametrize(
    ('key', 'adapt'), ADAPTED, ids=[f'{adapt["type"]}-{key}' for key, adapt in ADAPTED]
)
IMG = torch.linspace(-1, 1, 2 * 3 * 64 * 64).reshape(2, 3, 64, 64).sin()


def encoder(key, adapt=None, **options):
    """An encoder, its own weights filled: some of timm's first ones hardly do anything."""
    network = build_backbone({**ENCODERS[key], 'adapt': adapt, **options})
    fill_own(network)
    return network


def golden_vit(adapt, **options):
    """A ViT whose own weights are filled under timm's names."""
    vit = build_backbone(dict(ENCODERS['dinov2'], adapt=adapt, **options))
    fill_own(vit.timm_model)
    return vit.eval()


def fill_own(network):
    shapes = {n: v.shape for n, v in network.state_dict().items() if not is_added(n)}
    network.load_state_dict(filled(shapes), strict=False)


def is_added(name):
    return 'lora' in name or 'rein.' in name


def value(name, like, factor=0.3):
    return factor * filled({name: like.shape})[name]


def trained(module):
    return {name for name, weight in module.named_parameters() if weight.requires_grad}


def low_rank_layers(module):
    return {n: each for n, each in module.named_modules() if isinstance(each, LowRankLinear)}


@torch.no_grad()
def tune(module):
    """Give an adapter weights as if it had been trained."""
    for name, weight in module.named_parameters():
        if weight.requires_grad:
            weight += 0.05 * torch.as_tensor(array_for(name, weight.shape))
    return module


def assert_sums(weights, expected):
    """Compare gradients with their sums and sums of absolutes."""
    for name, (total, absolute) in expected.items():
        gradient = weights[name].grad
        assert gradient.abs().sum() == pytest.approx(absolute, rel=1e-4), name
        assert gradient.sum() == pytest.approx(total, abs=1e-4 * absolute), name


# Golden arrays


@pytest.mark.parametrize('case', [0, 1])
def test_golden_lora(case):
    golden, facts = np.load(GOLDEN / 'lora.npz'), LORA[f'case{case}']
    options = {} if case == 0 else dict(targets=facts['targets'])  # the default is qkv
    adapt = dict(type='LoRA', r=facts['r'], alpha=facts['alpha'], **options)
    vit = golden_vit(adapt, out_indices=[3])
    assert trained(vit.timm_model) == set(facts['trainable']) and trained(vit) == {
        f'timm_model.{name}' for name in facts['trainable']
    }
    img = image('lora_img', (2, 3, 70, 70))
    assert_near(vit(img)[-1], golden['base'])
    weights = dict(vit.timm_model.named_parameters())
    for name in facts['trainable']:
        weights[name].data = value(name, weights[name])
    level = vit(img)[-1]
    assert_near(level, golden[f'tuned{case}'])
    (level * image(f'lora_grad{case}', level.shape)).mean().backward()
    assert_sums(weights, facts['grad_sums'])
    vit.merge_adapter()
    assert not low_rank_layers(vit) and type(vit.timm_model.blocks[1].attn.qkv) is nn.Linear
    merged = vit.timm_model.blocks[1].attn.qkv.weight
    assert_near(merged[:, ::8], golden[f'merged_weight{case}'])
    torch.testing.assert_close(vit(img)[-1], level, rtol=0, atol=5e-6 * level.abs().max().item())


@pytest.mark.parametrize('case', [0, 1])
@torch.no_grad()
def test_golden_soma(case):
    golden, facts = np.load(GOLDEN / 'soma.npz'), SOMA[f'case{case}']
    start, r = facts['start'], facts['r']
    adapt = dict(type='SoMA', r=r, alpha=facts.get('alpha'), start_block=start)
    vit = golden_vit(adapt, out_indices=[3])
    expected = {n for n in facts['trainable'] if n != 'mask_token'}
    for letter in 'qkv':
        expected = {name.replace(f'attn.{letter}.', 'attn.qkv.') for name in expected}
    assert trained(vit.timm_model) == expected
    img = image('lora_img', (2, 3, 70, 70))
    vit.init_weights()
    assert_near(vit(img)[-1], golden['base'])

    block = vit.timm_model.blocks[start]
    qkv, fc1 = block.attn.qkv, block.mlp.fc1
    assert_near(qkv.weight[:96, ::4], golden[f'residual_q{case}'])
    assert_near(fc1.weight[:, ::16], golden[f'residual_fc1_{case}'])
    product = qkv.lora_B.weight[192:] @ qkv.lora_A.weight[2 * r :]
    error = np.abs(product[:, ::4].numpy() - golden[f'BA_v{case}']).max()
    assert error <= 1e-4 * np.abs(golden[f'BA_v{case}']).max()
    squares = qkv.lora_A.weight[:r].square().sum(1).numpy()
    np.testing.assert_allclose(squares, golden[f'gram_A_q{case}'], rtol=1e-4)
    smallest = golden[f'singular_values_q{case}'][-r:]
    np.testing.assert_allclose(squares * facts['scaling'], smallest, rtol=1e-4)

    again = qkv.weight.clone()
    vit.init_weights()  # what has been split once is not split again
    assert torch.equal(qkv.weight, again)
    for name, layer in low_rank_layers(vit.timm_model).items():
        names = [name.replace('qkv', x) for x in 'qkv'] if name.endswith('qkv') else [name]
        for which in ('lora_A', 'lora_B'):
            weight = getattr(layer, which).weight
            parts = zip(names, weight.chunk(len(names)), strict=True)
            weight.copy_(torch.cat([value(f'{n}.{which}.weight', part) for n, part in parts]))
    level = vit(img)[-1]
    assert_near(level, golden[f'tuned{case}'])
    vit.merge_adapter()
    torch.testing.assert_close(vit(img)[-1], level, rtol=0, atol=5e-6 * level.abs().max().item())


def test_golden_rein():
    golden, config = np.load(GOLDEN / 'rein.npz'), REIN['config']
    adapt = dict(type='Rein', m=config['token_length'], r=config['lora_dim'])
    options = dict(img_size=config['img_size'], out_indices=config['out_indices'], norm=False)
    vit = golden_vit(adapt, **options)
    ours = {f'reins.{name}': weight for name, weight in vit.rein.named_parameters()}
    assert trained(vit) == {name.replace('reins', 'rein') for name in ours}
    for name, weight in ours.items():
        weight.data = value(name, weight, 1.0)
    assert_near(vit.rein(image('rein_tokens', (2, 13, 96)), 1), golden['single_layer'])
    maps = vit(image('rein_img', (2, 3, 56, 56)))
    assert_near(torch.stack(maps)[:, :, ::2], golden['raw'])
    loss = 0
    for i, (each, factor) in enumerate(zip(maps, (4, 2, 1, 0.5), strict=True)):
        level = F.interpolate(each, scale_factor=factor, mode='bilinear')
        assert_near(level[:, :: (12, 6, 4, 2)[i]], golden[f'level{i}'])
        loss = loss + (level * image(f'rein_grad{i}', level.shape)).mean()
    assert loss.item() == pytest.approx(REIN['loss'], rel=1e-4)
    loss.backward()
    assert_sums(ours, {name: REIN['grad_sums'][name] for name in ours})


def test_first_weights():
    tokens = ReinTokens(depth=4, width=96, patch=14, prefix=1, m=10, r=4, scale=0.001)
    for name, weight in tokens.named_parameters():
        shape, *_, deviation = REIN['init_ranges'][name]
        assert list(weight.shape) == shape
        bound = REIN['token_init_bound'] if 'tokens' in name else 1 / np.sqrt(96)
        if name == 'scale':
            assert weight.item() == pytest.approx(0.001)
        else:
            assert 0.9 * bound < weight.abs().max() <= bound
            assert weight.std().item() == pytest.approx(deviation, rel=0.15)
    for layer in low_rank_layers(encoder('dinov2', dict(type='LoRA'))).values():
        largest = layer.lora_A.weight.abs().max().item()
        _, bound = LORA['case0']['drawn_A_max_and_bound']['blocks.0.attn.qkv.lora_A.default.weight']
        assert 0.95 * bound < largest <= bound and not layer.lora_B.weight.any()
        assert layer.lora_A.weight.shape == (32, 96) and layer.scaling == 1
        assert layer.lora_dropout.p == 0.1


COUNTS = {
    'LoRA': {size: counts['r32 qkv'] for size, counts in LORA['parameter_counts'].items()},
    'Rein': {
        size: counts['without link']
        for size, counts in REIN['parameter_counts_published_defaults'].items()
    },
    'SoMA': {name.split()[0]: counts['total'] for name, counts in SOMA['parameter_counts'].items()},
}


@pytest.mark.parametrize('kind', COUNTS)
def test_numbers_of_trained_weights_by_default(kind):
    for size, expected in COUNTS[kind].items():
        with torch.device('meta'):
            vit = build_backbone(
                dict(type='TimmViT', model_name=f'{size}_patch14_dinov2', adapt=dict(type=kind))
            )
        weights = dict(vit.named_parameters())
        assert sum(weights[name].numel() for name in trained(vit)) == expected


# Every encoder


@each_adapted
@torch.no_grad()
def test_starts_as_the_encoder_and_loads_its_files(tmp_path, key, adapt):
    plain = encoder(key).eval()
    torch.save(plain.state_dict(), tmp_path / 'plain.pth')
    pretrained = str(tmp_path / 'plain.pth')
    adapted = build_backbone(dict(ENCODERS[key], adapt=adapt, pretrained=pretrained))
    drawn = {n: v.clone() for n, v in adapted.state_dict().items() if is_added(n)}
    adapted.init_weights()
    own = adapted.state_dict()
    if adapt['type'] != 'SoMA':  # which splits the weights of the file
        assert drawn and all(torch.equal(value, own[name]) for name, value in drawn.items())
    tolerance = 0.01 if adapt['type'] == 'Rein' else 1e-5
    expected = plain(IMG)
    for level, other in zip(adapted.eval()(IMG), expected, strict=True):
        assert (level - other).abs().max() <= tolerance * other.abs().max()
    # Tuned, the maps are others, and a file with the adapter brings them to another encoder.
    tune(adapted)
    levels = adapted(IMG)
    assert (levels[-1] - expected[-1]).abs().max() > 1e-2 * expected[-1].abs().max()
    torch.save(adapted.state_dict(), tmp_path / 'adapted.pth')
    other = encoder(key, adapt, pretrained=str(tmp_path / 'adapted.pth')).eval()
    other.init_weights()
    assert all(torch.equal(a, b) for a, b in zip(levels, other(IMG), strict=True))
    if adapt['type'] != 'Rein':
        other.merge_adapter()
        assert all(type(m) is type(plain.get_submodule(n)) for n, m in other.named_modules())
        plain.load_state_dict(other.state_dict())
        for level, merged in zip(levels, plain(IMG), strict=True):
            assert (level - merged).abs().max() <= 1e-5 * level.abs().max()


@each_adapted
def test_what_is_trained_and_in_which_mode(key, adapt):
    vit = encoder(key, adapt, drop_path_rate=0.5)
    names = trained(vit)
    layers = low_rank_layers(vit) or {'rein': vit.rein}
    biases = {n for n in names if n.endswith('bias') and not n.startswith('rein.')}
    assert all('lora_' in n or n.startswith('rein.') for n in names - biases)
    assert bool(biases) == (adapt['type'] == 'SoMA')
    vit.train()
    added = {module for layer in layers.values() for module in layer.modules()}
    assert all(m.training == (m in added) for m in vit.modules() if m is not vit) and vit.training
    assert not any(module.training for module in vit.eval().modules())
    vit.train()
    vit.zero_grad()
    tune(vit)
    sum(level.pow(3).mean() for level in vit(IMG)).backward()
    for name, weight in vit.named_parameters():
        assert (weight.grad is not None and bool(weight.grad.any())) == (name in names), name


@pytest.mark.parametrize('key', ['dinov3', 'eva02'])
def test_attention_that_takes_the_bare_weight(key):
    """timm's own way for these would pass an adapted layer by."""
    plain, adapted = encoder(key).eval(), encoder(key, dict(type='LoRA', r=4)).eval()
    adapted.load_state_dict(plain.state_dict(), strict=False)
    torch.testing.assert_close(adapted(IMG)[-1], plain(IMG)[-1], rtol=0, atol=1e-5)
    layers = low_rank_layers(adapted).values()
    assert layers
    for layer in layers:
        nn.init.normal_(layer.lora_B.weight)
    level = adapted(IMG)[-1]
    assert (level - plain(IMG)[-1]).abs().max() > 0.1
    level.pow(3).mean().backward()
    for layer in layers:
        assert layer.lora_A.weight.grad.abs().max() > 0 and layer.lora_B.weight.grad.any()


@each_adapted
def test_same_gradients_with_checkpointing(key, adapt):
    found = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        vit = encoder(key, adapt, with_cp=with_cp)
        vit.init_weights()
        tune(vit).train()
        torch.manual_seed(0)  # the dropout's
        sum(level.pow(3).mean() for level in vit(IMG)).backward()
        found.append({n: w.grad for n, w in vit.named_parameters() if w.requires_grad})
    assert all(torch.equal(gradient, found[1][name]) for name, gradient in found[0].items())


@each_adapted
@torch.no_grad()
def test_a_deep_copy_is_on_its_own(key, adapt):
    vit = encoder(key, adapt).eval()
    vit.init_weights()
    before = vit(IMG)[-1]
    other = copy.deepcopy(vit)
    assert torch.equal(other(IMG)[-1], before)
    tune(other)
    assert not torch.allclose(other(IMG)[-1], before)
    assert torch.equal(vit(IMG)[-1], before)
    other.train()
    assert not any(module.training for module in vit.modules())


@torch.no_grad()
def test_rein_leaves_class_and_register_tokens():
    vit = encoder('dinov3', dict(type='Rein', m=10, r=4)).eval()
    tokens = torch.randn(2, 21, 96)
    refined = tune(vit).rein(tokens, 0)
    changed = (refined != tokens).any(2)
    assert not changed[:, :5].any() and changed[:, 5:].all()


@pytest.mark.parametrize('adapt', [dict(type='Rein'), dict(type='LoRA'), dict(type='SoMA')])
def test_the_mask_token_is_trained_beside_the_adapter(adapt):
    vit = encoder('dinov2', adapt, mask_token=True).train()
    assert 'mask_token' in trained(vit)
    with vit.masked_tokens(torch.ones(2, 5, 5, dtype=torch.bool)):
        vit(IMG)[-1].square().sum().backward()
    assert vit.mask_token.grad.any()


def test_blocks_of_soma_are_counted_over_all_stages():
    def blocks(start):
        layers = low_rank_layers(encoder('mit', dict(type='SoMA', r=4, start_block=start)))
        return sorted({name.partition('.attn')[0].partition('.mlp')[0] for name in layers})

    assert blocks(5) == ['block3.1', 'block4.0', 'block4.1']
    assert blocks(None) == blocks(8 // 3)  # a third, as the published 8 of 24
    assert blocks(0)[0] == 'block1.0' and len(blocks(0)) == 8


def test_without_svd_nothing_is_subtracted():
    vit = golden_vit(dict(type='SoMA', r=4, init='none'))
    before = {name: value.clone() for name, value in vit.state_dict().items()}
    vit.init_weights()
    assert all(torch.equal(value, before[name]) for name, value in vit.state_dict().items())
    assert not any(layer.lora_B.weight.any() for layer in low_rank_layers(vit).values())


# Mistakes in a config

DINOV2_CONFIG = {'type': 'TimmViT', 'model_name': 'vit_small_patch14_dinov2', '_delete_': True}
CONVNEXT = dict(type='TimmEncoder', model_name='convnext_tiny', _delete_=True)


@pytest.mark.parametrize(
    ('backbone', 'adapt', 'says'),
    [
        ({}, 'LoRA', "adapt is 'LoRA'; it has to be a dict or None"),
        ({}, {'r': 4}, 'model.backbone.adapt has no type'),
        ({}, {'type': 'Lora'}, 'adapt.type: there is no Lora; did you mean LoRA?'),
        ({}, {'type': 'LoRA', 'alhpa': 4}, 'adapt.alhpa: nothing reads this key; did you mean'),
        ({}, {'type': 'LoRA', 'init': 'svd'}, 'adapt.init: nothing reads this key; known are'),
        ({}, {'type': 'LoRA', 'r': 0}, 'adapt.r is 0; it has to be a whole number above 0'),
        ({}, {'type': 'LoRA', 'dropout': 2}, 'adapt.dropout is 2; it has to be a number from 0'),
        ({}, {'type': 'LoRA', 'alpha': '4'}, "adapt.alpha is '4'; it has to be a number above 0"),
        ({}, {'type': 'LoRA', 'targets': []}, r'adapt.targets is \[\]; it has to be a list of'),
        (
            {},
            {'type': 'LoRA', 'targets': ['qkw', 'fc1']},
            'no linear layer qkw: set .*targets.* names from fc1,',
        ),
        ({}, {'type': 'LoRA', 'targets': ['patch_embed.proj']}, 'no linear layer patch_embed.proj'),
        (
            CONVNEXT,
            {'type': 'LoRA'},
            'no linear layer of queries, keys and values: set .*targets.* names from fc1, fc2$',
        ),
        ({}, {'type': 'LoRA', 'r': 65}, 'adapt.r is 65: the rank of block1.0.attn.q is 64, use'),
        ({}, {'type': 'SoMA', 'init': 'SVD'}, "adapt.init is 'SVD'; .* one of 'svd', 'none'"),
        ({}, {'type': 'SoMA', 'start_block': 52}, 'blocks from 52 of 52: use a smaller start_b'),
        ({}, {'type': 'SoMA', 'r': 321}, 'adapt.r is 321: the rank of block3.8.attn.q is 320'),
        ({}, {'type': 'Rein'}, "adapt.type='Rein' is for plain ViTs, backbone.type='TimmViT'"),
        (CONVNEXT, {'type': 'Rein'}, "adapt.type='Rein' is for plain ViTs"),
        (DINOV2_CONFIG, {'type': 'Rein', 'r': 101}, 'adapt.r is 101: the rank of the tokens is 1'),
        (DINOV2_CONFIG, {'type': 'Rein', 'scale': 0}, 'adapt.scale is 0; it has to be a number'),
        (dict(DINOV2_CONFIG, frozen=True), {'type': 'LoRA'}, 'frozen=True would freeze the adap'),
        (
            dict(type='TimmEncoder', model_name='efficientnet_b0', _delete_=True),
            {'type': 'SoMA'},
            'SoMA finds no linear layers',
        ),
        (
            dict(type='TimmEncoder', model_name='efficientnet_b0', _delete_=True),
            {'type': 'LoRA'},
            'the encoder has no linear layers that LoRA could adapt',
        ),
    ],
)
def test_mistakes(backbone, adapt, says):
    said = problem({'model.pretrained': None, 'model.backbone': {**backbone, 'adapt': adapt}})
    assert re.search(says, said)


@pytest.mark.parametrize(
    ('backbone', 'adapt'),
    [
        ({}, dict(type='LoRA', r=8, alpha=16, dropout=0, targets=['q', 'attn.proj'])),
        ({}, dict(type='SoMA', r=8, alpha=None, start_block=0, init='none')),
        (DINOV2_CONFIG, dict(type='Rein', m=50, r=8, scale=1)),
        (CONVNEXT, dict(type='SoMA')),
    ],
)
def test_options_that_can_be(backbone, adapt):
    check({'model.pretrained': None, 'model.backbone': {**backbone, 'adapt': adapt}})


@pytest.mark.parametrize('adapt', [dict(type='LoRA'), dict(type='SoMA'), dict(type='Rein')])
def test_layer_decay_gives_adapters_the_rate_of_the_head(adapt):
    vit = encoder('dinov2', adapt, mask_token=True)
    rates = options_by_name(segmentor(vit))
    encoder_rates = {n.removeprefix('backbone.'): r for n, (r, _) in rates.items() if 'back' in n}
    assert encoder_rates.keys() == trained(vit)
    for name, rate in encoder_rates.items():
        assert (rate == pytest.approx(1)) == is_added(name), name


# Training


def adapted_dacs(adapt, **options):
    dacs = build_dacs(tiny_model(adapt=adapt), debug_img_interval=0, **options)
    dacs.init_weights()
    return dacs.train()


def train_two_steps(dacs):
    optimizer = build_grouped_optimizer(dacs.model, dict(type='AdamW', lr=1e-2))
    for i in range(2):
        dacs.train_step(random_batch(), optimizer, step=Step(0, i))
    return optimizer


@pytest.mark.parametrize('adapt', [dict(type='LoRA', r=4), dict(type='SoMA', r=4, start_block=1)])
def test_frozen_weights_stay_and_are_the_teachers(adapt):
    dacs = adapted_dacs(adapt)
    student, teacher = (dict(n.named_parameters()) for n in (dacs.model, dacs.ema_model))
    before = {name: weight.clone() for name, weight in student.items()}
    names = trained(dacs.model)
    optimizer = train_two_steps(dacs)
    for name, weight in student.items():
        assert (teacher[name] is weight) == (name not in names), name
        assert torch.equal(weight, before[name]) == (name not in names), name
        assert (weight in optimizer.state) == (weight.grad is not None) == (name in names), name
        if name in names:  # iteration 1 labels with a teacher of 1/2 and 1/2
            assert not torch.equal(teacher[name], weight)
    assert not any(weight.requires_grad for weight in teacher.values())
    averaged, _ = dacs._teachers[0]._weights
    assert {id(weight) for weight in averaged} == {id(teacher[name]) for name in names}
    dacs.to(torch.float64)
    for name, weight in dacs.model.named_parameters():
        other = dacs.ema_model.get_parameter(name)
        assert weight.dtype == torch.float64 and (other is weight) == (name not in names)


def test_the_teacher_of_any_frozen_encoder():
    model = tiny_model()
    model.backbone = dict(ENCODERS['dinov2'], frozen=True)
    model.decode_head.in_channels = [96] * 4
    dacs = build_dacs(model, debug_img_interval=0)
    pairs = zip(dacs.model.backbone.parameters(), dacs.ema_model.backbone.parameters(), strict=True)
    assert all(one is other for one, other in pairs)
    dacs.init_weights()
    train_two_steps(dacs.train())
    heads = (each.decode_head.parameters() for each in (dacs.model, dacs.ema_model))
    assert not any(torch.equal(one, other) for one, other in zip(*heads, strict=True))


def size_of(parts):
    return sum(weight.numel() * weight.element_size() for weight in parts)


@pytest.mark.parametrize('adapt', [dict(type='LoRA', r=4), dict(type='SoMA', r=4)])
def test_frozen_weights_are_in_a_file_once(tmp_path, adapt):
    dacs = tune(adapted_dacs(adapt))
    path = str(tmp_path / 'checkpoint.pth')
    save_file(dict(state_dict=dacs.state_dict()), path)
    weights = list(dacs.model.parameters())
    once, moving = size_of(weights), size_of(w for w in weights if w.requires_grad)
    size = Path(path).stat().st_size
    assert once + moving < size < 1.1 * (once + moving) < 1.8 * once
    # What is read from it shares its memory again, and loads into either network.
    content = load_file(path)['state_dict']
    shared = 'backbone.block1.0.norm1.weight'
    assert content[f'model.{shared}'].data_ptr() == content[f'ema_model.{shared}'].data_ptr()
    other = adapted_dacs(adapt)
    other.load_state_dict(content)
    for name, value in other.state_dict().items():
        assert torch.equal(value, content[name]), name


# Runs and published files


@pytest.mark.long
@pytest.mark.parametrize('kind', ['SoMA', 'LoRA'])
def test_exact_resume(tmp_path, street_scenes, monkeypatch, kind):
    options = (f'model.backbone.adapt.type={kind}', 'model.backbone.adapt.r=4')
    for name in ('whole', 'stopped'):
        (tmp_path / name / 'data').mkdir(parents=True)
        (tmp_path / name / 'data' / 'street_scenes').symlink_to(street_scenes)
        monkeypatch.chdir(tmp_path / name)
        if name == 'stopped':
            with monkeypatch.context() as patch, pytest.raises(SystemExit):
                _signal_at(patch, 1, signal.SIGTERM)
                run_experiment(UDA_CONFIG, *options)
        run_experiment(UDA_CONFIG, *options)
    assert_same_training(TrainedRun(tmp_path / 'stopped'), TrainedRun(tmp_path / 'whole'))
    # Another run starts from it: from its whole weights, not from those of a file.
    started = []
    monkeypatch.setattr(SeededRunner, 'run', lambda runner, loader: started.append(runner.model))
    checkpoint = TrainedRun(tmp_path / 'whole').folder / TrainedRun(tmp_path / 'whole').checkpoint
    run_experiment(UDA_CONFIG, *options, 'seed=1', arguments=['--load-from', str(checkpoint)])
    expected = load_file(checkpoint)['state_dict']
    for name, value in started[0].state_dict().items():
        assert torch.equal(value, expected[name.replace('ema_model.', 'model.')]), name


@pytest.fixture
def publish(tmp_path):
    """Publish a tiny network with tuned weights; returns the network and the published one."""

    def publish(backbone, *options):
        cfg = load_config(str(UDA_CONFIG), parse_options(SMALL_UDA))
        cfg.model.pretrained = None
        cfg.model.backbone = ConfigDict(backbone)
        cfg.dump(str(tmp_path / 'config.json'))
        torch.manual_seed(0)
        network = build_segmentor(copy.deepcopy(cfg.model)).eval()
        network.init_weights()
        torch.save({'state_dict': tune(network).state_dict()}, tmp_path / 'checkpoint.pth')
        arguments = [str(tmp_path / 'checkpoint.pth'), '--config', str(tmp_path / 'config.json')]
        path = publish_model.main([*arguments, '--out', str(tmp_path / 'out'), *options])
        return network, path

    return publish


@pytest.mark.parametrize('adapt', [dict(type='LoRA', r=4), dict(type='SoMA', r=4, alpha=8)])
@torch.no_grad()
def test_merged_when_published(publish, adapt):
    network, path = publish(dict(ENCODERS['mit'], adapt=adapt), '--merge')
    content = load_file(path)
    assert 'adapt' not in json.loads(content['meta']['config'])['model']['backbone']
    merged = load_trained(None, path, torch.device('cpu'))
    assert not [name for name in merged.state_dict() if 'lora' in name]
    ours, expected = (each.encode_decode(IMG, [{}]) for each in (merged, network))
    assert (ours - expected).abs().max() <= 1e-6 * expected.abs().max()
    # And without --merge the network as it is.
    _, path = publish(dict(ENCODERS['mit'], adapt=adapt))
    same = load_trained(None, path, torch.device('cpu'))
    assert torch.equal(same.encode_decode(IMG, [{}]), expected)


def test_what_cannot_be_merged(publish):
    with pytest.raises(SystemExit, match=r'^Error: the encoder has no adapter: there is nothing'):
        publish(ENCODERS['mit'], '--merge')
    rein = dict(ENCODERS['dinov2'], adapt=dict(type='Rein', m=10, r=4))
    with pytest.raises(SystemExit, match=r'^Error: Rein cannot be merged: publish without --merge'):
        publish(rein, '--merge')
