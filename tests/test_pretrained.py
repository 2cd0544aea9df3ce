"""Pretrained weights: from every kind of address, of other implementations, whole or not at all."""

import os
import urllib.error

import pytest
import torch
from mmcv import ConfigDict
from mmcv.runner import CheckpointLoader
from safetensors.torch import load_file

from mmseg.engine.config import load_config
from mmseg.engine.preflight import check_weights
from mmseg.models import build_backbone, build_segmentor
from mmseg.models.weights import cache_name, local_file, to_url
from mmseg.utils.user_error import UserError
from tests.golden.fill import fill
from tests.tiny_runs import CHECKOUT

NORMS = ('norm1', 'norm2', 'norm3', 'norm4')
RESNET50 = 'https://download.openmmlab.com/pretrain/third_party/resnet50_v1c-2cccc1ad.pth'
CNNS = {
    'open-mmlab://resnet50_v1c': dict(type='ResNetV1c', depth=50),
    'open-mmlab://resnext50_32x4d': dict(type='ResNeXt', depth=50, groups=32, base_width=4),
    'open-mmlab://resnest50': dict(type='ResNeSt', depth=50, stem_channels=64, radix=2),
}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of downloads, and a network that serves files from the folder `net`."""
    (tmp_path / 'net').mkdir()
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    fetched = []

    def urlopen(request):
        fetched.append(request.full_url)
        path = tmp_path / 'net' / os.path.basename(request.full_url)
        if not path.exists():
            raise urllib.error.URLError('Name or service not known')
        return real_urlopen(path.as_uri())

    real_urlopen = torch.hub.urlopen
    monkeypatch.setattr(torch.hub, 'urlopen', urlopen)
    monkeypatch.chdir(tmp_path)
    return fetched


def put(content, address):
    """Lay a file in the downloads where an address's would be, as one does by hand."""
    path = os.path.join(torch.hub.get_dir(), 'checkpoints', cache_name(to_url(address)))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    torch.save(content, path)
    return path


def initialised(backbone, pretrained):
    """A backbone, initialised inside a segmentor as in a run."""
    head = dict(type='FCNHead', in_channels=8, channels=8, num_classes=3, in_index=0)
    model = build_segmentor(
        dict(type='EncoderDecoder', backbone=ConfigDict(backbone), decode_head=head,
             pretrained=pretrained)
    )  # fmt: skip
    model._dump_init_info = lambda logger_name: None
    model.init_weights()
    return model.backbone


def assert_same(state, expected):
    for name, value in expected.items():
        assert torch.equal(state[name], value), name


# CNN encoders, which MMSegmentation hands to mmcv


@pytest.mark.parametrize('address', CNNS)
def test_cnn_encoders_load_their_files(cache, address):
    backbone = {**CNNS[address], 'norm_cfg': dict(type='BN'), 'out_indices': (0, 1, 2, 3)}
    state = fill(build_backbone(dict(backbone))).state_dict()
    # As published: with a classifier, and without counters.
    published = {k: v for k, v in state.items() if not k.endswith('num_batches_tracked')}
    published |= {'fc.weight': torch.ones(1000, 2048), 'fc.bias': torch.ones(1000)}
    put({'state_dict': published, 'meta': {}}, address)
    assert_same(initialised(backbone, address).state_dict(), state)
    assert cache == []  # nothing was downloaded


class Malicious:
    def __reduce__(self):
        return os.mkdir, ('it_ran',)


RESNET18 = dict(type='ResNetV1c', depth=18)


@pytest.mark.parametrize(
    'address', ['open-mmlab://resnet18_v1c', 'torchvision://resnet18', 'https://x.org/a.pth',
                'local.pth'],
)  # fmt: skip
def test_no_file_runs_code(cache, address):
    path = address
    if address == 'local.pth':
        torch.save({'conv1.weight': Malicious()}, path)
    else:
        path = put({'conv1.weight': Malicious()}, address)
    with pytest.raises(UserError, match=f'{path} is no checkpoint, is damaged, or'):
        initialised(RESNET18, address)
    # Encoders such as Swin and ViT call mmcv's loader.
    with pytest.raises(UserError, match='is no checkpoint'):
        CheckpointLoader.load_checkpoint(address)
    assert not os.path.exists('it_ran')


def test_a_file_that_does_not_fit_is_refused(cache):
    state = build_backbone(dict(RESNET18)).state_dict()
    detector = {f'backbone.{name}': value for name, value in state.items()}
    for wrong, message in (
        ({k: v for k, v in state.items() if k != 'layer4.1.bn2.bias'}, '1 missing: layer4.1.bn2'),
        ({**state, 'rpn_head.bias': torch.ones(1)}, '1 unknown: rpn_head.bias'),
        ({**state, 'layer1.0.conv1.weight': torch.ones(1)}, r'layer1.0.conv1.weight \(1,\) inst'),
        ({**detector, 'decode_head.conv_seg.bias': torch.ones(19)}, r'missing: stem.0.weight'),
        (build_backbone(dict(type='ResNetV1c', depth=50)).state_dict(), 'unknown: layer1.0.conv3'),
    ):
        torch.save(wrong, 'weights.pth')
        with pytest.raises(UserError, match=rf'weights.pth does not fit .* ResNetV1c.*{message}'):
            initialised(RESNET18, 'weights.pth')


