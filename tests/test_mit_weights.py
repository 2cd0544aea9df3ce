"""Encoder weights load from every format in circulation, completely or not at all."""

import os

import pytest
import torch
from safetensors.torch import save_file

from mmseg.models import build_backbone
from mmseg.models.backbones.mit import MixVisionTransformer
from tests.golden.fill import fill


def encoder(path=None, name='mit_b0'):
    return build_backbone({'type': name, 'pretrained': path and str(path)})


def loaded(path):
    model = encoder(path)
    model.init_weights()
    return model.state_dict()


def assert_same(state, expected):
    assert set(state) == set(expected)
    for name, value in expected.items():
        assert torch.equal(state[name], value), name


@pytest.fixture
def weights():
    return fill(encoder()).state_dict()


@pytest.mark.parametrize('wrapped', [False, True])
def test_segformer_authors_format(tmp_path, weights, wrapped):
    state = {**weights, 'head.weight': torch.ones(1000, 256), 'head.bias': torch.ones(1000)}
    torch.save({'state_dict': state} if wrapped else state, tmp_path / 'mit_b0.pth')
    assert_same(loaded(tmp_path / 'mit_b0.pth'), weights)


def test_openmmlab_encoder_gives_the_same_features(tmp_path):
    theirs = MixVisionTransformer(embed_dims=32, num_heads=[1, 2, 5, 8], num_layers=[2, 2, 2, 2])
    torch.manual_seed(0)
    theirs.init_weights()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith('bias'):
                parameter.normal_(std=0.1)
    torch.save(theirs.state_dict(), tmp_path / 'openmmlab.pth')
    # The weights were trained with these; MMSegmentation has 1e-6 in all its norms.
    for stage in theirs.layers:
        stage[0].norm.eps = 1e-5
        for block in stage[1]:
            if block.attn.sr_ratio > 1:
                block.attn.norm.eps = 1e-5
    ours = encoder(tmp_path / 'openmmlab.pth')
    ours.init_weights()
    with torch.no_grad():
        img = torch.randn(2, 3, 64, 96)
        pairs = list(zip(ours.eval()(img), theirs.eval()(img), strict=True))
    assert len(pairs) == 4
    for mine, other in pairs:
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)


HUGGING_FACE = {
    'norm1': 'layer_norm_1',
    'attn.q': 'attention.self.query',
    'attn.proj': 'attention.output.dense',
    'attn.sr': 'attention.self.sr',
    'attn.norm': 'attention.self.layer_norm',
    'norm2': 'layer_norm_2',
    'mlp.fc1': 'mlp.dense1',
    'mlp.dwconv.dwconv': 'mlp.dwconv.dwconv',
    'mlp.fc2': 'mlp.dense2',
}


def to_hugging_face(weights, prefix):
    """Our weights under the names of Hugging Face's SegformerModel."""
    state = {}
    for name, value in weights.items():
        module, kind = name.rsplit('.', 1)
        stage = int(module.split('.')[0][-1]) - 1
        part = module.split('.', 2)[-1]
        block = f'{prefix}encoder.block.{stage}.{module.split(".")[1] if "." in module else ""}'
        if module.startswith('patch_embed'):
            part = {'proj': 'proj', 'norm': 'layer_norm'}[module.split('.')[1]]
            state[f'{prefix}encoder.patch_embeddings.{stage}.{part}.{kind}'] = value
        elif module.startswith('norm'):
            state[f'{prefix}encoder.layer_norm.{stage}.{kind}'] = value
        elif part == 'attn.kv':
            key, value = value.chunk(2)
            state[f'{block}.attention.self.key.{kind}'] = key.clone()
            state[f'{block}.attention.self.value.{kind}'] = value.clone()
        else:
            state[f'{block}.{HUGGING_FACE[part]}.{kind}'] = value
    return state


def test_hugging_face_format(tmp_path, weights):
    state = to_hugging_face(weights, 'segformer.')
    assert 'segformer.encoder.block.2.1.attention.self.layer_norm.bias' in state
    state |= {'classifier.weight': torch.ones(1000, 256), 'classifier.bias': torch.ones(1000)}
    torch.save(state, tmp_path / 'pytorch_model.bin')
    save_file(to_hugging_face(weights, ''), tmp_path / 'model.safetensors')
    assert_same(loaded(tmp_path / 'pytorch_model.bin'), weights)
    assert_same(loaded(tmp_path / 'model.safetensors'), weights)


def test_init_cfg_is_understood(tmp_path, weights):
    torch.save(weights, tmp_path / 'mit_b0.pth')
    init_cfg = {'type': 'Pretrained', 'checkpoint': str(tmp_path / 'mit_b0.pth')}
    model = build_backbone({'type': 'mit_b0', 'init_cfg': init_cfg})
    model.init_weights()
    assert_same(model.state_dict(), weights)
    with pytest.raises(ValueError, match='both pretrained and init_cfg'):
        build_backbone({'type': 'mit_b0', 'init_cfg': init_cfg, 'pretrained': 'mit_b0.pth'})


def test_a_missing_file_is_named_when_it_is_needed():
    model = encoder('pretrained/no_such_file.pth')
    with pytest.raises(ValueError, match=r'pretrained/no_such_file.pth does not exist'):
        model.init_weights()


def refused(path, message):
    """Asserts that the file is refused and that the encoder stays as it was."""
    model = encoder(path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message) as error:
        model.init_weights()
    assert str(path) in str(error.value)
    assert_same(model.state_dict(), before)


def test_a_file_that_does_not_fit_is_refused(tmp_path, weights):
    path = tmp_path / 'weights.pth'

    torch.save(fill(encoder(name='mit_b1')).state_dict(), path)
    refused(path, r'patch_embed1.proj.weight \(64, 3, 7, 7\) instead of \(32, 3, 7, 7\)')

    torch.save({name: value for name, value in weights.items() if name != 'norm4.bias'}, path)
    refused(path, r'fit the encoder mit_b0 .*: 1 missing: norm4.bias.$')

    torch.save({**weights, 'decode_head.conv_seg.bias': torch.ones(19)}, path)
    refused(path, '1 unknown: decode_head.conv_seg.bias.$')

    state = to_hugging_face(weights, '')
    del state['encoder.block.0.0.attention.self.value.bias']
    torch.save(state, path)
    refused(path, r'1 missing: block1.0.attn.kv.bias; 1 unknown: block1.0.attn.key.bias')


class Malicious:
    def __reduce__(self):
        return os.mkdir, ('it_ran',)


def test_a_file_that_is_no_weight_file_is_refused(tmp_path, weights, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(weights, 'weights.pth')
    whole = (tmp_path / 'weights.pth').read_bytes()
    (tmp_path / 'truncated.pth').write_bytes(whole[: len(whole) // 2])
    (tmp_path / 'page.pth').write_text('<html>Not found</html>')
    (tmp_path / 'empty.pth').write_bytes(b'')
    (tmp_path / 'page.safetensors').write_text('<html>Not found</html>')
    for name in ['truncated.pth', 'page.pth', 'empty.pth', 'page.safetensors']:
        refused(tmp_path / name, 'is no checkpoint, is damaged, or .*; download .* again')

    torch.save([1, 2], 'list.pth')
    refused(tmp_path / 'list.pth', 'holds a list, not a checkpoint')

    torch.save({'norm1.bias': Malicious()}, 'malicious.pth')
    refused(tmp_path / 'malicious.pth', 'is no checkpoint, is damaged, or')
    assert not (tmp_path / 'it_ran').exists()
