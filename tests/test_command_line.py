"""The commands as a user types them: their options and what they write."""

import ast
import glob
import graphlib
import os
import shutil
import subprocess
import sys

import cityscapesscripts.helpers.labels as cityscapes_labels
import cv2
import numpy as np
import pytest
from PIL import Image

from tests.tiny_runs import (
    CHECKOUT,
    FEATURE_DISTANCE,
    UDA_CONFIG,
    files_below,
    only,
    run_experiment,
)

pytestmark = pytest.mark.usefixtures('one_thread')

VAL = 'data/street_scenes/cityscapes/leftImg8bit/val/dunmore'
COLORS = np.array([cityscapes_labels.trainId2label[i].color for i in range(19)], np.uint8)


# run_experiments.py: which run a command means


def test_same_command_again_says_that_the_run_is_finished(trained_run, capsys):
    before = files_below('.')
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)
    assert f'This run is finished: {trained_run.work_dir} (--new' in capsys.readouterr().out
    assert files_below('.') == before


@pytest.mark.parametrize(
    ('options', 'arguments'), [((), ['--new']), (['uda.alpha=0.9'], []), ((), ['--seed', '1'])]
)
def test_what_starts_another_run(copied_run, monkeypatch, capsys, options, arguments):
    trained = []
    monkeypatch.setattr('tools.launch.train_run', lambda cfg, device: trained.append(cfg))
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE, *options, arguments=arguments)
    (cfg,) = trained
    generated = f'configs/generated/local-street_scenes/{cfg.name}.json'
    assert f'New run: {generated}' in capsys.readouterr().out and os.path.isfile(generated)
    assert cfg.name != copied_run.name
    assert cfg.work_dir == f'work_dirs/local-street_scenes/{cfg.name}'


def test_unfinished_run_is_preferred(copied_run, monkeypatch, capsys):
    shutil.copytree(copied_run.work_dir, 'work_dirs/local-street_scenes/finished', symlinks=True)
    os.remove(f'{copied_run.work_dir}/iter_4.pth')
    for path in glob.glob('work_dirs/local-street_scenes/finished/*.json'):
        os.utime(path, (2e9, 2e9))
    monkeypatch.setattr('tools.launch.train_run', lambda cfg, device: None)
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)
    assert f'Resuming {copied_run.work_dir}' in capsys.readouterr().out


def test_override_of_a_list_entry_is_in_the_generated_config(workplace, monkeypatch):
    from mmseg.engine.config import load_config

    monkeypatch.setattr('tools.launch.train_run', lambda cfg, device: None)
    run_experiment(UDA_CONFIG, 'data.train.source.pipeline.3.cat_max_ratio=0.5')
    pipeline = load_config(only('configs/generated/*/*.json')).data.train.source.pipeline
    assert pipeline[3].cat_max_ratio == 0.5 and pipeline[3].type == 'RandomCrop'
    assert pipeline[0].type == 'LoadImageFromFile'


def test_start_reads_and_checks_a_config_once(workplace, monkeypatch):
    import mmcv

    from tools import launch

    calls = []

    def counted(owner, name):
        function = getattr(owner, name)

        def call(*args, **options):
            calls.append((name, args[0]))
            return function(*args, **options)

        monkeypatch.setattr(owner, name, call)

    counted(mmcv.Config, 'fromfile')
    counted(launch, 'check_config')
    counted(launch, 'check_files')
    trained = []
    monkeypatch.setattr('mmseg.engine.run.train', lambda cfg, *_: trained.append(cfg))
    run_experiment(UDA_CONFIG)
    assert [name for name, _ in calls] == ['fromfile', 'check_config', 'check_files']
    assert all(cfg is trained[0] for _, cfg in calls[1:])


def test_imports_have_no_cycle():
    """Those at the top of modules; a function may import what takes seconds."""
    folders = ('mmseg', 'daformer_runs', 'tools', 'demo')
    patterns = ('*.py', *(f'{folder}/**/*.py' for folder in folders))
    paths = [path for pattern in patterns for path in CHECKOUT.glob(pattern)]
    names = {'.'.join(path.relative_to(CHECKOUT).with_suffix('').parts): path for path in paths}
    graph = {}
    for name, path in names.items():
        imported = set()
        for node in ast.parse(path.read_text(encoding='utf-8')).body:
            aliases = {alias.name for alias in getattr(node, 'names', ())}
            if isinstance(node, ast.Import):
                imported |= aliases
            elif isinstance(node, ast.ImportFrom):
                imported |= {node.module, *(f'{node.module}.{alias}' for alias in aliases)}
        graph[name] = imported & names.keys()
    assert 'mmseg.engine.run' in graph['tools.launch']
    graphlib.TopologicalSorter(graph).prepare()


