"""A published file holds one network and what is needed to use it, and loads wherever files do."""

import glob
import hashlib
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file as load_safetensors

from mmseg.engine.checkpoint import load_file, segmentor_weights
from mmseg.engine.config import as_dict, load_config
from mmseg.engine.trained import load_trained
from tests.tiny_runs import (
    CHECKOUT,
    SOURCE_ONLY_CONFIG,
    only,
    predict_image,
    run_experiment,
    run_python,
)
from tools import print_config, publish_model

pytestmark = pytest.mark.usefixtures('one_thread')

CPU = torch.device('cpu')
IMAGE = 'data/street_scenes/cityscapes/leftImg8bit/val/dunmore/*_000000_*'


@pytest.fixture
def publish(trained_run, tmp_path):
    """Publish the run's checkpoint (or another one); returns the path."""

    def publish(*options, checkpoint=None, kind=None, out=tmp_path):
        out = tmp_path / f'published.{kind}' if kind else out
        return publish_model.main(
            [str(checkpoint or trained_run.checkpoint), '--out', str(out), *options]
        )

    return publish


def assert_same_weights(weights, expected):
    assert set(weights) == set(expected)
    assert all(torch.equal(value, expected[name]) for name, value in weights.items())


@pytest.mark.parametrize('which', ['student', 'teacher'])
@pytest.mark.parametrize('kind', ['pth', 'safetensors'])
def test_what_is_in_it(trained_run, publish, which, kind):
    path = publish('--weights', which, kind=kind)
    if kind == 'pth':
        content = torch.load(path, weights_only=True)
        assert set(content) == {'meta', 'state_dict'}
        weights = content['state_dict']
    else:
        weights = load_safetensors(path)
    run = trained_run.load()
    assert_same_weights(weights, segmentor_weights(run['state_dict'], which))
    meta = load_file(path)['meta']
    assert meta['CLASSES'] == run['meta']['CLASSES'] and meta['PALETTE'] == run['meta']['PALETTE']
    assert (meta['weights'], meta['iter']) == (which, 4)
    config = as_dict(load_config(trained_run.config))
    for key in ('work_dir', 'load_from', 'resume_from'):
        del config[key]
    assert json.loads(meta['config']) == config


def test_its_name_is_of_its_content(trained_run, publish, tmp_path, capsys):
    path = publish()
    content = Path(path).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    config = json.loads(Path(trained_run.config).read_text())
    name = config['name'].split('_', 2)[2].rsplit('_', 1)[0]  # without date and number
    assert os.path.basename(path) == f'{name}-{digest[:8]}.pth'
    out = capsys.readouterr().out
    assert f'{path}\n{len(content) / 1e6:.1f} MB\nSHA-256 {digest}\n' == out
    # Of a published file again, as of the run.
    assert publish(checkpoint=path, out=tmp_path / 'again.pth').endswith(f'again-{digest[:8]}.pth')


def logits(segmentor):
    images = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 64, 96))).float()
    with torch.no_grad():
        return segmentor.encode_decode(images, [{}])


@pytest.mark.parametrize('kind', ['pth', 'safetensors'])
def test_tools_take_it(trained_run, publish, tmp_path, kind, capsys):
    from demo import image_demo
    from tools import test

    path = publish(kind=kind)
    expected = load_trained(None, trained_run.checkpoint, CPU)
    assert torch.equal(logits(load_trained(None, path, CPU)), logits(expected))

    alone = test.main([path, '--show-dir', str(tmp_path / 'alone')])
    # An option between the two is no reason to take one for the other.
    run = test.main(
        [trained_run.config, '--show-dir', str(tmp_path / 'run'), trained_run.checkpoint]
    )
    np.testing.assert_equal(alone, run)
    pictures = glob.glob(f'{tmp_path}/alone/dunmore/*.png')
    assert len(pictures) == 3
    for picture in pictures:
        np.testing.assert_array_equal(
            cv2.imread(picture), cv2.imread(picture.replace('alone', 'run'))
        )

    out = str(tmp_path / 'demo.png')
    image_demo.main([only(IMAGE), trained_run.config, path, '--out', out])
    painted = cv2.imread(out)[..., ::-1]
    label = predict_image(expected, expected.cfg, only(IMAGE))
    assert np.array_equal(painted, np.array(expected.PALETTE)[label])


