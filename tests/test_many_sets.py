"""tools/test.py on many data sets: one table, its files, and sets that are missing or broken."""

import csv
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmseg.engine.config import load_config, read_file
from tests.test_mistakes import refused
from tests.tiny_runs import CHECKOUT, files_below
from tools import test
from tools.evaluation_sets import chosen_sets, known_names

pytestmark = pytest.mark.usefixtures('one_thread')

NAMES = (
    'cityscapes', 'bdd100k', 'mapillary', 'acdc/fog', 'acdc/night', 'acdc/rain', 'acdc/snow',
    'darkzurich', 'nighttime_driving', 'wilddash2', 'foggy_zurich',
)  # fmt: skip
HOME = 'data/bdd100k/images/10k/val', 'data/bdd100k/labels/sem_seg/masks/val'


def write_pair(image, label, seed=0, size=(64, 128)):
    """Write an image of blotches and a label of all classes and ignored pixels."""
    generator = np.random.default_rng(seed)
    pixels = cv2.resize(generator.integers(0, 256, (6, 6, 3), np.uint8), size[::-1])
    ids = np.kron(
        generator.choice([*range(19), 255], (8, 8)), np.ones((size[0] // 8, size[1] // 8))
    )
    for path, content in ((image, pixels), (label, ids.astype(np.uint8))):
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), content)


def write_acdc(condition, seed, with_label=True):
    below, stem = f'{condition}/val/GOPR1', 'GOPR1_frame_000001'
    label = f'data/acdc/gt/{below}/{stem}_gt_labelTrainIds.png' if with_label else None
    write_pair(f'data/acdc/rgb_anon/{below}/{stem}_rgb_anon.png', label, seed)


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """A folder with BDD100K's and ACDC's fog and night, of an image or two each."""
    monkeypatch.chdir(tmp_path)
    write_pair(f'{HOME[0]}/a.jpg', f'{HOME[1]}/a.png', 1)
    write_pair(f'{HOME[0]}/b.jpg', f'{HOME[1]}/b.png', 2, (64, 96))
    write_acdc('fog', 3)
    write_acdc('night', 4)
    return tmp_path


@pytest.fixture
def run(shared_run, sets, capsys):
    """Calls tools/test.py on the checkpoint of a run; returns metrics and what was printed."""

    def run(*arguments):
        checkpoint = str(shared_run.folder / shared_run.checkpoint)
        found = test.main([checkpoint, *map(str, arguments)])
        return found, capsys.readouterr().out

    return run


def rows_of(printed):
    lines = [line for line in printed.splitlines() if line.startswith('|')]
    cells = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    return {name: values for name, *values in cells}


def test_the_names_are_those_of_configs():
    assert set(NAMES) | {'acdc'} == set(known_names())
    for name in {name.partition('/')[0] for name in NAMES}:
        data = read_file(str(CHECKOUT / f'configs/_base_/datasets/eval_{name}.py')).data
        assert data.val == data.test


