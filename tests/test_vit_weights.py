"""Weight files of plain ViTs: every publisher's names, resampling, and what is refused."""

import json
import re

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from mmseg.models import build_backbone
from mmseg.utils.user_error import UserError
from tests.golden.fill import array_for, fill
from tests.test_timm_vit import GOLDEN, PYRAMID, assert_near, encoder, filled, image

CASES = json.loads((GOLDEN / 'conversion_cases.json').read_text())
BIAS_DROPPED = CASES.pop('bias_dropped_error')
HUGGING_FACE = [name for name in CASES if name.startswith('hf')]
BIAS_FREE = dict(model_name='vit_small_patch16_dinov3', embed_dim=96, num_heads=3, depth=2)


def file_of(name):
    """The weights of a golden case, under the file's names."""
    weights = filled(CASES[name]['names'])
    for key in weights:
        if key.endswith('bias_mask'):
            weights[key] = torch.ones(3, len(weights[key]) // 3)
            weights[key][1] = 0
            weights[key] = weights[key].flatten()
    return weights


def loaded(tmp_path, weights, ending='pth', **options):
    path = tmp_path / f'weights.{ending}'
    (save_file if ending == 'safetensors' else torch.save)(weights, path)
    vit = encoder(pretrained=str(path), **{'out_indices': [1], **options})
    vit.init_weights()
    return vit.eval()


def of_case(tmp_path, name, weights, ending='pth', **options):
    case = CASES[name]
    options = {**case['timm_options'], 'model_name': case['timm_model'], **options}
    return loaded(tmp_path, weights, ending, **options)


@torch.no_grad()
def assert_golden(name, vit):
    img = image('convert_img3' if 'dinov3' in name else 'convert_img', CASES[name]['image'])
    expected = np.load(GOLDEN / 'conversion.npz')[name]
    assert_near(vit(img)[-1].flatten(2)[:, ::4], expected)


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
@pytest.mark.parametrize('name', CASES)
def test_published_files_give_the_original_maps(tmp_path, name, ending):
    assert_golden(name, of_case(tmp_path, name, file_of(name), ending))


@pytest.mark.parametrize('name', HUGGING_FACE)
def test_names_of_transformers_in_memory(tmp_path, name):
    assert_golden(name, of_case(tmp_path, name, in_memory(name)))


def in_memory(name):
    """The weights of a Hugging Face case as transformers 5 names them in memory."""
    weights = {}
    for key, value in file_of(name).items():
        if 'weights_in' in key:  # two layers in memory
            for part, rows in zip(('gate_proj', 'up_proj'), value.chunk(2), strict=True):
                weights[key.replace('weights_in', part)] = rows
            continue
        for ours, theirs in (
            (r'attention\.attention\.([qkv])\w+', r'attention.\1_proj'),
            (r'attention\.output\.dense', 'attention.o_proj'),
            ('weights_out', 'down_proj'),
            (r'^layer\.', 'model.layer.'),
        ):
            key = re.sub(ours, theirs, key)
        weights[key] = value
    assert sorted(weights) == sorted(CASES[name]['names_in_memory_transformers_5'])
    return weights


@pytest.mark.parametrize('name', ['meta_dinov2', 'meta_dinov2_reg', 'meta_dinov3'])
def test_files_without_a_mask_token(tmp_path, name):
    weights = file_of(name)
    del weights['mask_token']
    assert_golden(name, of_case(tmp_path, name, weights))


def test_norms_that_only_metas_training_needs(tmp_path):
    weights = file_of('meta_dinov3')
    for norm in ('cls_norm', 'local_cls_norm'):
        weights |= {f'{norm}.weight': torch.ones(96), f'{norm}.bias': torch.ones(96)}
    assert_golden('meta_dinov3', of_case(tmp_path, 'meta_dinov3', weights))


@pytest.mark.parametrize('name', ['meta_dinov2', 'meta_dinov2_reg', 'hf_dinov2', 'hf_dinov3'])
def test_the_mask_token_starts_from_the_files(tmp_path, name):
    weights = file_of(name)
    key = next(key for key in weights if key.endswith('mask_token'))
    vit = of_case(tmp_path, name, weights, mask_token=True)
    assert torch.equal(vit.mask_token, weights[key].reshape(1, 96))
    assert_golden(name, vit)
    del weights[key]
    vit = of_case(tmp_path, name, weights, mask_token=True)
    assert torch.equal(vit.mask_token, torch.zeros(1, 96))


def test_the_student_of_a_vfm_uda_checkpoint(tmp_path):
    student = file_of('meta_dinov2')
    state = {f'network.encoder.{name}': value for name, value in student.items()}
    state |= {f'network_ema.encoder.{name}': value + 1 for name, value in student.items()}
    state['network.out.weight'] = torch.ones(19, 24, 1, 1)
    vit = of_case(tmp_path, 'meta_dinov2', {'state_dict': state, 'epoch': 1}, mask_token=True)
    assert_golden('meta_dinov2', vit)
    assert torch.equal(vit.mask_token, student['mask_token'])


def test_a_frozen_extractor_of_meta(tmp_path):
    shapes = json.loads((GOLDEN / 'vfmpp_keys.json').read_text())['frozen_extractor']
    weights = {n.removeprefix('encoder.'): value for n, value in filled(shapes).items()}
    vit = loaded(
        tmp_path, weights, model_name='vit_small_patch14_reg4_dinov2', embed_dim=96, depth=4,
        num_heads=3, img_size=70, out_indices=[3], frozen=True,
    )  # fmt: skip
    [features] = vit.train()(image('frozen_img', (2, 3, 64, 64)))
    assert not features.requires_grad and not vit.timm_model.training
    assert_near(features, np.load(GOLDEN / 'frozen_features.npz')['features'])


@pytest.mark.parametrize('key', ['plain', 'reg4'])
def test_patches_of_14_and_37_places_become_patches_of_16(tmp_path, key):
    case = PYRAMID['resample'][key]
    options = dict(case['options'], model_name=case['model'])
    whole = timm.create_model(case['model'], embed_dim=48, depth=1, num_heads=2)
    weights = {
        name: torch.from_numpy(array_for(f'{key}.{name}', tuple(value.shape)))
        for name, value in whole.state_dict().items()
    }
    assert list(weights) == case['names']
    vit = loaded(tmp_path, weights, out_indices=[0], **options)
    golden = np.load(GOLDEN / 'resample_37_to_16.npz')
    assert_near(vit.timm_model.pos_embed[:, ::5], golden[f'{key}_pos_embed'])
    kernel = vit.timm_model.patch_embed.proj.weight
    assert kernel.shape == (48, 3, 16, 16)
    assert_near(kernel[::4], golden[f'{key}_kernel'])
    assert_near(vit.timm_model.blocks[0].mlp.fc1.weight, weights['blocks.0.mlp.fc1.weight'].numpy())


@pytest.mark.parametrize(
    ('name', 'options', 'ending'),
    [
        ('vit_tiny_patch16_224', dict(depth=4), 'pth'),  # has a classifier
        ('eva02_tiny_patch14_224', dict(depth=4), 'safetensors'),  # its norm is behind the pooling
        ('vit_small_patch16_dinov3_qkvb', dict(depth=4), 'safetensors'),
        ('vit_base_patch16_clip_224', dict(embed_dim=96, num_heads=3, depth=4), 'pth'),
    ],
)
@torch.no_grad()
def test_timms_own_files_load_less_what_follows_the_last_level(tmp_path, name, options, ending):
    theirs = fill(timm.create_model(name, **options, dynamic_img_size=True)).eval()
    ours = loaded(
        tmp_path, theirs.state_dict(), ending, model_name=name, out_indices=[1, 2], norm=False,
        **options,
    )  # fmt: skip
    assert len(ours.timm_model.blocks) == 3
    img = torch.randn(1, 3, 112, 112)
    expected = theirs.forward_intermediates(img, [1, 2], intermediates_only=True)
    for mine, other in zip(ours(img), expected, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)


def test_an_encoder_out_of_a_checkpoint_of_this_project(tmp_path):
    trained = fill(encoder(**BIAS_FREE, out_indices=[1], mask_token=True))
    state = {f'backbone.{name}': value for name, value in trained.state_dict().items()}
    torch.save({'state_dict': {**state, 'decode_head.bias': torch.ones(1)}}, tmp_path / 'latest')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'latest'), prefix='backbone.')
    again = encoder(**BIAS_FREE, out_indices=[1], mask_token=True, init_cfg=init_cfg)
    again.init_weights()
    assert all(torch.equal(v, again.state_dict()[n]) for n, v in trained.state_dict().items())


