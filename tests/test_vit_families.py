"""Every family of plain ViTs that timm has: sizes, gradients, checkpointing, frozen encoders."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmseg.engine.performance import build_grouped_optimizer
from mmseg.models import build_backbone
from tests.golden.fill import fill

TINY = dict(embed_dim=48, num_heads=3, depth=4)
FAMILIES = {
    'dinov2': dict(model_name='vit_small_patch14_dinov2', img_size=70),
    'dinov2_registers': dict(model_name='vit_small_patch14_reg4_dinov2', img_size=70),
    'dinov3': dict(model_name='vit_small_patch16_dinov3'),
    'eva02': dict(model_name='eva02_tiny_patch14_224', img_size=70),
    'radio': dict(model_name='vit_base_patch16_radio_v3', img_size=64),
}
SIZES = [(70, 112), (64, 99), (33, 48)]  # of which the patch divides none, one or both sides


@pytest.fixture(params=FAMILIES)
def family(request):
    return {**TINY, **FAMILIES[request.param]}


def encoder(options, **changes):
    return fill(build_backbone({'type': 'TimmViT', **options, **changes}))


@torch.no_grad()
def test_the_last_level_is_the_output_of_timm_at_any_size(family):
    vit = encoder(family).eval()
    patch, width = vit.stride, TINY['embed_dim']
    for height, width_of_image in SIZES:
        img = torch.randn(2, 3, height, width_of_image)
        rows, columns = -(-height // patch), -(-width_of_image // patch)
        levels = vit(img)
        assert [level.shape for level in levels] == [(2, width, rows, columns)] * 4
        whole = F.interpolate(img, (rows * patch, columns * patch), mode='bilinear')
        tokens = vit.timm_model.forward_features(whole)[:, vit.timm_model.num_prefix_tokens :]
        assert torch.equal(levels[-1], tokens.mT.unflatten(2, (rows, columns)))
        assert not torch.allclose(levels[0], levels[-1], rtol=0.1)


def test_gradients_reach_the_first_block_and_are_the_same_with_checkpointing(family):
    found = []
    for with_cp in (False, True):
        vit = encoder(family, drop_path_rate=0.2, with_cp=with_cp).train()
        torch.manual_seed(0)
        sum(level.pow(3).mean() for level in vit(torch.randn(4, 3, 64, 64))).backward()
        found.append({name: weight.grad for name, weight in vit.named_parameters()})
    assert {'timm_model.patch_embed.proj.weight', 'timm_model.blocks.0.norm1.weight'} <= set(
        found[0]
    )
    assert [name for name, grad in found[0].items() if grad is None or not grad.any()] == []
    assert [name for name, grad in found[1].items() if not torch.equal(grad, found[0][name])] == []


def test_frozen_means_frozen(family):
    vit = encoder(family, frozen=True, drop_path_rate=0.5)
    assert not any(weight.requires_grad for weight in vit.parameters())
    vit.timm_model.register_module('statistics', nn.BatchNorm2d(48, affine=False))
    head = nn.Conv2d(48, 2, 1)
    network = nn.ModuleDict({'backbone': vit, 'decode_head': head})
    optimizer = build_grouped_optimizer(network, dict(type='AdamW', lr=0.1, weight_decay=0.5))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    img = torch.randn(2, 3, 64, 64)
    expected = vit(img)[-1]
    for mode in (True, False, True):
        network.train(mode)
        assert head.training == mode and not any(module.training for module in vit.modules())
    head(vit.timm_model.statistics(vit(img)[-1])).square().sum().backward()
    optimizer.step()
    after = network.state_dict()
    changed = [name for name, value in before.items() if not torch.equal(value, after[name])]
    assert changed == ['decode_head.weight', 'decode_head.bias']
    assert torch.equal(vit(img)[-1], expected)
