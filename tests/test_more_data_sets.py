"""Data sets whose labels are read as they are delivered, on files in their real layouts."""

import json
import shutil
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
import torch
from PIL import Image

from mmseg.datasets import label_tables
from mmseg.datasets.file_errors import build_files
from mmseg.datasets.rare_class_sampling import SAMPLES_FILE, STATS_FILE
from mmseg.engine.checks.data import DatasetUse, check_dataset
from mmseg.engine.evaluation import evaluate
from mmseg.utils.user_error import UserError
from tests.test_command_line import run_test
from tests.tiny_runs import CHECKOUT, SMALL_UDA, UDA_CONFIG, read_only, run_experiment
from tools import check_dataset as check_tool
from tools.convert_datasets import class_index

GOLDEN = json.loads((CHECKOUT / 'tests/golden/foundation/label_tables.json').read_text())
VFM_UDA = GOLDEN['mapillary v1.2 -> train id, VFM-UDA']
REIN = GOLDEN['mapillary v1.2 -> train id, Rein/DDB/SoMA']
CITYSCAPES = GOLDEN['cityscapes id -> train id (gta5, synscapes, wilddash2, cityscapes)']
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]


def write(path, pixels, palette=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette([165, 42, 42] * 256)
    image.save(path)


def ids_of(count):
    """A label of all ids below ``count``, a column each, twice as wide as high."""
    return np.arange(count, dtype=np.uint8)[None].repeat(2, 1).repeat(count, 0)


def mapped(table, count):
    return [table.get(str(i), 255) for i in range(count)]


# name → config, files (image, label), the label as delivered, the train ids of its columns
LAYOUTS = {
    'bdd100k': (
        dict(type='BDD100KDataset', img_dir='images/10k/val', ann_dir='labels/sem_seg/masks/val'),
        ('images/10k/val/7d06fefd-f7be05a6.jpg', 'labels/sem_seg/masks/val/7d06fefd-f7be05a6.png'),
        ids_of(19),
        list(range(19)),
    ),
    'mapillary_vfm_uda': (
        dict(
            type='MapillaryDataset', label_table='vfm_uda', img_dir='validation/images',
            ann_dir='validation/labels',
        ),
        ('validation/images/_1Gn_xkw7sa.jpg', 'validation/labels/_1Gn_xkw7sa.png'),
        ids_of(66),
        mapped(VFM_UDA, 66),
    ),
    'mapillary_rein': (
        dict(
            type='MapillaryDataset', label_table='rein', img_dir='validation/images',
            ann_dir='validation/labels',
        ),
        ('validation/images/_1Gn_xkw7sa.jpg', 'validation/labels/_1Gn_xkw7sa.png'),
        ids_of(66),
        mapped(REIN, 66),
    ),
    'wilddash2': (
        dict(type='WildDash2Dataset', img_dir='images', ann_dir='labels', split='val.txt'),
        ('images/ar0000_100000.jpg', 'labels/ar0000_100000.png'),
        ids_of(40),
        mapped(CITYSCAPES, 40),
    ),
    'urbansyn': (
        dict(type='UrbanSynDataset', img_dir='rgb', ann_dir='ss'),
        ('rgb/rgb_0001.png', 'ss/ss_0001.png'),
        np.dstack([ids_of(20), ids_of(20) * 3, ids_of(20) * 5, ids_of(20) * 0 + 255]),
        [*range(19), 255],
    ),
    'synscapes': (
        dict(type='SynscapesDataset', img_dir='img/rgb-2k', ann_dir='img/class'),
        ('img/rgb-2k/1.png', 'img/class/1.png'),
        ids_of(34),
        mapped(CITYSCAPES, 34),
    ),
    'night_driving': (
        dict(
            type='NightDrivingDataset', img_dir='leftImg8bit/test/night',
            ann_dir='gtCoarse_daytime_trainvaltest/test/night',
        ),
        (
            'leftImg8bit/test/night/0_frame_0009_leftImg8bit.png',
            'gtCoarse_daytime_trainvaltest/test/night/0_frame_0009_gtCoarse_labelTrainIds.png',
        ),
        ids_of(19),
        list(range(19)),
    ),
    'foggy_zurich': (
        dict(
            type='FoggyZurichDataset', img_dir='RGB', ann_dir='gt_labelTrainIds',
            split='lists_file_names/RGB_testv2_filenames.txt',
        ),
        ('RGB/GP020475/GP020475_frame_1.png', 'gt_labelTrainIds/GP020475/GP020475_frame_1.png'),
        ids_of(19),
        list(range(19)),
    ),
}  # fmt: skip
IS_PALETTE = ('mapillary_vfm_uda', 'mapillary_rein')
EACH = pytest.mark.parametrize('name', LAYOUTS)


def make_set(root, name):
    """Make one of the data sets, with one image; returns its config."""
    config, (image, label), pixels, _ = LAYOUTS[name]
    write(root / label, pixels, palette=name in IS_PALETTE)
    height, width = pixels.shape[:2]
    scale = 2 if name == 'synscapes' else 1
    write(root / image, np.full((scale * height, scale * width, 3), 90, np.uint8))
    if 'split' in config:
        line = image if name == 'foggy_zurich' else Path(image).stem
        (root / config['split']).parent.mkdir(exist_ok=True)
        (root / config['split']).write_text(f'{line}\n')
        write((root / image).with_name('of_train.jpg'), np.zeros((4, 8, 3), np.uint8))
    return dict(config, data_root=str(root), pipeline=LOAD)


@pytest.fixture
def made(tmp_path):
    """Makes one of the data sets and returns its config and its label's path."""

    def make(name):
        return make_set(tmp_path, name), tmp_path / LAYOUTS[name][1][1]

    return make


def check(config, **options):
    return check_dataset(DatasetUse('data.train', config, True, 19, **options), full=True)


@pytest.mark.parametrize(
    ('table', 'golden', 'count'),
    [
        (label_tables.MAPILLARY['vfm_uda'], VFM_UDA, 66),
        (label_tables.MAPILLARY['rein'], REIN, 66),
        (label_tables.CITYSCAPES, CITYSCAPES, 256),
    ],
)
def test_tables_are_the_published_ones(table, golden, count):
    assert table.table[:count].tolist() == mapped(golden, count)


@EACH
def test_labels_are_read_as_they_are_delivered(made, name):
    config, _ = made(name)
    dataset = build_files(config)
    assert len(dataset) == 1
    _, _, pixels, train_ids = LAYOUTS[name]
    expected = np.repeat(train_ids, 2)[None].repeat(len(pixels), 0)
    np.testing.assert_array_equal(dataset[0]['gt_semantic_seg'], expected)
    np.testing.assert_array_equal(dataset.get_gt_seg_map_by_idx(0), expected)
    assert check(config).problems == []


@pytest.mark.parametrize(
    ('file', 'name', 'root'),
    [
        ('bdd100k', 'bdd100k', 'bdd100k'),
        ('mapillary', 'mapillary_vfm_uda', 'mapillary'),
        ('wilddash2', 'wilddash2', 'wilddash2'),
        ('nighttime_driving', 'night_driving', 'NighttimeDrivingTest'),
        ('foggy_zurich', 'foggy_zurich', 'Foggy_Zurich'),
    ],
)
def test_evaluation_configs_are_of_these_layouts(file, name, root):
    test = mmcv.Config.fromfile(f'{CHECKOUT}/configs/_base_/datasets/eval_{file}.py').data.test
    config = {key: value for key, value in test.items() if key not in ('pipeline', 'data_root')}
    assert config == LAYOUTS[name][0] and test.data_root == f'data/{root}/'


@EACH
def test_chosen_classes(made, name):
    config, _ = made(name)
    found = build_files(dict(config, classes=['car', 'road']))[0]['gt_semantic_seg']
    of_all = np.array(LAYOUTS[name][3])
    expected = np.where(of_all == 13, 0, np.where(of_all == 0, 1, 255))
    assert found[0, ::2].tolist() == expected.tolist()


@pytest.mark.parametrize(
    ('name', 'pixels', 'says'),
    [
        ('mapillary_rein', ids_of(124), 'neither 0..18 nor 255'),  # of Vistas v2.0
        ('urbansyn', ids_of(34), 'neither 0..18 nor 255'),  # label ids
        ('synscapes', ids_of(34).astype(np.uint16) + 256, 'neither 0..18 nor 255'),
        ('wilddash2', np.dstack([ids_of(34)] * 3), 'colours or transparency'),
    ],
)
def test_labels_of_another_kind_are_refused(made, name, pixels, says):
    config, label = made(name)
    assert cv2.imwrite(str(label), pixels)
    size = pixels.shape[1::-1]
    image = next((label.parents[1] / Path(config['img_dir']).name).glob('*[0-9a].*'), None)
    cv2.imwrite(str(image), np.zeros((size[1], size[0], 3), np.uint8))
    (problem,) = check(config).problems
    assert says in problem and 'Get them again from the data set' in problem
    with pytest.raises(UserError, match=says):
        build_files(config)[0]


def test_a_mapillary_table_has_to_be_named(made):
    config, _ = made('mapillary_rein')
    with pytest.raises(UserError, match="label_table=None; choose 'vfm_uda' or 'rein'"):
        build_files({key: value for key, value in config.items() if key != 'label_table'})


@pytest.mark.parametrize(('name', 'table'), [('mapillary_rein', 'rein'), ('bdd100k', None)])
def test_an_evaluation_names_the_table(made, capsys, name, table):
    dataset = build_files(made(name)[0])
    evaluate(dataset, torch.eye(20, dtype=torch.int64), None)
    assert ("label_table='rein'" in capsys.readouterr().out) == (table is not None)


@pytest.mark.long
def test_a_checkpoint_is_tested_on_another_data_set(made, trained_run, tmp_path, capsys):
    made('mapillary_vfm_uda')
    base = CHECKOUT / 'configs/_base_/datasets/eval_mapillary.py'
    options = [f'data.test.data_root={tmp_path}', 'data.test.pipeline.1.img_scale=256,128']

    def run(*more):
        found = run_test(trained_run, '--data', base, '--cfg-options', *options, *more)
        return found, capsys.readouterr().out

    of_vfm_uda, shown = run()
    assert "label_table='vfm_uda'" in shown
    of_rein, shown = run('data.test.label_table=rein', '--confusion', tmp_path / 'found.json')
    assert json.loads((tmp_path / 'found.json').read_text())['label_table'] == 'rein'
    assert "label_table='rein'" in shown
    assert of_vfm_uda['aAcc'] != of_rein['aAcc']
    with pytest.raises(SystemExit, match=r'eval_mapillary\.py \(ADE20KDataset\) lacks classes'):
        run('data.test.type=ADE20KDataset')


def test_synscapes_labels_have_the_proportions_of_their_images(made):
    config, label = made('synscapes')
    resized = [*LOAD, dict(type='Resize', img_scale=(102, 51))]
    sample = build_files(dict(config, pipeline=resized))[0]
    assert sample['img'].shape[:2] == sample['gt_semantic_seg'].shape == (51, 102)
    write(label, ids_of(34)[:-4])
    assert 'differ in size' in check(config).problems[0]


def write_config(path, source):
    content = dict(
        model=dict(type='EncoderDecoder', decode_head=dict(num_classes=19)),
        data=dict(train=dict(type='UDADataset', source=source, target=source)),
    )
    path.write_text(json.dumps(content))
    return path


@pytest.mark.long
@pytest.mark.parametrize('nproc', ['1', '2'])
def test_class_index_says_what_prevents_it(made, tmp_path, nproc):
    config, label = made('urbansyn')

    def message():
        file = write_config(tmp_path / 'config.json', config)
        with pytest.raises(SystemExit) as stop:
            class_index.main([str(file), '--nproc', nproc])
        assert '\n' not in stop.value.code and not (tmp_path / STATS_FILE).exists()
        return stop.value.code

    whole = label.read_bytes()
    label.write_bytes(whole[: len(whole) // 2])
    assert f'{label} cannot be read' in message()
    label.unlink()
    assert 'lacks 1 label(s), e.g. ss_0001.png' in message()
    label.write_bytes(whole)
    with read_only(tmp_path / 'ss'):
        config.update(data_root=str(label.parent), img_dir=str(tmp_path / 'rgb'), ann_dir='.')
        assert 'Let data_root name a folder that can be written' in message()


@EACH
def test_class_index_of_a_source(made, tmp_path, capsys, name):
    config, _ = made(name)
    _, (_, label), stored, train_ids = LAYOUTS[name]
    rcs = dict(min_pixels=0, class_temp=0.01, min_crop_ratio=0.5)
    file = write_config(tmp_path / 'config.json', config)
    (problem,) = check(config, rare_class_sampling=rcs, config_file=str(file)).problems
    command = f'python tools/convert_datasets/class_index.py {file}'
    assert problem.endswith(f'Make the class index with: {command}')
    class_index.main([*command.split()[2:], '--nproc', '2' if name == 'urbansyn' else '1'])
    assert 'class index of 1 labels' in capsys.readouterr().out
    pixels = {str(c): 2 * len(stored) * train_ids.count(c) for c in sorted({*train_ids} - {255})}
    assert json.loads((tmp_path / STATS_FILE).read_text()) == [{**pixels, 'file': label}]
    assert set(json.loads((tmp_path / SAMPLES_FILE).read_text())) == set(pixels)
    report = check(config, rare_class_sampling=rcs)
    assert report.problems == [] and {str(c) for c in report.index.pixels} == set(pixels)


def test_urbansyn_is_trained_on_with_rare_class_sampling(workplace, street_scenes):
    """StreetScenes' source in the layout of UrbanSyn: class index, check and training."""
    for path in (street_scenes / 'gta/images').iterdir():
        label = np.array(Image.open(street_scenes / f'gta/labels/{path.stem}_labelTrainIds.png'))
        label[label == 255] = 19
        write(workplace / f'urbansyn/ss/ss_{path.stem}.png', np.dstack([label, label * 0, label]))
        (workplace / 'urbansyn/rgb').mkdir(exist_ok=True)
        shutil.copy(path, workplace / f'urbansyn/rgb/rgb_{path.name}')
    folders = ['data_root=urbansyn', 'img_dir=rgb', 'ann_dir=ss']
    source = [f'data.train.source.{o}' for o in ('type=UrbanSynDataset', *folders)]
    class_index.main([str(UDA_CONFIG), '--nproc', '1', '--cfg-options', *source])
    ours, converted = (
        sorted(
            [n for c, n in sorted(entry.items()) if c != 'file']
            for entry in json.loads((root / STATS_FILE).read_text())
        )
        for root in (workplace / 'urbansyn', street_scenes / 'gta')
    )
    assert ours == converted
    check_tool.main([str(UDA_CONFIG), '--full', '--cfg-options', *SMALL_UDA, *source])
    run_experiment(UDA_CONFIG, *source, 'runner.max_iters=2')
    assert list(workplace.glob('work_dirs/**/iter_2.pth'))


@pytest.fixture
def acdc(tmp_path):
    """ACDC as it is delivered: two images of each condition's splits, and references by day."""
    for number, condition in enumerate(('fog', 'night', 'rain', 'snow')):
        for split in ('train', 'val', 'test'):
            for sequence in (f'GOPR0{number}75', f'GP0{number}0475'):
                below, stem = f'{condition}/{split}/{sequence}', f'{sequence}_frame_000001'
                image = np.full((19, 38, 3), number, np.uint8)
                write(tmp_path / f'rgb_anon/{below}/{stem}_rgb_anon.png', image)
                of_day = f'rgb_anon/{condition}/{split}_ref/{sequence}/{stem}_rgb_ref_anon.png'
                write(tmp_path / of_day, image)
                if split != 'test':
                    for kind in ('labelTrainIds', 'labelIds'):
                        label = ids_of(19) if kind == 'labelTrainIds' else ids_of(19) + 7
                        write(tmp_path / f'gt/{below}/{stem}_gt_{kind}.png', label)
    config = mmcv.Config.fromfile(
        f'{CHECKOUT}/configs/_base_/datasets/uda_cityscapes_to_acdc_512x512.py'
    )
    return dict(config.data.test, data_root=str(tmp_path), pipeline=LOAD)


def test_acdc_is_read_as_it_is_delivered(acdc, capsys):
    dataset = build_files(acdc)
    names = [info['filename'] for info in dataset.img_infos]
    folders = [f'{condition}/val' for condition in ('fog', 'night', 'rain', 'snow')]
    assert [str(Path(name).parents[1]) for name in names] == np.repeat(folders, 2).tolist()
    assert [sample['img'].max() for sample in dataset] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert all((sample['gt_semantic_seg'] == ids_of(19)).all() for sample in dataset)
    report = check(acdc)
    assert report.problems == [] and report.num_images == 8
    assert 'not used' not in capsys.readouterr().err
    # As tools/test.py --test-set and a target have it.
    of_test = build_files(dict(acdc, img_dir='rgb_anon/test', ann_dir=None))
    assert {Path(info['filename']).parts[1] for info in of_test.img_infos} == {'test'}


@pytest.mark.parametrize(('conditions', 'found'), [('night', 'n'), (['rain', 'fog'], 'rf')])
def test_conditions_of_acdc(acdc, conditions, found):
    dataset = build_files(dict(acdc, conditions=conditions))
    names = [info['filename'] for info in dataset.img_infos]
    assert [name[0] for name in names] == sorted(2 * found, key=found.index)


def test_conditions_that_acdc_lacks(acdc, tmp_path):
    (problem,) = check(dict(acdc, conditions=['night', 'dusk'])).problems
    assert "conditions=['night', 'dusk']: ACDC has fog, night, rain, snow." in problem
    shutil.rmtree(tmp_path / 'rgb_anon/rain/val')
    (problem,) = check(acdc).problems
    assert f'{tmp_path}/rgb_anon/rain/val is missing' in problem


def test_acdc_with_all_conditions_in_one_folder(acdc, tmp_path):
    for folder in ('rgb_anon', 'gt'):
        for condition in ('fog', 'night', 'rain', 'snow'):
            for sequence in (tmp_path / folder / condition / 'val').iterdir():
                (tmp_path / folder / 'val').mkdir(exist_ok=True)
                sequence.rename(tmp_path / folder / 'val' / sequence.name)
    assert len(build_files(acdc)) == check(acdc).num_images == 8
    assert check(acdc).problems == []