@pytest.mark.parametrize('name', ['meta_dinov3', 'hf_dinov3', 'timm'])
def test_a_model_without_biases_takes_no_file_that_has_some(tmp_path, name, capsys):
    if name == 'timm':
        weights = fill(timm.create_model(**{**BIAS_FREE, 'model_name': QKVB})).state_dict()
        img = torch.randn(1, 3, 64, 112)
    else:
        weights, img = file_of(name), image('convert_img3', CASES[name]['image'])
    biases = [k for k in weights if re.search(r'(qkv\.bias|q_bias|v_bias|[qv]_proj\.bias)$', k)]
    with pytest.raises(UserError, match=r"no biases of q and v: set .*dinov3_qkvb'$"):
        loaded(tmp_path, weights, **BIAS_FREE)

    zeros = {key: torch.zeros_like(weights[key]) for key in biases}
    only_v = zeros | {biases[-1]: torch.eye(len(zeros[biases[-1]]))[-1]}
    with pytest.raises(UserError, match='is not zero, and vit_small_patch16_dinov3 has no'):
        loaded(tmp_path, weights | only_v, **BIAS_FREE)

    # Of zeros nothing is lost; what the third of k holds is masked anyway.
    for key in zeros:
        if key.endswith('qkv.bias'):
            zeros[key].view(3, -1)[1] = 1
    vit = loaded(tmp_path, weights | zeros, **BIAS_FREE)
    with_biases = loaded(tmp_path, weights | zeros, **{**BIAS_FREE, 'model_name': QKVB})
    with torch.no_grad():
        torch.testing.assert_close(vit(img)[-1], with_biases(img)[-1], rtol=0, atol=1e-5)
    assert capsys.readouterr().out == ''  # timm prints what it drops


