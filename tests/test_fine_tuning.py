"""Weights of other runs: of other classes, and of networks whose encoders take no `pretrained`."""

import copy
import json
import logging

import pytest
import torch
from mmcv import Config
from torch import nn

from mmseg.datasets import CityscapesDataset
from mmseg.engine.checkpoint import load_file, save_file
from mmseg.engine.trained import load_trained, start_from
from mmseg.models import build_segmentor
from mmseg.models.builder import BACKBONES
from mmseg.utils.user_error import UserError
from tests.tiny_runs import SOURCE_ONLY_CONFIG, run_experiment
from tools import train

CLASSES = ['road', 'sky', 'car', 'person']
CLASSIFIERS = [
    *('decode_head.conv_seg.weight', 'decode_head.conv_seg.bias'),
    *('auxiliary_head.conv_seg.weight', 'auxiliary_head.conv_seg.bias'),
]


def head(channels, num_classes, **options):
    return dict(
        type='FCNHead', in_channels=channels, channels=4, num_convs=1, concat_input=False,
        num_classes=num_classes, align_corners=False, **options,
    )  # fmt: skip


def config(classes, **options):
    return dict(
        type='EncoderDecoder', backbone=dict(type='ERFNet'),
        decode_head=head(16, len(classes), **options),
        auxiliary_head=head(16, len(classes), in_index=-1),
        train_cfg=dict(), test_cfg=dict(mode='whole'),
    )  # fmt: skip


def segmentor(classes, model=None):
    torch.manual_seed(len(classes))
    model = build_segmentor(copy.deepcopy(model or config(classes)))
    model.CLASSES = classes
    return model


def start(model, without_classifier=False):
    start_from(model, config(model.CLASSES), 'old.pth', without_classifier)


def checkpoint_of(model, classes=None, prefix=''):
    weights = {prefix + name: value.clone() for name, value in model.state_dict().items()}
    save_file(dict(meta={'CLASSES': classes} if classes else {}, state_dict=weights), 'old.pth')
    return model.state_dict()


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO, 'mmseg')


@pytest.mark.parametrize('prefix', ['', 'model.'])
@pytest.mark.parametrize('classes', [CLASSES, None])
def test_equal_or_unknown_names_load_as_they_are(classes, prefix, caplog):
    old = checkpoint_of(segmentor(CLASSES), classes, prefix)
    new = segmentor(CLASSES)
    start(new)
    assert all(torch.equal(value, old[name]) for name, value in new.state_dict().items())
    assert ('names no classes' in caplog.text) == (classes is None)


@pytest.mark.parametrize('named', [True, False])
def test_other_classes_leave_their_classifiers_behind_when_asked_to(named, caplog):
    classes = [*CLASSES, 'bus']
    old = checkpoint_of(segmentor(classes), classes if named else None)
    new = segmentor(CLASSES)
    fresh = {name: value.clone() for name, value in new.state_dict().items()}
    with pytest.raises(UserError, match='--load-from-without-classifier') as raised:
        start(new)
    assert 'bus' in str(raised.value) or not named
    assert all(torch.equal(value, fresh[name]) for name, value in new.state_dict().items())
    start(new, without_classifier=True)
    for name, value in new.state_dict().items():
        assert torch.equal(value, (fresh if name in CLASSIFIERS else old)[name]), name
    assert all(name in caplog.text for name in CLASSIFIERS)


@pytest.mark.parametrize('classes', [[*CLASSES[:3], 'pedestrian'], CLASSES[::-1]])
def test_as_many_other_classes_and_another_order_are_refused(classes):
    checkpoint_of(segmentor(CLASSES), classes)
    with pytest.raises(UserError, match=', '.join(classes)):
        start(segmentor(CLASSES))


def test_what_else_does_not_fit_is_refused_without_the_classifier_too():
    checkpoint_of(segmentor(CLASSES, config(CLASSES, kernel_size=1)), CLASSES)
    with pytest.raises(UserError, match=r'of another shape: decode_head\.convs\.0\.conv\.weight'):
        start(segmentor(CLASSES), without_classifier=True)


MLP = dict(embed_dims=8, conv_kernel_size=1)
ALL = dict(in_channels=[32, 64, 160, 256], in_index=[0, 1, 2, 3], channels=8)
HEADS = {
    'linear_pred': dict(ALL, type='SegFormerHead', decoder_params=MLP),
    'aspp_modules': dict(type='DLV2Head', in_channels=256, in_index=3),
    'pam_conv_seg': dict(type='DAHead', pam_channels=4, in_channels=256, in_index=3, channels=8),
    'cls_emb': dict(
        type='SegmenterMaskTransformerHead', in_channels=256, in_index=3, channels=24,
        embed_dims=24, num_layers=1, num_heads=2,
    ),
}  # fmt: skip


