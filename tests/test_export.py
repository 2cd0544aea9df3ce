"""An exported file predicts what the network does, from raw images, without this code."""

import json
import re
from pathlib import Path

import cv2
import mmcv
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from mmseg.datasets import CityscapesDataset
from mmseg.engine.config import load_config
from mmseg.engine.trained import load_trained
from mmseg.models import build_segmentor
from mmseg.models.encoder_channels import fill_in_channels
from tests.golden.fill import fill
from tests.test_hrda import hrda_model
from tests.tiny_runs import CHECKOUT, only, predict_image, run_python
from tools import export
from tools.export import ImageToLabels, check_agreement

pytestmark = pytest.mark.usefixtures('one_thread')

IMAGE = 'data/street_scenes/cityscapes/leftImg8bit/val/dunmore/*_000000_*'
MODELS = sorted((CHECKOUT / 'configs/_base_/models').glob('*.py'))
CPU = torch.device('cpu')
NORM_CFG = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
# In the paths that traces of a network name; the checkout's own may be short enough for a weight.
SOURCES = b'mmseg/models/'


@pytest.fixture
def export_run(trained_run, tmp_path):
    """Export the run's checkpoint; returns the path."""

    def export_run(name, *options, checkpoint=trained_run.checkpoint):
        return export.main([checkpoint, '--out', str(tmp_path / name), *options])

    return export_run


@pytest.mark.long
def test_onnx_from_an_image_file(trained_run, export_run, tmp_path, capsys):
    path = export_run('model.onnx')
    out = capsys.readouterr().out
    assert re.search(r'^(100|99\.9\d\d)\.?\d*% of the output', out, re.MULTILINE)
    assert 'output labels: (N, H, W) uint8' in out
    onnx.checker.check_model(path)
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])

    # As an engineer would, who has the file alone.
    image = cv2.resize(cv2.imread(only(IMAGE)), (256, 128))
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    images = np.stack([image, image[:, ::-1], 255 - image])[..., ::-1].transpose(0, 3, 1, 2)
    (labels,) = session.run(None, {'image': np.ascontiguousarray(images)})
    assert labels.shape == (3, 128, 256) and labels.dtype == np.uint8

    segmentor = load_trained(None, trained_run.checkpoint, CPU)
    expected = predict_image(segmentor, segmentor.cfg, str(tmp_path / 'image.png'))
    assert len(np.unique(expected)) > 1
    assert (labels[0] == expected).mean() > 0.999

    meta = session.get_modelmeta().custom_metadata_map
    assert json.loads(meta['classes']) == list(CityscapesDataset.CLASSES)
    assert json.loads(meta['palette']) == CityscapesDataset.PALETTE
    assert json.loads(meta['mean']) == [123.675, 116.28, 103.53]
    assert json.loads(meta['std']) == [58.395, 57.12, 57.375]
    assert 'uint8, RGB' in meta['input'] and 'labels' in meta['output']
    # Nothing of this machine.
    content = Path(path).read_bytes()
    assert SOURCES not in content
    assert str(trained_run.folder).encode() not in content


def test_torch_program_with_logits_of_the_teacher(trained_run, export_run):
    path = export_run('x.pt2', '--output', 'logits', '--weights', 'teacher', '--shape', '64', '96')
    extra = {'meta': ''}
    program = torch.export.load(path, extra_files=extra).module()
    images = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    mean, std = (torch.tensor(NORM_CFG[name])[:, None, None] for name in ('mean', 'std'))
    teacher = load_trained(None, trained_run.checkpoint, CPU, 'teacher')
    with torch.no_grad():
        expected = teacher.encode_decode((images - mean) / std, [{}] * 2)
    torch.testing.assert_close(program(images), expected, rtol=1e-4, atol=1e-5)
    assert json.loads(json.loads(extra['meta'])['weights']) == 'teacher'
    assert SOURCES not in Path(path).read_bytes()


def test_what_predicts_something_else_is_not_written(export_run, tmp_path, monkeypatch):
    (tmp_path / 'model.pt2').write_text('before')
    right = export.run
    monkeypatch.setattr(export, 'run', lambda *given: 1 + right(*given))
    with pytest.raises(SystemExit, match=r'^Error: .*only 0.000% of the output agrees\. Nothing'):
        export_run('model.pt2', '--shape', '64', '64')
    assert (tmp_path / 'model.pt2').read_text() == 'before'
    assert len(list(tmp_path.iterdir())) == 1


def test_agreement():
    logits = torch.linspace(-1, 1, 20000).view(1, 2, 100, 100)
    labels = logits[:, 0].gt(-0.5).byte()
    found = labels.clone()
    found.view(-1)[:10] = 1
    assert check_agreement(found, labels) == 0.999
    found.view(-1)[:11] = 1
    with pytest.raises(ValueError, match=r'only 99.890% of the output agrees\. Nothing'):
        check_agreement(found, labels)
    assert check_agreement(logits + 0.0009, logits) == 1
    for wrong in (logits + 0.002, logits * float('nan')):
        with pytest.raises(ValueError, match=r'only 0\.000% of the output agrees'):
            check_agreement(wrong, logits)


