"""Runs of HRDA and MIC on StreetScenes: training, exact resume, and what tests write of them."""

import os

import cv2
import numpy as np
import pytest
import torch

from tests.tiny_runs import CHECKOUT, FEATURE_DISTANCE, files_below, run_experiment
from tools import test as test_tool

CONFIG = CHECKOUT / 'configs/street_scenes/mic_hrda_mitb0.py'
OPTIONS = (*FEATURE_DISTANCE, 'uda.mask_alpha=0.9', 'model.decode_head.attention_embed_dim=16')


@pytest.fixture(scope='module')
def hrda_run(tmp_path_factory, street_scenes):
    folder = tmp_path_factory.mktemp('hrda')
    (folder / 'data').mkdir()
    (folder / 'data/street_scenes').symlink_to(street_scenes)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_experiment(CONFIG, *OPTIONS)
    return folder


def run_of(folder):
    return next(path.parent for path in folder.glob('work_dirs/**/iter_4.pth'))


@pytest.mark.long
def test_a_resumed_run_is_the_same(hrda_run, workplace):
    """Boxes and masks follow from the iteration, and the masked images' teacher is in the state."""
    whole = torch.load(run_of(hrda_run) / 'iter_4.pth', weights_only=True)
    assert any(name.startswith('mic.teacher.ema_model') for name in whole['state_dict'])
    every = ('checkpoint_config.interval=2', 'checkpoint_config.max_keep_ckpts=-1')
    run_experiment(CONFIG, *OPTIONS, *every)
    run = run_of(workplace)
    (run / 'iter_4.pth').unlink()
    os.remove(run / 'latest.pth')
    run_experiment(CONFIG, *OPTIONS, *every)
    again = torch.load(run / 'iter_4.pth', weights_only=True)
    for name, weight in whole['state_dict'].items():
        assert torch.equal(weight, again['state_dict'][name]), name


def predict(folder, monkeypatch, *options):
    monkeypatch.chdir(folder)
    run = run_of(folder)
    found = test_tool.main([str(run), str(run / 'iter_4.pth'), '--device', 'cpu', *options])
    return found and found['mIoU']


def test_context_detail_and_attention(hrda_run, monkeypatch, tmp_path, capsys):
    found = {
        out: predict(hrda_run, monkeypatch, *(['--hrda-out', out] if out else []))
        for out in (None, 'LR', 'HR')
    }
    assert len(set(found.values())) == 3
    assert predict(
        hrda_run, monkeypatch, '--hrda-out', 'ATT', '--show-dir', str(tmp_path / 'attention')
    ) is None  # fmt: skip
    images = [cv2.imread(str(path), -1) for path in files_below(tmp_path / 'attention')
              if str(path).endswith('.png')]  # fmt: skip
    assert len(images) == 3
    assert all(image.ndim == 2 and 0 < image.mean() < 255 for image in images)
    with pytest.raises(SystemExit, match='holds PNGs of another'):
        predict(hrda_run, monkeypatch, '--show-dir', str(tmp_path / 'attention'))
    predict(hrda_run, monkeypatch, '--show-dir', str(tmp_path / 'preds'))
    apart = ['--cfg-options', 'model.hr_slide_overlapping=False']
    with pytest.raises(SystemExit, match='holds PNGs of another'):
        predict(hrda_run, monkeypatch, '--show-dir', str(tmp_path / 'preds'), *apart)


def test_windows_or_whole_images(hrda_run, monkeypatch, tmp_path):
    windows = ('model.test_cfg.mode=slide', 'model.test_cfg.crop_size=128,128',
               'model.test_cfg.stride=64,64')  # fmt: skip
    ways = dict(
        same=[], whole=['--inference-mode', 'whole'], slide=['--inference-mode', 'slide'],
        stated=['--cfg-options', *windows],
    )  # fmt: skip
    images = {}
    for name, options in ways.items():
        predict(hrda_run, monkeypatch, '--show-dir', str(tmp_path / name), *options)
        pngs = sorted((tmp_path / name).rglob('*.png'))
        images[name] = np.stack([cv2.imread(str(path)) for path in pngs])
    assert np.array_equal(images['same'], images['whole'])
    assert not np.array_equal(images['slide'], images['whole'])
    # All windows in one batch, and one by one: but for rounding the same.
    assert (images['slide'] == images['stated']).mean() > 0.999


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--hrda-out', 'ATT'], '--show-dir is missing'),
        (['--hrda-out', 'ATT', '--show-dir', 'x', '--aug-test'], 'is not for'),
    ],
)
def test_wrong_options(hrda_run, monkeypatch, capsys, options, message):
    with pytest.raises(SystemExit):
        predict(hrda_run, monkeypatch, *options)
    assert message in capsys.readouterr().err


def test_the_head_may_have_its_older_name(hrda_run, monkeypatch):
    options = ['--cfg-options', 'model.decode_head.type=MultiResAttentionWrapper']
    assert predict(hrda_run, monkeypatch, '--hrda-out', 'LR', *options) is not None


def test_another_network_has_no_context(trained_run):
    with pytest.raises(SystemExit, match='networks with an HRDAHead'):
        test_tool.main([trained_run.work_dir, f'{trained_run.work_dir}/latest.pth',
                        '--hrda-out', 'LR'])  # fmt: skip