def test_one_table_of_all_that_are_there(run):
    options = ['--csv', 'all.csv', '--json', 'all.json', '--reliability', 'drawn']
    found, printed = run('--on', *NAMES, '--test-scale', 'native', *options)

    there = ('bdd100k', 'acdc/fog', 'acdc/night')
    assert tuple(found) == there
    for name in set(NAMES) - set(there):
        assert printed.count(f'{name} is skipped: data/') == 1
    assert 'wilddash2 is skipped: data/wilddash2/ is missing (img_dir of WildDash2Data' in printed
    assert 'acdc/rain is skipped: data/acdc/rgb_anon/rain/val is missing' in printed

    rows = rows_of(printed)
    head = ['images', 'scale', 'labels', 'student mIoU (%)', 'teacher mIoU (%)']
    assert rows['data set'] == head
    assert rows['bdd100k'][:3] == ['2', 'native', 'several sizes']
    assert rows['acdc/fog'][:3] == ['1', 'native', '128×64']
    mious = {
        network: [100 * found[name][network]['mIoU'] for name in there]
        for network in ('student', 'teacher')
    }
    assert len({*mious['student'], *mious['teacher']}) > 3
    for position, network in ((3, 'student'), (4, 'teacher')):
        of_all = mious[network]
        assert [rows[name][position] for name in there] == [f'{miou:.2f}' for miou in of_all]
        assert float(rows['mean of acdc (2 sets)'][position]) == pytest.approx(
            np.mean(of_all[1:]), abs=0.006
        )
        assert float(rows['mean of all (3 sets)'][position]) == pytest.approx(
            np.mean(of_all), abs=0.006
        )
    assert 'student and teacher of ' in printed and 'latest.pth, iteration 4, mode whole, git ' in (
        printed
    )

    content = json.loads(Path('all.json').read_text())
    assert content['iteration'] == 4 and content['mode'] == 'whole' and content['git']
    assert content['means']['acdc']['teacher'] == pytest.approx(np.mean(mious['teacher'][1:]) / 100)
    assert set(content['absent']) == set(NAMES) - set(there) and content['broken'] == {}
    fog = content['sets']['acdc/fog']
    assert (fog['scale'], fog['labels'], fog['images']) == ('native', '128×64', 1)
    for key in ('mIoU', 'fwIoU', 'aAcc', 'mAcc', 'ECE', 'AUROC', 'AUPR', 'FPR95', 'IoU.road'):
        assert fog['student'][key] == found['acdc/fog']['student'][key]
    is_ignored = cv2.imread(str(next(Path('data/acdc/gt/fog').rglob('*.png'))), -1) == 255
    assert sum(fog['reliability']['student']['pixels']) == (~is_ignored).sum()

    with open('all.csv') as file:
        lines = list(csv.DictReader(file))
    of = {(line['set'], line['network']): line for line in lines}
    assert len(of) == len(lines) == 2 * (3 + 2)
    assert of['acdc/fog', 'teacher']['mIoU'] == f'{mious["teacher"][1]:.2f}'
    assert of['bdd100k', 'student']['scale'] == 'native' and of['bdd100k', 'student']['git']
    assert of['bdd100k', 'student']['checkpoint'].endswith('latest.pth')
    pictures = {path.name for path in files_below('drawn')}
    assert pictures == {
        f'{name}_{network}.png' for name in ('bdd100k', 'acdc.fog', 'acdc.night')
        for network in ('student', 'teacher')
    }  # fmt: skip


def test_a_row_is_what_a_test_of_that_set_alone_finds(run):
    found, _ = run('--on', 'bdd100k', 'acdc/fog', '--test-scale', '96x48', '--weights', 'teacher')
    assert set(found['bdd100k']) == {'teacher'}
    file = CHECKOUT / 'configs/_base_/datasets/eval_bdd100k.py'
    options = ['--weights', 'teacher', '--cfg-options', 'data.test.pipeline.1.img_scale=96,48']
    alone, printed = run('--data', file, *options)
    np.testing.assert_equal(found['bdd100k']['teacher'], alone)
    assert 'per class results' in printed
    assert 'iteration 4, scale 96x48, labels several sizes, mode whole, git ' in printed
    assert f'ECE: {100 * alone["ECE"]:.2f}' in printed


def test_scales_are_the_sets_and_transforms_the_runs(run, shared_run):
    checkpoint = str(shared_run.folder / shared_run.checkpoint)
    options = ['--cfg-options', 'data.test.acdc.pipeline.1.flip=True']
    args = test.parse_args([checkpoint, '--on', 'bdd100k', 'acdc/night', *options])
    cfg, sets = chosen_sets(args)
    augmentations = [entry.config.pipeline[1] for entry in sets]
    assert [a.img_scale for a in augmentations] == [(1280, 720), (1920, 1080)]
    assert [a.flip for a in augmentations] == [False, True]
    assert all(a.transforms == cfg.data.test.pipeline[1].transforms for a in augmentations)
    assert cfg.data.test.pipeline[1].img_scale == (256, 128)