@pytest.mark.parametrize('to_rgb', [False, True])
def test_normalisation_is_that_of_the_config(trained_run, to_rgb):
    segmentor = load_trained(None, trained_run.checkpoint, CPU)
    norm_cfg = dict(mean=[100, 110, 120], std=[50, 60, 70], to_rgb=to_rgb)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)  # BGR
    pixels = mmcv.imnormalize(image, *map(np.array, norm_cfg.values()))
    with torch.no_grad():
        found = ImageToLabels(segmentor, norm_cfg, 'logits')(
            torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None]
        )
        expected = segmentor.encode_decode(
            torch.from_numpy(pixels.transpose(2, 0, 1))[None].float(), [{}]
        )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_network_that_cannot_be_exported(export_run, monkeypatch):
    def forward(self, image):
        return image if image.sum().item() > 0 else -image

    monkeypatch.setattr(ImageToLabels, 'forward', forward)
    with pytest.raises(SystemExit, match=r'^Error: torch .* cannot export this network to .*x.pt2'):
        export_run('x.pt2', '--shape', '64', '64')


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        (lambda test: test.pipeline[1].update(img_scale=None), 'give --shape H W'),
        (lambda test: test.pipeline[1].transforms.pop(2), 'has no Normalize'),
    ],
)
def test_configs_that_do_not_say_enough(trained_run, export_run, tmp_path, change, says):
    cfg = load_config(trained_run.config)
    change(cfg.data.test)
    (tmp_path / 'config.json').write_text(json.dumps(cfg._cfg_dict.to_dict()))
    with pytest.raises(SystemExit, match=f'^Error: .*{says}'):
        export_run('x.pt2', '--config', str(tmp_path / 'config.json'))


@pytest.mark.long
def test_windows_of_a_sliding_config(trained_run, export_run, tmp_path, capsys):
    cfg = load_config(trained_run.config)
    cfg.model.test_cfg = dict(mode='slide', crop_size=(64, 96), stride=(32, 48))
    (tmp_path / 'config.json').write_text(json.dumps(cfg._cfg_dict.to_dict()))
    export_run('x.pt2', '--config', str(tmp_path / 'config.json'))
    out = capsys.readouterr().out
    assert 'for images of 64 x 96' in out


def test_what_the_ending_of_the_file_must_be(export_run, capsys):
    with pytest.raises(SystemExit) as stop:
        export_run('x.pth')
    assert stop.value.code == 2 and 'ONNX ends in .onnx' in capsys.readouterr().err


@pytest.mark.long
def test_as_a_command(trained_run, tmp_path):
    result = run_python(
        CHECKOUT / 'tools/export.py', 'nowhere.pth', '--out', tmp_path / 'x.onnx', cwd=tmp_path
    )
    assert result.returncode == 1 and result.stdout == '' and not list(tmp_path.iterdir())
    assert result.stderr == 'Error: checkpoint nowhere.pth does not exist.\n'


@pytest.mark.long
@pytest.mark.parametrize('name', ['x.onnx', 'x.pt2'])
@torch.no_grad()
def test_hrda_can_be_exported(name):
    torch.manual_seed(0)
    network = ImageToLabels(build_segmentor(hrda_model()).eval(), NORM_CFG, 'logits')
    image = torch.randint(0, 256, (1, 3, 128, 128), dtype=torch.uint8)
    found = export.run(export.export(network, image, name, {}), name, image.repeat(3, 1, 1, 1))
    check_agreement(found, network(image).expand_as(found))


VITS = {
    'dinov2': dict(model_name='vit_small_patch14_dinov2', img_size=98),
    'dinov2_meta': dict(model_name='vit_small_patch14_dinov2', img_size=98, positions='meta'),
    'dinov2_registers': dict(model_name='vit_small_patch14_reg4_dinov2', img_size=98),
    'dinov3': dict(model_name='vit_small_patch16_dinov3'),
}


@pytest.mark.long
@pytest.mark.parametrize('name', ['x.onnx', 'x.pt2'])
@pytest.mark.parametrize('vit', VITS)
@torch.no_grad()
def test_plain_vits_can_be_exported(vit, name):
    """Their positions are resampled, and images enlarged to whole patches, as the network does."""
    backbone = dict(type='TimmViT', embed_dim=48, num_heads=3, depth=4, **VITS[vit])
    head = dict(type='VFMHead', in_channels=48, num_classes=19, align_corners=False)
    segmentor = build_segmentor(
        dict(
            type='EncoderDecoder', backbone=backbone, decode_head=head, train_cfg={},
            test_cfg=dict(mode='whole'),
        )
    )  # fmt: skip
    network = ImageToLabels(fill(segmentor).eval(), NORM_CFG, 'labels')
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 64, 96), np.uint8))
    content = export.export(network, images[:1], name, {})
    expected = network(images)
    assert len(expected.unique()) > 5
    assert torch.equal(export.run(content, name, images), expected)


@pytest.mark.long
@pytest.mark.parametrize('path', MODELS, ids=lambda path: path.stem)
@pytest.mark.parametrize('name', ['x.onnx', 'x.pt2'])
@torch.no_grad()
def test_every_network_can_be_exported(path, name):
    cfg = mmcv.Config.fromfile(path).model
    cfg.pretrained = None
    if 'mit' in cfg.backbone.type:
        cfg.backbone.type, cfg.decode_head.in_channels = 'mit_b0', 'from_encoder'
    fill_in_channels(cfg)
    torch.manual_seed(0)
    network = ImageToLabels(build_segmentor(cfg).eval(), NORM_CFG, 'logits')
    image = torch.randint(0, 256, (1, 3, 128, 128), dtype=torch.uint8)
    found = export.run(export.export(network, image, name, {}), name, image.repeat(3, 1, 1, 1))
    check_agreement(found, network(image).expand_as(found))