@pytest.mark.parametrize('classifier', HEADS)
def test_heads_with_a_classifier_of_another_name(classifier, caplog):
    """What follows from the number of classes stays, and the rest is loaded."""
    model = dict(
        type='EncoderDecoder', backbone=dict(type='mit_b0'), train_cfg=dict(),
        decode_head=dict(HEADS[classifier], num_classes=4, align_corners=False),
        test_cfg=dict(mode='whole'),
    )  # fmt: skip
    old = segmentor(CLASSES, model)
    checkpoint_of(old, CLASSES)
    new = segmentor(['person', 'road', 'car', 'sky'], model)
    for parameter in new.parameters():
        nn.init.normal_(parameter)
    fresh = {name: value.clone() for name, value in new.state_dict().items()}
    random_state = torch.get_rng_state()
    start_from(new, model, 'old.pth', without_classifier=True)
    assert torch.equal(torch.get_rng_state(), random_state)
    (log,) = [r.getMessage() for r in caplog.records if 'without its' in r.getMessage()]
    left_out = log.rpartition(': ')[2].split(', ')
    assert any(name.startswith(f'decode_head.{classifier}') for name in left_out)
    for name, value in new.state_dict().items():
        assert torch.equal(value, (fresh if name in left_out else old.state_dict())[name]), name


def test_a_run_starts_from_other_classes(trained_run, tmp_path):
    content = load_file(str(trained_run.checkpoint))
    content['meta']['CLASSES'] = [*CityscapesDataset.CLASSES[:-1], 'tricycle']
    path = str(tmp_path / 'other.pth')
    save_file(content, path)
    options = ['--load-from', path, '--work-dir', str(tmp_path / 'run')]
    with pytest.raises(SystemExit, match=r'tricycle.*--load-from-without-classifier'):
        run_experiment(SOURCE_ONLY_CONFIG, 'runner.max_iters=1', arguments=options)
    options.append('--load-from-without-classifier')
    run_experiment(SOURCE_ONLY_CONFIG, 'runner.max_iters=1', arguments=options)
    (log,) = (tmp_path / 'run').glob('*.log')
    assert 'without its classifiers: decode_head.conv_seg.weight' in log.read_text()


def test_a_run_does_not_resume_with_its_classes_in_another_order(copied_run):
    content = load_file(str(copied_run.checkpoint))
    content['meta']['CLASSES'].reverse()
    save_file(content, 'other.pth')
    with pytest.raises(SystemExit, match='--load-from'):
        train.main(
            [str(copied_run.config), '--work-dir', 'new', '--resume-from', 'other.pth',
             '--cfg-options', 'runner.max_iters=6']
        )  # fmt: skip


def test_the_option_needs_a_checkpoint(workplace):
    with pytest.raises(SystemExit, match='load_from names no checkpoint'):
        run_experiment(SOURCE_ONLY_CONFIG, arguments=['--load-from-without-classifier'])


@BACKBONES.register_module(force=True)
class WithoutPretrained(nn.Module):
    """An encoder whose constructor knows neither `pretrained` nor `init_cfg`."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, 4, 1)

    def forward(self, img):
        return [self.conv(img)]


@pytest.mark.parametrize(
    'backbone, channels',
    [
        (dict(type='WithoutPretrained', width=8), 8),
        (dict(type='BiSeNetV2'), 128),
        (dict(type='ERFNet'), 16),
        (dict(type='FastSCNN'), 64),
        (dict(type='BiSeNetV1', backbone_cfg=dict(
            type='ResNet', depth=18, num_stages=4, out_indices=(0, 1, 2, 3),
            pretrained='torchvision://resnet18')), 256),
        (dict(type='mit_b0', pretrained='nowhere.pth'), 32),
        (dict(type='TIMMBackbone', model_name='test_resnet', pretrained=False), 32),
    ],
)  # fmt: skip
def test_networks_that_train_can_be_tested(backbone, channels):
    """Their own weights are loaded, whatever their constructors take and `pretrained` names."""
    model = dict(
        type='EncoderDecoder', backbone=backbone, decode_head=head(channels, 19, in_index=0),
        train_cfg=dict(), test_cfg=dict(mode='whole'),
    )  # fmt: skip
    trained = build_segmentor(model)
    checkpoint_of(trained, list(CityscapesDataset.CLASSES))
    cfg = Config(dict(model=model, data=dict(test=dict(type='CityscapesDataset'))))
    loaded = load_trained(cfg, 'old.pth', torch.device('cpu'))
    img = torch.rand(1, 3, 64, 64)
    assert torch.equal(loaded.encode_decode(img, [{}]), trained.eval().encode_decode(img, [{}]))


def test_networks_that_insist_on_tuples_are_built_from_json():
    model = dict(
        type='EncoderDecoder', backbone=dict(type='CGNet', num_channels=(32, 64, 128)),
        decode_head=head(35, 19, in_index=0), train_cfg=dict(), test_cfg=dict(mode='whole'),
    )  # fmt: skip
    saved = json.dumps(dict(model=model, data=dict(test=dict(type='CityscapesDataset'))))
    trained = build_segmentor(model)
    weights = trained.state_dict()
    meta = dict(config=saved, CLASSES=list(CityscapesDataset.CLASSES))
    save_file(dict(meta=meta, state_dict=weights), 'old.pth')
    loaded = load_trained(None, 'old.pth', torch.device('cpu'))
    assert all(torch.equal(value, weights[name]) for name, value in loaded.state_dict().items())