# test.sh


@pytest.mark.parametrize(('shell', 'ending'), [('sh', ''), ('dash', '/')])
def test_test_sh(copied_run, shell, ending):
    if shutil.which(shell) is None:
        pytest.skip(f'no {shell}')
    result = subprocess.run(
        [shell, CHECKOUT / 'test.sh', copied_run.work_dir + ending],
        env={**os.environ, 'PYTHON': sys.executable, 'OMP_NUM_THREADS': '1'},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    pictures = files_below(f'{copied_run.work_dir}/preds')
    assert [path.name for path in pictures] == sorted(os.listdir(VAL))
    mean = copied_run.log('val')[-1]['mIoU']
    assert f'mIoU: {100 * mean:.2f}' in result.stdout
    assert 'traffic light' in result.stdout
    assert 'Warning' not in result.stderr and len(result.stderr.splitlines()) < 5


def test_test_sh_shows_other_networks_elsewhere(copied_run, tmp_path):
    echo = tmp_path / 'echo'
    echo.write_text('#!/bin/sh\necho "$@"')
    echo.chmod(0o755)
    for options, preds in (
        ([], 'preds'),
        (['--weights', 'teacher'], 'preds_teacher'),
        (['--weights=teacher', '--aug-test'], 'preds_teacher_aug-test'),
        (['--test-set', '--format-only'], 'preds_test-set'),
    ):
        result = subprocess.run(
            ['sh', CHECKOUT / 'test.sh', copied_run.work_dir, *options],
            env={**os.environ, 'PYTHON': str(echo)}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert (
            f'--show-dir {copied_run.work_dir}/{preds} {" ".join(options)}'.strip() in result.stdout
        )


@pytest.mark.parametrize(('directory', 'says'), [('nowhere', 'not a folder'), ('.', 'no config')])
def test_test_sh_names_what_is_wrong(tmp_path, directory, says):
    result = subprocess.run(
        ['sh', CHECKOUT / 'test.sh', directory],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1 and says in result.stderr and directory in result.stderr


# tools/test.py


def run_test(run, *arguments):
    from tools import test

    return test.main([run.config, run.checkpoint, *map(str, arguments)])


@pytest.mark.parametrize(('which', 'prefix'), [('student', 'model.'), ('teacher', 'ema_model.')])
def test_predictions_are_those_of_the_chosen_network(trained_run, tmp_path, which, prefix):
    run_test(trained_run, '--weights', which, '--show-dir', tmp_path)
    for name in os.listdir(VAL):
        label = trained_run.predict(cv2.imread(f'{VAL}/{name}'), prefix)
        painted = cv2.imread(str(tmp_path / 'dunmore' / name))
        np.testing.assert_array_equal(painted[..., ::-1], COLORS[label])


def test_metrics_are_those_of_the_last_evaluation(trained_run):
    found = run_test(trained_run)
    logged = trained_run.log('val')[-1]
    names = [name for name in found if name.startswith(('IoU.', 'mIoU'))]
    assert len(names) == 20
    for name in names:
        assert np.isclose(found[name], logged[name], atol=1e-4, equal_nan=True)


def test_opacity_lets_the_image_shine_through(trained_run, tmp_path):
    run_test(trained_run, '--show-dir', tmp_path, '--opacity', '0.25')
    name = os.listdir(VAL)[0]
    image = cv2.imread(f'{VAL}/{name}')
    expected = 0.25 * COLORS[trained_run.predict(image)][..., ::-1] + 0.75 * image
    shown = cv2.imread(str(tmp_path / 'dunmore' / name))
    assert np.abs(shown - expected).max() <= 1


def test_aug_test_sees_six_scales_and_their_mirror_images(trained_run, monkeypatch):
    from mmseg.models import EncoderDecoder

    seen = []
    original = EncoderDecoder.inference

    def inference(self, img, img_meta, rescale):
        seen.append((tuple(img.shape[2:]), img_meta[0]['flip']))
        return original(self, img, img_meta, rescale)

    monkeypatch.setattr(EncoderDecoder, 'inference', inference)
    run_test(trained_run, '--aug-test')
    sizes = [(64, 128), (96, 192), (128, 256), (160, 320), (192, 384), (224, 448)]
    assert len(seen) == 3 * 12
    assert sorted(seen[:12]) == sorted((size, flip) for size in sizes for flip in (False, True))


def test_submission_to_cityscapes_holds_label_ids(copied_run, capsys):
    assert run_test(copied_run, '--format-only') is None
    folder = f'{copied_run.work_dir}/labelIds'
    assert f'Predictions are in {folder}' in capsys.readouterr().out
    assert sorted(os.listdir(folder)) == sorted(os.listdir(VAL))
    ids = np.array([cityscapes_labels.trainId2label[i].id for i in range(19)])
    for name in os.listdir(folder):
        with Image.open(f'{folder}/{name}') as picture:
            label = copied_run.predict(cv2.imread(f'{VAL}/{name}'))
            np.testing.assert_array_equal(np.asarray(picture), ids[label])


@pytest.mark.parametrize('kind', ['ACDCDataset', 'DarkZurichDataset'])
def test_submission_to_acdc_and_dark_zurich_holds_train_ids(copied_run, kind, tmp_path):
    images = tmp_path / 'night' / 'rgb_anon' / 'val'
    images.mkdir(parents=True)
    shutil.copy(only(f'{VAL}/*_000000_*'), images / 'a_rgb_anon.png')
    run_test(
        copied_run, '--format-only', '--eval-options', f'imgfile_prefix={tmp_path}/sent',
        '--cfg-options', f'data.test.type={kind}', f'data.test.data_root={tmp_path}/night',
        'data.test.img_dir=rgb_anon/val', 'data.test.ann_dir=gt/val',
    )  # fmt: skip
    assert os.listdir(tmp_path / 'sent') == ['a_rgb_anon.png']
    with Image.open(tmp_path / 'sent' / 'a_rgb_anon.png') as picture:
        label = copied_run.predict(cv2.imread(str(images / 'a_rgb_anon.png')))
        np.testing.assert_array_equal(np.asarray(picture), label)


def test_test_set_is_the_folder_test(own_data, shared_run):
    test_images = own_data / 'cityscapes/leftImg8bit/test/town'
    test_images.mkdir(parents=True)
    shutil.copy(only(f'{VAL}/*_000000_*'), test_images / 'town_1_leftImg8bit.png')
    shutil.copytree(shared_run.folder / shared_run.work_dir, 'run')
    from tools import test

    arguments = [f'run/{shared_run.name}.json', 'run/latest.pth', '--test-set', '--format-only']
    # Of an absolute path the split alone is another.
    moved = own_data.absolute().with_name('valuable_eval')
    own_data.rename(moved)
    options = [f'data.test.img_dir={moved}/cityscapes/leftImg8bit/val', 'data.test.data_root=.']
    test.main([*arguments, '--show-dir', 'shown', '--cfg-options', *options])
    assert os.listdir('run/labelIds') == ['town_1_leftImg8bit.png']
    assert [path.name for path in files_below('shown')] == ['town_1_leftImg8bit.png']


def test_synthia_is_reported_over_its_own_classes(trained_run, monkeypatch, capsys):
    from mmseg.datasets import CityscapesDataset

    thirteen = [
        'road', 'sidewalk', 'building', 'traffic light', 'traffic sign', 'vegetation', 'sky',
        'person', 'rider', 'car', 'bus', 'motorcycle', 'bicycle',
    ]  # fmt: skip
    given = {f'IoU.{name}': (i + 1) ** 2 / 400 for i, name in enumerate(CityscapesDataset.CLASSES)}
    given['IoU.rider'] = np.nan  # does not occur
    monkeypatch.setattr(CityscapesDataset, 'evaluate', lambda *_, **__: {'mIoU': 0.5, **given})
    found = run_test(trained_run, '--cfg-options', 'data.train.source.type=SynthiaDataset')
    out = capsys.readouterr().out
    for classes in (thirteen, [*thirteen, 'wall', 'fence', 'pole']):
        name = f'mIoU{len(classes)}'
        mean = sum(given[f'IoU.{c}'] for c in classes if c != 'rider') / (len(classes) - 1)
        assert np.isclose(found[name], mean)
        assert f'{name}: {100 * mean:.2f}' in out
