"""An exported file predicts what the network does, from raw pictures, without this code."""

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
from tests.tiny_runs import CHECKOUT, only, predict_image, run_python
from tools import export
from tools.exporting import agreement, formats
from tools.exporting.graph import PictureToLabels, Preparation, preparation_of

pytestmark = pytest.mark.usefixtures('one_thread')

IMAGE = 'data/street_scenes/cityscapes/leftImg8bit/val/dunmore/*_000000_*'
MODELS = sorted((CHECKOUT / 'configs/_base_/models').glob('*.py'))
CPU = torch.device('cpu')
# In the paths that traces of a network name; the checkout's own may be short enough for a weight.
SOURCES = b'mmseg/models/'


@pytest.fixture
def export_run(trained_run, tmp_path):
    """Export the run's checkpoint; returns the path."""

    def export_run(name, *options, checkpoint=trained_run.checkpoint):
        return export.main([checkpoint, '--out', str(tmp_path / name), *options])

    return export_run


@pytest.mark.long
def test_onnx_from_a_picture_file(trained_run, export_run, tmp_path, capsys):
    path = export_run('model.onnx')
    out = capsys.readouterr().out
    assert re.search(r'^(100|99\.9\d\d)\.?\d*% of the pixels', out, re.MULTILINE)
    assert 'output labels: (N, 128, 256) uint8' in out
    onnx.checker.check_model(path)
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])

    # As an engineer would, who has the file alone.
    image = cv2.resize(cv2.imread(only(IMAGE)), (256, 128))
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    pictures = np.stack([image, image[:, ::-1], 255 - image])[..., ::-1].transpose(0, 3, 1, 2)
    (labels,) = session.run(None, {'picture': np.ascontiguousarray(pictures)})
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