def test_options_of_a_group(run):
    options = ['--cfg-options', 'data.test.acdc.pipeline.1.img_scale=64,32']
    found, printed = run('--on', 'acdc/fog', 'acdc/night', *options)
    assert [rows_of(printed)[name][1] for name in found] == ['64x32'] * 2


def test_options_of_a_group_of_the_configs_own_sets(shared_run, monkeypatch, tmp_path):
    monkeypatch.chdir(shared_run.folder)
    config = load_config(shared_run.config)._cfg_dict.to_dict()
    own = config['data']['test']
    config['data']['test'] = {'a/one': own, 'a/two': own, 'b': own}
    path = tmp_path / 'named.json'
    path.write_text(json.dumps(config))
    options = ['--cfg-options', 'data.test.a.img_dir=elsewhere']
    args = test.parse_args([str(path), shared_run.checkpoint, *options])
    _, sets = chosen_sets(args)
    assert [entry.config['img_dir'] for entry in sets] == ['elsewhere'] * 2 + [own['img_dir']]


def test_labels_that_are_missing_make_a_set_broken(run, capsys):
    write_acdc('rain', 5, with_label=False)
    Path(HOME[1], 'b.png').unlink()
    with pytest.raises(SystemExit, match='not tested, as said above: acdc/rain, bdd100k'):
        run('--on', 'acdc/fog', 'acdc/rain', 'bdd100k', 'wilddash2', '--test-scale', 'native')
    printed = capsys.readouterr().out
    assert 'acdc/rain is broken: data/acdc/gt/rain/val is missing (ann_dir of ACDC' in printed
    assert 'bdd100k is broken: ' in printed and '1 of 2 images have no label: b.png' in printed
    rows = rows_of(printed)
    assert rows['acdc/rain'][3:] == rows['bdd100k'][3:] == ['broken'] * 2
    assert float(rows['acdc/fog'][3]) > 0 and 'mean of all' not in printed


def test_labels_of_another_table_make_a_set_broken(run, capsys):
    cv2.imwrite(f'{HOME[1]}/a.png', np.full((64, 128), 33, np.uint8))
    with pytest.raises(SystemExit, match='not tested, as said above: bdd100k'):
        run('--on', 'bdd100k', 'acdc/fog', '--test-scale', 'native')
    printed = capsys.readouterr().out
    assert 'hold ids that are neither 0..18 nor 255: a.png (33). Get them again' in printed
    assert float(rows_of(printed)['acdc/fog'][3]) > 0


def test_a_file_that_breaks_later(run, capsys, monkeypatch):
    """As of an image that the check did not decode."""
    monkeypatch.setattr(test, 'problem_of', lambda *_, **__: None)
    cv2.imwrite(f'{HOME[1]}/b.png', np.full((64, 96), 33, np.uint8))
    with pytest.raises(SystemExit, match='not tested, as said above: bdd100k'):
        run('--on', 'bdd100k', 'acdc/fog', '--test-scale', 'native', '--json', 'all.json')
    printed = capsys.readouterr().out
    assert printed.count('bdd100k is broken: ') == 1 and 'b.png holds ids' in printed
    content = json.loads(Path('all.json').read_text())
    assert list(content['sets']) == ['acdc/fog'] and list(content['broken']) == ['bdd100k']


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--on', 'wilddash2', 'mapillary'], 'none of the data sets is there: data/wilddash2/ is'),
        (['--on', 'acdc/dusk'], '--on acdc/dusk: there is no such data set. Known: acdc, bdd100k,'),
        (['--on', 'kitti'], 'acdc/fog, acdc/night, acdc/rain, acdc/snow.'),
        (['--on', 'bdd100k', '--cfg-options', 'data.test.bdd100k.type=ADE20KDataset'],
         'bdd100k (ADE20KDataset) lacks classes that the network predicts, e.g. traffic sign: '),
        (['--on', 'bdd100k', '--cfg-options', 'data.test.data_root=x'],
         'data.test.data_root: of several data sets an option has to name one, e.g. data.test.bdd'),
        (['--on', 'bdd100k', '--cfg-options', 'data.test.bdd100k.pipeline.9.type=x'],
         '--cfg-options for a data set of data.test, pipeline.9.type'),
        (['--on', 'bdd100k', '--test-scale', 'full'], '--test-scale full: choose native, half'),
    ],
)  # fmt: skip
def test_mistakes_are_named_before_anything_is_predicted(run, arguments, says):
    with refused(says):
        run(*arguments)


