"""Checkpoints and JSON configs of the published layout are tested, shown and started from."""

import json
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace

import cv2
import mmcv
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mmseg.datasets import CityscapesDataset
from mmseg.engine import train
from mmseg.engine.checks.config import check_keys
from mmseg.engine.config import load_config
from mmseg.engine.trained import load_trained
from mmseg.models import build_segmentor
from mmseg.utils.drawing import paint
from mmseg.utils.user_error import UserError
from tests.golden.fill import fill
from tests.tiny_runs import CHECKOUT, predict_image

CONFIG = CHECKOUT / 'configs/daformer/gta2cs_uda_warm_fdthings_rcs_croppl_a999_daformer_mitb5_s0.py'
KEYS = json.loads((CHECKOUT / 'tests/golden/daformer_sepaspp_mitb5_keys.json').read_text())
IMAGE = 'data/cityscapes/leftImg8bit/val/bern/bern_leftImg8bit.png'
LABEL = 'data/cityscapes/gtFine/val/bern/bern_gtFine_labelTrainIds.png'
SMALL_HEAD = dict(in_channels=[32, 64, 160, 256], channels=16)
CPU = torch.device('cpu')


@pytest.fixture
def networks():
    """Student and teacher, filled directly; small, to be fast."""
    cfg = mmcv.Config.fromfile(CONFIG).model
    cfg.pretrained = None
    cfg.backbone.type = 'mit_b0'
    cfg.decode_head.update(SMALL_HEAD)
    cfg.decode_head.decoder_params.embed_dims = 16
    student, teacher = fill(build_segmentor(cfg)).eval(), build_segmentor(cfg).eval()
    teacher.load_state_dict({k: w.roll(1) for k, w in student.state_dict().items()})
    for segmentor in (student, teacher):
        segmentor.PALETTE = CityscapesDataset.PALETTE
    assert set(student.state_dict()) <= set(KEYS)  # the published names
    return student, teacher


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Path of a config as published: JSON, so lists for tuples, and with what configs had then."""
    monkeypatch.chdir(tmp_path)
    cfg = json.loads(json.dumps(mmcv.Config.fromfile(CONFIG)._cfg_dict.to_dict()))
    backbone, head = cfg['model']['backbone'], cfg['model']['decode_head']
    backbone.update(type='mit_b0', style='pytorch', ema_drop_path_rate=0.1)
    head.update(type='UniHead', **SMALL_HEAD)
    head['decoder_params']['embed_dims'] = 16
    head['decoder_params']['fusion_cfg']['fusion'] = 'aspp'
    head['decoder_params']['embed_cfg'].update(act_cfg=None, norm_cfg=None)
    cfg['model']['train_cfg'] = {'work_dir': 'work_dirs/somewhere'}
    cfg['img_scale'] = [128, 64]
    for split in ('val', 'test'):
        cfg['data'][split]['pipeline'][1]['img_scale'] = cfg['img_scale']
        assert cfg['data'][split]['pipeline'][1]['type'] == 'MultiScaleFlipAug'
    cfg['data']['workers_per_gpu'] = 0
    Path('published.json').write_text(json.dumps(cfg))
    return 'published.json'


def prefixed(prefix, network):
    return {f'{prefix}{name}': value for name, value in network.state_dict().items()}


def released(student, teacher):
    """As the authors released it: the student alone, without meta."""
    return {'state_dict': OrderedDict(prefixed('model.', student))}


def trained(student, teacher):
    """As training left it: everything, the ImageNet network a whole segmentor."""
    state = {
        **prefixed('model.', student),
        **prefixed('ema_model.', teacher),
        **prefixed('imnet_model.', teacher),
    }
    meta = {'mmseg_version': '0.16.0+abc', 'CLASSES': CityscapesDataset.CLASSES, 'iter': 40000}
    return {'meta': meta, 'state_dict': OrderedDict(state), 'optimizer': {'state': {}}}


def trained_on_several_gpus(student, teacher):
    content = trained(student, teacher)
    content['state_dict'] = {f'module.{k}': v for k, v in content['state_dict'].items()}
    return content


def logits(segmentor):
    img = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 64, 96))).float()
    with torch.no_grad():
        return segmentor.encode_decode(img, [{}])


@pytest.mark.parametrize('layout', [released, trained, trained_on_several_gpus])
def test_same_logits_as_the_network_filled_directly(config, networks, layout):
    torch.save(layout(*networks), 'published.pth')
    cfg = load_config(config)
    expected = [logits(network) for network in networks]
    assert not torch.allclose(*expected)
    assert torch.equal(logits(load_trained(cfg, 'published.pth', CPU)), expected[0])
    if layout is not released:
        found = load_trained(cfg, 'published.pth', CPU, 'teacher')
        assert torch.equal(logits(found), expected[1])


def write_data_set(student, config):
    """One image, and as its label what the student predicts."""
    for path in (IMAGE, LABEL):
        Path(path).parent.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (8, 16, 3), np.uint8)
    cv2.imwrite(IMAGE, cv2.resize(noise, (256, 128)))
    label = predict_image(student, load_config(config), IMAGE)
    assert len(np.unique(label)) > 3
    cv2.imwrite(LABEL, label.astype(np.uint8))
    return label


def test_tools_take_them(config, networks):
    from demo import image_demo
    from tools import test

    label = write_data_set(networks[0], config)
    torch.save(trained(*networks), 'published.pth')
    assert test.main([config, 'published.pth'])['mIoU'] == 1
    assert test.main([config, 'published.pth', '--weights', 'teacher'])['mIoU'] < 0.9

    (path,) = image_demo.main([IMAGE, config, 'published.pth'])
    picture = cv2.imread(path)
    expected = paint(label, CityscapesDataset.PALETTE, None, 1.0)
    assert np.array_equal(picture, expected)


def test_training_takes_all_keys_of_their_configs(config):
    content = json.loads(Path(config).read_text())
    content['uda']['imnet_feature_dist_scale_method'] = 'ratio'
    content.update(use_ddp_wrapper=True, find_unused_parameters=True, git_rev='abc')
    # Variables of their base files.
    for name in ('dataset_type', 'data_root', 'backbone_norm_cfg'):
        content[name] = 'text'
    for name in ('gta', 'synthia', 'cityscapes', 'acdc', 'dark_zurich'):
        content[f'{name}_train_pipeline'] = []
    Path(config).write_text(json.dumps(content))
    check_keys(load_config(config), config)
    # As their training left it.
    Path(config).write_text(json.dumps({**content, 'work_dir': 'work_dirs/somewhere'}))
    check_keys(load_config(config), config)


@pytest.mark.parametrize('with_uda', [True, False])
def test_training_starts_from_them(config, networks, with_uda):
    torch.save(released(*networks), 'published.pth')
    cfg = load_config(config, {'load_from': 'published.pth', 'model.pretrained': None})
    if not with_uda:
        cfg.uda = None
    dataset = SimpleNamespace(CLASSES=CityscapesDataset.CLASSES, PALETTE=CityscapesDataset.PALETTE)
    model = train._build_model(cfg, dataset, CPU, resumed=False)
    expected = networks[0].state_dict()
    for network in [model.model, model.ema_model] if with_uda else [model]:
        state = network.state_dict()
        assert set(state) == set(expected)
        assert all(torch.equal(state[name], value) for name, value in expected.items())


def test_a_checkpoint_alone_is_enough(trained_run, tmp_path):
    path = str(tmp_path / 'weights.safetensors')
    content = trained_run.load()
    weights = {
        name.removeprefix('model.'): value
        for name, value in content['state_dict'].items()
        if name.startswith('model.')
    }
    save_file(weights, path, {'meta': json.dumps(content['meta'])})
    for file in (trained_run.checkpoint, path):
        segmentor = load_trained(None, file, CPU)
        assert segmentor.cfg._cfg_dict == load_config(trained_run.config)._cfg_dict
        assert all(torch.equal(v, weights[name]) for name, v in segmentor.state_dict().items())


@pytest.mark.parametrize(
    ('meta', 'message'),
    [
        ({}, 'holds no config'),
        ({'config': '{'}, 'damaged config'),
        ({'config': '[]'}, 'damaged config'),
        ({'config': '{"data": {}}'}, "no 'model'"),
    ],
)
def test_a_checkpoint_without_a_usable_config_is_refused(tmp_path, meta, message):
    path = str(tmp_path / 'x.pth')
    torch.save(dict(meta=meta, state_dict={}), path)
    with pytest.raises(UserError, match=message):
        load_trained(None, path, CPU)