def test_mmsegmentation_takes_it(trained_run, publish, tmp_path, capsys):
    from mmseg.apis import inference_segmentor, init_segmentor

    path = publish()
    config = tmp_path / 'config.py'
    config.write_text(print_config.main([path]))
    segmentor = init_segmentor(str(config), path, device='cpu')
    expected = load_trained(None, trained_run.checkpoint, CPU)
    assert list(expected.CLASSES) == list(segmentor.CLASSES)
    assert list(expected.PALETTE) == list(segmentor.PALETTE)
    assert torch.equal(logits(segmentor), logits(expected))
    (label,) = inference_segmentor(segmentor, only(IMAGE))
    assert np.array_equal(label, predict_image(expected, expected.cfg, only(IMAGE)))


@pytest.mark.parametrize('kind', ['pth', 'safetensors'])
def test_training_starts_from_it(trained_run, publish, workplace, monkeypatch, kind):
    from mmseg.engine.runner import SeededRunner

    monkeypatch.chdir(trained_run.folder)
    path = publish(kind=kind)
    expected = segmentor_weights(trained_run.load()['state_dict'])
    monkeypatch.chdir(workplace)

    started = []
    monkeypatch.setattr(SeededRunner, 'run', lambda runner, loader: started.append(runner.model))
    run_experiment(SOURCE_ONLY_CONFIG, arguments=['--load-from', path])
    (model,) = started
    assert_same_weights(model.state_dict(), expected)


def test_published_checkpoints_need_their_config(trained_run, publish, tmp_path):
    released = {
        name: value
        for name, value in trained_run.load()['state_dict'].items()
        if name.startswith('model.')
    }
    checkpoint = tmp_path / 'released.pth'
    torch.save({'state_dict': released}, checkpoint)
    path = publish('--config', trained_run.config, checkpoint=checkpoint)
    assert_same_weights(load_file(path)['state_dict'], segmentor_weights(released))
    assert load_file(path)['meta']['CLASSES'][0] == 'road'
    assert load_file(path)['meta']['iter'] is None
    with pytest.raises(SystemExit, match=r'^Error: .*released.pth holds no config'):
        publish(checkpoint=checkpoint)


def test_places_of_this_machine_are_named_and_taken_out(trained_run, publish, tmp_path, capsys):
    config = json.loads(Path(trained_run.config).read_text())
    config['model']['train_cfg'] = {'work_dir': '/home/someone/work'}
    config.update(load_from='/home/someone/x.pth', load_from_without_classifier=True)
    config['data']['test']['data_root'] = '/home/someone/data'
    (tmp_path / 'config.json').write_text(json.dumps(config))
    path = publish('--config', str(tmp_path / 'config.json'))
    public = load_file(path)['meta']['config']
    assert 'load_from' not in public
    assert '/home/someone/work' not in public and trained_run.name + '"' in public
    assert 'Note: the config in it names /home/someone/data\n' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('checkpoint', 'options', 'says'),
    [
        ('nowhere.pth', [], 'checkpoint nowhere.pth does not exist'),
        (None, ['--config', 'nowhere.py'], 'config nowhere.py does not exist'),
        (__file__, [], 'test_publish_model.py is no checkpoint'),
        (None, ['--config', str(SOURCE_ONLY_CONFIG)], 'does not fit the configured network'),
    ],
)
def test_mistakes(publish, monkeypatch, checkpoint, options, says, tmp_path):
    with pytest.raises(SystemExit, match=rf'^Error: .*{says}'):
        publish(*options, checkpoint=checkpoint)
    assert list(tmp_path.iterdir()) == []


def test_there_is_no_teacher_in_a_published_student(publish, tmp_path):
    path = publish()
    with pytest.raises(SystemExit, match=r'^Error: .*holds no teacher'):
        publish('--weights', 'teacher', checkpoint=path)
    with pytest.raises(SystemExit, match=r'^Error: .*Choose a folder that can be written'):
        publish(out=__file__)


def test_a_full_disk_leaves_nothing(publish, tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(SystemExit) as stop:
        publish()
    assert 'cannot be written' in stop.value.code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_as_a_command_gives_the_same_file(trained_run, publish, tmp_path):
    result = run_python(
        CHECKOUT / 'tools/publish_model.py', trained_run.checkpoint, '--out', tmp_path,
        cwd=trained_run.folder,
    )  # fmt: skip
    assert result.returncode == 0 and result.stderr == ''
    assert result.stdout.splitlines()[0] == publish()