@pytest.mark.parametrize('options', [['--format-only'], ['--format', 'bravo']])
def test_metrics_are_not_asked_of_files_for_servers(run, capsys, options):
    with pytest.raises(SystemExit) as exit_info:
        run(*options, '--csv', 'x.csv')
    assert exit_info.value.code == 2 and '--csv, --json' in capsys.readouterr().err


def test_images_for_bravo(run, shared_run):
    """Labels and probabilities, of the network by hand."""
    found, printed = run(
        '--on', 'acdc/fog', 'acdc/night', '--test-scale', 'native', '--format', 'bravo',
        '--eval-options', 'imgfile_prefix=sent', '--show-dir', 'shown',
    )  # fmt: skip
    assert found is None and 'Predictions are in sent/acdc.fog' in printed
    stem = 'sent/acdc.fog/fog/val/GOPR1/GOPR1_frame_000001_rgb_anon'
    assert len(files_below('sent')) == 4 and len(files_below('shown')) == 2
    label, confidence = (np.asarray(Image.open(f'{stem}_{kind}.png')) for kind in ('pred', 'conf'))
    assert (label.dtype, confidence.dtype) == (np.uint8, np.uint16)

    from mmseg.datasets.dataloader import collate
    from mmseg.datasets.file_errors import build_files
    from mmseg.engine.evaluation import predict
    from mmseg.engine.trained import load_trained

    segmentor = load_trained(None, str(shared_run.folder / shared_run.checkpoint), 'cpu')
    config = dict(segmentor.cfg.data.test, type='ACDCDataset', data_root='data/acdc', classes=None)
    config |= dict(img_dir='rgb_anon/val', ann_dir='gt/val', conditions='fog')
    config['pipeline'][1].img_scale = (128, 64)
    dataset = build_files(config, dict(test_mode=True))
    ((_, expected, _),) = predict(segmentor, dataset, torch.device('cpu'))
    np.testing.assert_array_equal(label, expected)
    inputs = collate([dataset[0]])
    with torch.no_grad():
        softmax = segmentor.inference(inputs['img'][0], inputs['img_metas'][0], rescale=True)
    exact = 65535 * softmax.amax(1)[0].double().numpy()
    assert np.abs(confidence - exact).max() < 0.51


def test_mapillarys_table_is_in_the_row(run):
    write_pair('data/mapillary/validation/images/x.jpg', None)
    Path('data/mapillary/validation/labels').mkdir()
    ids = Image.fromarray(np.arange(64 * 128, dtype=np.uint8).reshape(64, 128) % 66)
    ids.putpalette(bytes(range(256)) * 3)
    ids.save('data/mapillary/validation/labels/x.png')
    options = ['--weights', 'student', '--test-scale', 'native', '--json', 'all.json']
    table = ['--cfg-options', 'data.test.mapillary.label_table=rein']
    _, printed = run('--on', 'mapillary', 'bdd100k', *options, *table)
    assert 'mapillary (rein)' in rows_of(printed)
    content = json.loads(Path('all.json').read_text())
    assert content['sets']['mapillary']['label_table'] == 'rein'


def test_another_revision_without_git(run, monkeypatch):
    monkeypatch.setenv('PATH', os.devnull)
    _, printed = run('--on', 'acdc/fog', '--test-scale', 'native', '--weights', 'student')
    assert printed.rstrip().endswith('mode whole, git unknown')