def test_torch_program_with_logits_of_the_teacher(trained_run, export_run, capsys):
    path = export_run('x.pt2', '--output', 'logits', '--weights', 'teacher', '--shape', '64', '96')
    assert 'logits differ by at most' in capsys.readouterr().out
    extra = {'meta': ''}
    program = torch.export.load(path, extra_files=extra).module()
    pictures = torch.randint(0, 256, (2, 3, 64, 96), dtype=torch.uint8)
    found = program(pictures)
    mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
    std = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
    teacher = load_trained(None, trained_run.checkpoint, CPU, 'teacher')
    with torch.no_grad():
        expected = teacher.encode_decode((pictures - mean) / std, [{}] * 2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert json.loads(extra['meta'])['weights'] == '"teacher"'
    assert SOURCES not in Path(path).read_bytes()


def test_what_predicts_something_else_is_not_written(export_run, tmp_path, monkeypatch):
    (tmp_path / 'model.pt2').write_text('before')
    right = formats.run
    monkeypatch.setattr(export, 'run', lambda *given: (1 + right(*given)[0], {}))
    with pytest.raises(SystemExit, match=r'^Error: .*only 0.000% of the pixels agree\. Nothing'):
        export_run('model.pt2', '--shape', '64', '64')
    assert (tmp_path / 'model.pt2').read_text() == 'before'
    assert len(list(tmp_path.iterdir())) == 1


def test_agreement():
    logits = torch.zeros(1, 2, 100, 100)
    logits[:, 1] = torch.linspace(-1, 1, 10000).view(100, 100)
    labels = logits.argmax(1)
    assert agreement.check_agreement(labels.byte(), logits, 'labels') == (1, None)
    labels.view(-1)[:10] = 1
    assert agreement.check_agreement(labels.byte(), logits, 'labels') == (0.999, None)
    labels.view(-1)[:11] = 1
    with pytest.raises(ValueError, match=r'only 99.890% of the pixels agree\. Nothing'):
        agreement.check_agreement(labels.byte(), logits, 'labels')
    with pytest.raises(ValueError, match=r'does: logits differ by up to 0\.002\. Nothing'):
        agreement.check_agreement(logits + 0.002, logits, 'logits')
    with pytest.raises(ValueError, match='logits differ by up to nan'):
        agreement.check_agreement(logits * float('nan'), logits, 'logits')


def test_bgr_networks_take_rgb_pictures_too(trained_run):
    segmentor = load_trained(None, trained_run.checkpoint, CPU)
    picture = agreement.demo_picture((64, 96))
    for to_rgb in (False, True):
        preparation = Preparation([100, 110, 120], [50, 60, 70], to_rgb)
        graph = PictureToLabels(segmentor, preparation, 'logits')
        with torch.no_grad():
            found = graph(agreement.as_input(picture))
        expected = agreement.reference_logits(segmentor, preparation, picture)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_missing_packages_are_named(export_run, monkeypatch):
    find_spec = formats.importlib.util.find_spec
    monkeypatch.setattr(
        formats.importlib.util, 'find_spec',
        lambda name: None if name.startswith('onnxr') else find_spec(name),
    )  # fmt: skip
    with pytest.raises(SystemExit, match=r'needs onnxruntime: python -m pip install onnxruntime$'):
        export_run('x.onnx')
    formats.check_installed('torch')


def test_a_network_that_cannot_be_exported(trained_run):
    segmentor = load_trained(None, trained_run.checkpoint, CPU)
    head, forward = segmentor.decode_head, segmentor.decode_head.forward
    head.forward = lambda maps: forward(maps) if maps[0].sum().item() > 0 else -forward(maps)
    graph = PictureToLabels(segmentor, preparation_of(segmentor.cfg), 'labels')
    with pytest.raises(
        ValueError, match=r'mit_b0 with DAFormerHead cannot be exported as torch by'
    ):
        formats.export(graph, (64, 64), {}, 'torch')


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        (lambda test: test.pipeline[1].update(img_scale=None), 'give --shape H W'),
        (lambda test: test.pipeline[1].transforms.pop(2), 'has 0 Normalize and needs one'),
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
    assert 'input picture: (N, 3, 64, 96) uint8' in out and 'the file predicts one window' in out


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['x.pth'], 'ONNX ends in .onnx'),
        (['x.onnx', '--format', 'torch'], 'ONNX ends in .onnx'),
        (['x.onnx', '--shape', '8', '512'], 'at least 32 32'),
    ],
)
def test_impossible_options(export_run, arguments, says, capsys):
    with pytest.raises(SystemExit) as stop:
        export_run(*arguments)
    assert stop.value.code == 2 and says in capsys.readouterr().err


def test_as_a_command(trained_run, tmp_path):
    result = run_python(
        CHECKOUT / 'tools/export.py', 'nowhere.pth', '--out', tmp_path / 'x.onnx', cwd=tmp_path
    )
    assert result.returncode == 1 and result.stdout == '' and not list(tmp_path.iterdir())
    assert result.stderr == 'Error: checkpoint nowhere.pth does not exist.\n'


@pytest.mark.long
@pytest.mark.parametrize('path', MODELS, ids=lambda path: path.stem)
@pytest.mark.parametrize('format_name', ['onnx', 'torch'])
def test_every_network_can_be_exported(path, format_name):
    cfg = mmcv.Config.fromfile(path).model
    cfg.pretrained = None
    if 'mit' in cfg.backbone.type:
        cfg.backbone.type, cfg.decode_head.in_channels = 'mit_b0', 'from_encoder'
    fill_in_channels(cfg)
    torch.manual_seed(0)
    segmentor = build_segmentor(cfg).eval()
    preparation = Preparation([123.675, 116.28, 103.53], [58.395, 57.12, 57.375], True)
    picture = agreement.demo_picture((128, 128))
    graph = PictureToLabels(segmentor, preparation, 'logits')
    content = formats.export(graph, (128, 128), {}, format_name)
    found, _ = formats.run(content, format_name, agreement.as_input(picture).repeat(3, 1, 1, 1))
    expected = agreement.reference_logits(segmentor, preparation, picture)
    for logits in found:
        agreement.check_agreement(logits[None], expected, 'logits')