def test_part_of_a_file_is_taken_where_the_config_says_so(cache):
    state = fill(build_backbone(dict(RESNET18))).state_dict()
    whole = {f'backbone.{name}': value for name, value in state.items()}
    torch.save({'state_dict': {**whole, 'decode_head.bias': torch.ones(1)}}, 'segmentor.pth')
    init_cfg = dict(type='Pretrained', checkpoint='segmentor.pth', prefix='backbone.')
    assert_same(initialised({**RESNET18, 'init_cfg': init_cfg}, None).state_dict(), state)


# Addresses


def test_addresses():
    assert to_url('https://x.org/a.pth') == 'https://x.org/a.pth'
    assert to_url('open-mmlab://resnet50_v1c') == RESNET50
    assert to_url('torchvision://ResNet18_Weights.IMAGENET1K_V1').endswith('resnet18-f37072fd.pth')
    assert to_url('timm://convnext_atto.d2_in1k') == (
        'https://huggingface.co/timm/convnext_atto.d2_in1k/resolve/main/model.safetensors'
    )
    for address, message in (
        ('open-mmlab://resnet49', 'mmcv has no weights of that name'),
        ('timm://convnext_at', 'no such weights; timm.list_pretrained'),
        ('s3://bucket/a.pth', 's3://bucket/a.pth: use https://, http://, open-mmlab://'),
    ):
        with pytest.raises(UserError, match=message):
            to_url(address)


def test_names_in_the_cache_tell_files_apart():
    assert cache_name(RESNET50) == 'resnet50_v1c-2cccc1ad.pth'  # as mmcv and torch.hub have it
    names = {cache_name(f'https://x.org/{model}/model.safetensors') for model in ('b0', 'b1')}
    assert len(names) == 2 and all(name.endswith('_model.safetensors') for name in names)


def test_an_address_is_downloaded_once(cache, tmp_path):
    state = fill(build_backbone(dict(type='mit_b0'))).state_dict()
    torch.save(state, tmp_path / 'net' / 'mit.pth')
    for _ in range(2):
        encoder = initialised(dict(type='mit_b0'), 'https://x.org/mit.pth')
        assert_same(encoder.state_dict(), state)
    assert cache == ['https://x.org/mit.pth']


def test_a_download_whose_checksum_is_wrong_is_refused(cache, tmp_path):
    (tmp_path / 'net' / 'resnet50_v1c-2cccc1ad.pth').write_text('<html>Please log in</html>')
    with pytest.raises(UserError, match=r'invalid hash value .expected "2cccc1ad"'):
        local_file('open-mmlab://resnet50_v1c')
    assert os.listdir(tmp_path / 'hub' / 'checkpoints') == []


def test_without_a_network_it_says_what_to_do_by_hand_before_anything_is_written(cache, tmp_path):
    cfg = load_config(str(CHECKOUT / 'configs/street_scenes/uda_mitb0.py'))
    cfg.model.pretrained = 'open-mmlab://resnet50_v1c'
    with pytest.raises(UserError) as error:
        check_weights(cfg)
    message = str(error.value)
    assert '\n' not in message and 'Name or service not known' in message
    target = tmp_path / 'hub' / 'checkpoints' / 'resnet50_v1c-2cccc1ad.pth'
    for text in ('open-mmlab://resnet50_v1c', f'({RESNET50})', f'put it at {target}'):
        assert text in message


# MiT against other implementations; MMSegmentation's is in test_mit_weights.py


@pytest.fixture(scope='module')
def hugging_face():
    """Hugging Face's SegformerModel with random weights, of the size of MiT-B0."""
    from transformers import SegformerConfig, SegformerForImageClassification

    torch.manual_seed(0)
    config = SegformerConfig(num_labels=5, drop_path_rate=0.1)
    model = SegformerForImageClassification(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.normal_(mean=float('norm' in name and 'weight' in name), std=0.1)
    return model


@pytest.mark.parametrize('name', ['model.safetensors', 'pytorch_model.bin'])
@pytest.mark.parametrize('classifier', [True, False])
def test_hugging_face_encoder_gives_the_same_features(tmp_path, hugging_face, name, classifier):
    theirs = hugging_face if classifier else hugging_face.segformer
    theirs.save_pretrained(tmp_path)
    if name == 'pytorch_model.bin':  # what was written before safetensors, under the same names
        torch.save(load_file(tmp_path / 'model.safetensors'), tmp_path / name)
    ours = build_backbone(dict(type='mit_b0', pretrained=str(tmp_path / name)))
    ours.init_weights()
    for layer, module in ours.named_modules():
        # The weights were trained with 1e-6 in these norms; transformers has 1e-5 in all of them.
        if isinstance(module, torch.nn.LayerNorm):
            assert module.eps == (1e-6 if layer.split('.')[-1] in NORMS else 1e-5), layer
            module.eps = 1e-5
    with torch.no_grad():
        img = torch.randn(2, 3, 64, 96)
        segformer = hugging_face.segformer
        expected = segformer(img, output_hidden_states=True).hidden_states
        pairs = list(zip(ours.eval()(img), expected, strict=True))
    assert len(pairs) == 4
    for mine, other in pairs:
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)


def test_a_whole_hugging_face_segmentor_is_refused(tmp_path, hugging_face):
    hugging_face.save_pretrained(tmp_path)
    state = load_file(tmp_path / 'model.safetensors')
    state['decode_head.classifier.weight'] = torch.ones(19, 256, 1, 1)
    torch.save(state, tmp_path / 'weights.pth')
    with pytest.raises(UserError, match=r'1 unknown: decode_head.classifier.weight'):
        build_backbone(dict(type='mit_b0', pretrained=str(tmp_path / 'weights.pth'))).init_weights()