QKVB = 'vit_small_patch16_dinov3_qkvb'


def test_what_dropped_biases_would_cost():
    """The trap: timm alone loads the file, and its maps are wrong by a sixth."""
    model = encoder(**BIAS_FREE, out_indices=[1]).eval()
    weights = file_of('meta_dinov3')
    for key in [key for key in weights if key.endswith('qkv.bias')]:
        del weights[key]
    model.load_state_dict(model.convert_weights(weights))
    expected = np.load(GOLDEN / 'conversion.npz')['meta_dinov3']
    with torch.no_grad():
        ours = model(image('convert_img3', (2, 3, 64, 112)))[-1].flatten(2)[:, ::4].numpy()
    error = np.abs(ours - expected).max() / np.abs(expected).max()
    assert error == pytest.approx(BIAS_DROPPED, rel=0.5)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda w: w.pop('blocks.1.norm1.bias'), 'missing: timm_model.blocks.1.norm1.bias'),
        (lambda w: w.update(extra=torch.ones(1)), '1 unknown: timm_model.extra'),
        (lambda w: w.update({'norm.bias': torch.ones(3)}), r'timm_model.norm.bias \(3,\) instead'),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, change, message):
    weights = file_of('meta_dinov2')
    change(weights)
    with pytest.raises(UserError, match=message):
        of_case(tmp_path, 'meta_dinov2', weights)


def test_half_a_file_of_hugging_face_is_refused(tmp_path):
    weights = file_of('hf_dinov2')
    del weights['encoder.layer.0.attention.attention.key.weight']
    with pytest.raises(UserError, match=r'missing: timm_model.blocks.0.attn.qkv.weight'):
        of_case(tmp_path, 'hf_dinov2', weights)
    weights = {'embeddings.word_embeddings.weight': torch.ones(3, 3)}  # of a language model
    with pytest.raises(UserError, match='does not fit'):
        of_case(tmp_path, 'hf_dinov2', weights)


def test_another_model_is_refused(tmp_path):
    weights = file_of('meta_dinov2_reg')
    with pytest.raises(UserError, match='the weight file is not of vit_small_patch14_dinov2'):
        of_case(tmp_path, 'meta_dinov2', weights)
    with pytest.raises(UserError, match='does not fit the encoder TimmViT'):
        of_case(tmp_path, 'meta_dinov3', weights)


def test_a_file_stays_as_it_was_read():
    weights = file_of('meta_dinov2_reg')
    before = dict(weights)
    case = CASES['meta_dinov2_reg']
    vit = build_backbone(
        dict(type='TimmViT', model_name=case['timm_model'], out_indices=[1], **case['timm_options'])
    )
    vit.convert_weights(weights)
    assert weights == before
