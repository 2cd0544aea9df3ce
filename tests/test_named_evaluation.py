"""Several evaluation sets, which have names: what a run logs, draws and writes of each."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from mmseg.engine import hooks
from mmseg.engine.config import load_config
from mmseg.engine.evaluation import found_classes, join_metrics
from mmseg.engine.trained import load_trained
from tests.test_mistakes import refused
from tests.tiny_runs import (
    CHECKOUT,
    UDA_CONFIG,
    TrainedRun,
    files_below,
    only,
    records_in,
    run_experiment,
)
from tools import collect_results, report, test
from tools.given_config import inference_size

NAMES = ('all', 'first/one')


def named_sets(first_split='one.txt', **changes):
    """Write a config with two validation and test sets; return its path.

    They are StreetScenes' three images, and the first of them.
    """
    folder = 'data/street_scenes/cityscapes/leftImg8bit/val'
    path = only(f'{folder}/*/*_000000_*')
    name = os.path.relpath(path, folder).removesuffix('_leftImg8bit.png')
    Path('one.txt').write_text(f'{name}\n')
    of_all = load_config(str(UDA_CONFIG))._cfg_dict.to_dict()['data']['val']
    one = {**of_all, 'split': os.path.abspath(first_split), **changes}
    sets = dict(_delete_=True, **dict(zip(NAMES, (of_all, one), strict=True)))
    content = {'_base_': [str(UDA_CONFIG)], 'data': {'val': sets, 'test': sets}, 'name': 'named'}
    Path('named.json').write_text(json.dumps(content))
    return 'named.json'


@pytest.fixture(scope='module')
def folder_of_named_run(tmp_path_factory, street_scenes):
    folder = tmp_path_factory.mktemp('named')
    (folder / 'data').mkdir()
    (folder / 'data' / 'street_scenes').symlink_to(street_scenes)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_experiment(named_sets())
    return folder


@pytest.fixture
def named_run(folder_of_named_run, monkeypatch):
    monkeypatch.chdir(folder_of_named_run)
    return TrainedRun(folder_of_named_run)


def iou_of(confusion):
    confusion = np.array(confusion, float)
    with np.errstate(invalid='ignore'):
        return confusion.diagonal() / (confusion.sum(0) + confusion.sum(1) - confusion.diagonal())


def test_each_set_is_logged_and_the_mean(named_run):
    content = json.loads(Path(named_run.work_dir, 'evaluation/iter_000004.json').read_text())
    assert content['iter'] == 4 and list(content['sets']) == list(NAMES)
    logged = named_run.log('val')[-1]
    means = []
    for name, found in content['sets'].items():
        iou = iou_of(found['confusion'])
        means.append(np.nanmean(iou))
        assert logged[f'{name}/mIoU'] == pytest.approx(means[-1], abs=1e-4)
        assert logged[f'{name}/IoU.road'] == pytest.approx(iou[0], abs=1e-4)
        assert len(found['classes']) == 19
    pixels = [np.sum(found['confusion']) for found in content['sets'].values()]
    assert pixels[0] > 2 * pixels[1]
    assert means[0] != means[1] and 'IoU.road' not in logged
    assert logged['mIoU'] == pytest.approx(np.mean(means), abs=1e-4)
    text = Path(only(f'{named_run.work_dir}/*.log')).read_text()
    assert 'first/one:' in text and 'first/one/mIoU: ' in text


def test_images_and_tensorboard_have_the_names(named_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    images = {path.name for path in Path(named_run.work_dir, 'evaluation').glob('iter_000004*.png')}
    expected = {f'iter_000004_all_{i}.png' for i in range(3)}
    assert images == expected | {'iter_000004_first.one_0.png'}
    tags = EventAccumulator(f'{named_run.work_dir}/tf_logs').Reload().Tags()
    assert {'val/first/one/mIoU', 'val/all/IoU.road', 'val/mIoU'} <= set(tags['scalars'])
    shown = {tag for tag in tags['images'] if tag.startswith('evaluation')}
    assert shown == {
        'evaluation/first/one/confusion', 'evaluation/first/one/0', 'evaluation/all/confusion',
        *(f'evaluation/all/{i}' for i in range(3)),
    }  # fmt: skip


def test_tables_of_each_set(named_run, tmp_path, capsys):
    shown = collect_results.main([named_run.work_dir, '--csv', str(tmp_path / 'all.csv')])
    logged = named_run.log('val')[-1]
    for name in ('mIoU', 'all/mIoU', 'first/one/mIoU'):
        assert f'| {name} (%)' in shown and f'{100 * logged[name]:.2f}' in shown
    header = (tmp_path / 'all.csv').read_text().splitlines()[0].split(',')
    assert {'mIoU', 'first/one/mIoU', 'first/one/IoU.road'} <= set(header)


def test_report_of_each_set(named_run, tmp_path):
    from tests.test_report import Page

    report.main([named_run.work_dir, '--out', str(tmp_path / 'report.html')])
    page = Page(tmp_path / 'report.html')
    for section in ('classes', 'confusion'):
        assert len(page.images[section]) == 2
        assert all(name in page.sections[section] for name in NAMES)
    assert 'first/one: CityscapesDataset' in page.sections['runs']
    assert len(page.images['samples']) == 2 * (3 + 1)
    logged = named_run.log('val')[-1]
    assert f'mIoU {100 * logged["first/one/mIoU"]:.1f}' in page.sections['classes']


def test_a_test_is_of_all_sets(named_run, tmp_path, capsys):
    """Without --on, as test.sh has it; of one of them by its name."""
    arguments = [named_run.config, named_run.checkpoint]
    path = tmp_path / 'confusion.json'
    found = test.main([*arguments, '--confusion', str(path), '--show-dir', str(tmp_path / 'shown')])
    logged = named_run.log('val')[-1]
    assert tuple(found) == NAMES and all(set(found[name]) == {'student'} for name in NAMES)
    for name in NAMES:
        miou = found[name]['student']['mIoU']
        assert miou == pytest.approx(logged[f'{name}/mIoU'], abs=1e-4)
    content = json.loads(path.read_text())
    evaluated = json.loads(Path(named_run.work_dir, 'evaluation/iter_000004.json').read_text())
    assert content.pop('tested')['first/one'] == dict(scale='256x128', labels='512×256')
    assert content == evaluated
    folders = {p.relative_to(tmp_path / 'shown').parts[0] for p in files_below(tmp_path / 'shown')}
    assert folders == {'all', 'first.one'}
    assert f'mean of all (2 sets) |        |         |         | {100 * logged["mIoU"]:16.2f}' in (
        capsys.readouterr().out
    )
    of_one = test.main([*arguments, '--on', 'first/one', '--weights', 'student'])
    np.testing.assert_equal(of_one, {'first/one': found['first/one']})
    with pytest.raises(SystemExit, match=r'--on two: there is no such .* all, first/one, acdc, '):
        test.main([*arguments, '--on', 'two'])


def test_what_takes_one_data_set_takes_the_first(named_run, tmp_path):
    from demo import image_demo
    from mmseg.engine.predict import predict_images

    cfg = load_config(named_run.config)
    segmentor = load_trained(None, named_run.checkpoint, 'cpu')
    assert segmentor.CLASSES[0] == 'road' and inference_size(cfg) == (128, 256)
    image = np.zeros((64, 128, 3), np.uint8)
    ((_, _, label, _),) = predict_images(segmentor, [('a', image)])
    assert label.shape == (64, 128)
    image_demo.main([str(CHECKOUT / 'demo/demo.png'), named_run.checkpoint, '--out', str(tmp_path)])


@pytest.mark.long
def test_a_stop_between_the_sets_is_made_up(workplace, named_run, monkeypatch):
    """Nothing counts as evaluated before all sets are; the resumed run ends with the same files."""
    monkeypatch.chdir(workplace)
    original = hooks.predict

    def predict(segmentor, dataset, *arguments, **options):
        if len(dataset) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(segmentor, dataset, *arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(hooks, 'predict', predict)
        run_experiment(named_sets())
    run = TrainedRun(workplace)
    assert records_in(run.work_dir).keys() == {'rare_class_sampling.json'}
    assert os.readlink(run.checkpoint) == 'resume_2.pth' and run.log('val') == []
    run_experiment(named_sets())
    assert records_in(run.work_dir) == records_in(named_run.folder / named_run.work_dir)
    assert [entry['iter'] for entry in run.log('val')] == [2, 4]


def test_lost_classes_are_those_of_a_set(tmp_path):
    (tmp_path / 'evaluation').mkdir()
    of_a, of_b = (
        dict(classes=['x', 'y'], confusion=c) for c in ([[1, 0], [0, 0]], [[0, 0], [0, 2]])
    )
    content = json.dumps(dict(iter=2, sets=dict(a=of_a, b=of_b)))
    (tmp_path / 'evaluation/iter_000002.json').write_text(content)
    assert [found_classes(str(tmp_path), name) for name in ('a', 'b')] == [{'x'}, {'y'}]


def test_means_are_over_sets():
    found = join_metrics({'a': {'mIoU': 0.2, 'IoU.x': 0.4}, 'b/c': {'mIoU': 0.4, 'IoU.x': 0.0}})
    mean = found.pop('mIoU')
    assert mean == pytest.approx(0.3)
    assert found == {'a/mIoU': 0.2, 'a/IoU.x': 0.4, 'b/c/mIoU': 0.4, 'b/c/IoU.x': 0.0}


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        (dict(img_dir='leftImg8bit/nowhere', split=None), 'leftImg8bit/nowhere is missing'),
        (dict(ann_dir='gtFine/nowhere'), 'gtFine/nowhere is missing'),
        (dict(type='ADE20KDataset', img_suffix='.png'), 'data.val.first/one (ADE20KDataset, 150)'),
        (
            dict(pipeline=[dict(type='LoadImageFromFile')]),
            'data.val.first/one.pipeline has no Multi',
        ),
    ],
)
def test_mistakes_name_the_set(workplace, changes, says):
    config = named_sets(**changes)
    if 'pipeline' in changes:  # found once the run builds its data
        with pytest.raises(SystemExit, match=says):
            run_experiment(config)
    else:
        with refused(says):
            run_experiment(config)
