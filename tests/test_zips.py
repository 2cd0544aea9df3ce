"""Data sets in the zips that their sites deliver, read as if they were unpacked."""

import json
import multiprocessing
import os
import re
import shutil
import struct
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.preparation.json2labelImg import createLabelImage
from PIL import Image

from daformer_runs import same_run
from mmseg.datasets import archives
from mmseg.datasets.dataloader import RunBatches, build_loader
from mmseg.datasets.file_errors import build_files
from mmseg.datasets.rare_class_sampling import ClassIndex
from mmseg.datasets.resized_images import keep_resized
from mmseg.datasets.target_sets import choose_labelled
from mmseg.datasets.uda_dataset import UDADataset
from mmseg.engine.checks.data import DatasetUse, check_dataset
from mmseg.utils.files import visible_files
from mmseg.utils.user_error import UserError
from tests.own_domains import config_of, own_domains
from tests.test_command_line import run_test
from tests.test_mistakes import refused
from tests.test_more_data_sets import LAYOUTS, LOAD, acdc, ids_of, make_set, write  # noqa: F401
from tests.test_own_data import IDS, NAMES, train_own
from tests.tiny_runs import (
    FEATURE_DISTANCE,
    SMALL_UDA,
    UDA_CONFIG,
    TrainedRun,
    files_below,
    noted_steps,
    records_in,
    run_experiment,
)
from tools import check_dataset as check_tool
from tools.convert_datasets import class_index, custom, gta, synthia

RCS = dict(min_pixels=0, class_temp=0.5, min_crop_ratio=0.5)


def zip_up(path, root, files=None, below='', method=zipfile.ZIP_STORED):
    """Move files below a folder (all of them) into a zip, there below ``below``; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = files_below(root) if files is None else files
    with zipfile.ZipFile(path, 'w', method) as archive:
        for file in files:
            archive.write(file, Path(below, file.relative_to(root)))
            file.unlink()
    return path


def samples(config):
    """What there is of a data set: names, images, labels, ground truth of an evaluation."""
    dataset = build_files(config)
    return [
        (
            info['filename'],
            sample['img'],
            sample['gt_semantic_seg'],
            dataset.get_gt_seg_map_by_idx(number),
        )
        for number, (info, sample) in enumerate(zip(dataset.img_infos, dataset, strict=True))
    ]


def assert_equal(one, other):
    assert len(one) == len(other) > 0
    for (name, *arrays), (other_name, *others) in zip(one, other, strict=True):
        assert name == other_name
        for array, expected in zip(arrays, others, strict=True):
            np.testing.assert_array_equal(array, expected)


def check(config, full=True, **options):
    return check_dataset(DatasetUse('data.train', config, True, 19, **options), full)


def problem_of(config, **options):
    (problem,) = check(config, **options).problems
    assert '\n' not in problem
    return problem


@pytest.mark.parametrize('method', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize('name', LAYOUTS)
def test_a_zip_is_read_as_its_folder(tmp_path, name, method):
    config = make_set(tmp_path / 'set', name)
    expected = samples(config)
    write(tmp_path / 'set/__MACOSX' / config['img_dir'] / '._x.png', ids_of(2))
    write(tmp_path / 'set' / config['img_dir'] / '._x.png', ids_of(2))
    files = files_below(tmp_path / 'set')
    if name == 'wilddash2':  # whose lists are not in its zip
        files.remove(tmp_path / 'set/val.txt')
    zip_up(tmp_path / 'set.zip', tmp_path / 'set', files, method=method)
    zipped = dict(config, data_root=str(tmp_path / 'set.zip'))
    assert_equal(samples(zipped), expected)
    report = check(zipped)
    assert report.problems == [] and report.num_images == 1


def test_files_are_listed_as_those_of_a_folder(tmp_path):
    names = ['b/2.png', 'b/1.png', 'a.png', 'b.png', '.a/1.png', 'b/._1.png', 'c/.x/1.png', 'c/d/e']
    for name in names:
        path = tmp_path / 'set' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    expected = {below: visible_files(tmp_path / 'set' / below) for below in ('', 'b', 'c', '.a')}
    assert expected[''] == ['a.png', 'b.png', 'b/1.png', 'b/2.png', 'c/d/e']
    zip_up(tmp_path / 'set.zip', tmp_path / 'set')
    for below, files in expected.items():
        assert archives.visible_files(f'{tmp_path}/set.zip/{below}') == files


def test_folders_alone_lead_through_a_zip(tmp_path):
    config = make_set(tmp_path / 'set', 'bdd100k')
    expected = samples(config)
    zip_up(tmp_path / 'set/all.zip', tmp_path / 'set', below='bdd100k')
    below = {key: f'all.zip/bdd100k/{config[key]}' for key in ('img_dir', 'ann_dir')}
    assert_equal(samples({**config, **below}), expected)
    assert check({**config, **below}).problems == []


def test_acdc_in_two_zips(acdc, tmp_path):  # noqa: F811
    expected, of_night = samples(acdc), samples(dict(acdc, conditions='night'))
    for folder in ('rgb_anon', 'gt'):
        files = files_below(tmp_path / folder)
        zip_up(tmp_path / f'{folder}_trainvaltest.zip', tmp_path, files)
    shutil.rmtree(tmp_path / 'rgb_anon')
    zipped = dict(acdc, data_root=f'{tmp_path}/*.zip')
    assert_equal(samples(zipped), expected)
    assert_equal(samples(dict(zipped, conditions='night')), of_night)
    assert check(zipped).problems == []


def copy_scenes(street_scenes, root):
    """Copy StreetScenes' source and target, with label ids as Cityscapes has them as well."""
    for folder in ('gta', 'cityscapes'):
        shutil.copytree(street_scenes / folder, root / folder)
    for polygons in (root / 'cityscapes/gtFine').rglob('*_polygons.json'):
        annotation = Annotation()
        annotation.fromJsonFile(str(polygons))
        label = polygons.with_name(polygons.name.replace('_polygons.json', '_labelIds.png'))
        createLabelImage(annotation, 'ids').save(label)


@pytest.fixture
def raw_sets(tmp_path, street_scenes):
    """GTA, Synthia and Cityscapes as they are delivered and converted, in folders.

    Returns:
        dict: name → config, and the class index of the source.
    """
    copy_scenes(street_scenes, tmp_path)
    for number in range(3):
        image = np.full((23, 46, 3), 9 * number, np.uint8)
        write(tmp_path / f'synthia/RGB/000000{number}.png', image)
        label = np.zeros((23, 46, 3), np.uint16)
        label[..., 2] = np.arange(23)[:, None]
        label[..., 1] = 1000 + number
        (tmp_path / 'synthia/GT/LABELS').mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / f'synthia/GT/LABELS/000000{number}.png'), label)
    synthia.main([str(tmp_path / 'synthia'), '--nproc', '1'])
    folders = {
        'GTADataset': ('gta', 'images', 'labels'),
        'SynthiaDataset': ('synthia', 'RGB', 'GT/LABELS'),
        'CityscapesDataset': ('cityscapes', 'leftImg8bit/train', 'gtFine/train'),
    }
    return {
        kind: dict(
            type=kind, data_root=str(tmp_path / root), img_dir=images, ann_dir=labels, pipeline=LOAD
        )
        for kind, (root, images, labels) in folders.items()
    }


def index_of(config):
    dataset = build_files(config)
    names = [info['ann']['seg_map'] for info in dataset.img_infos]
    root = archives.unpacked(config['data_root'])
    index = ClassIndex(root, names, dataset.ann_dir, 0.001, dataset.label_map)
    return index.min_pixels, index.pixels, {c: list(v) for c, v in index.images.items()}


def zip_raw_sets(root):
    """Put the sets into zips as they are delivered, without train ids and class index."""
    for path in files_below(root):
        if re.search('TrainIds|sample', path.name):
            path.unlink()
    for folder in ('images', 'labels'):  # of GTA there are ten zips of each
        files = files_below(root / 'gta' / folder)
        zip_up(root / f'gta/01_{folder}.zip', root / 'gta', files[::2])
        zip_up(root / f'gta/02_{folder}.zip', root / 'gta', files[1::2])
    if (root / 'synthia').exists():
        zip_up(root / 'synthia.zip', root / 'synthia', below='RAND_CITYSCAPES')
    for folder in ('leftImg8bit', 'gtFine'):
        (root / 'cityscapes/license.txt').write_text(f'of {folder}')
        files = [*files_below(root / 'cityscapes' / folder), root / 'cityscapes/license.txt']
        zip_up(root / f'cityscapes/{folder}_trainvaltest.zip', root / 'cityscapes', files)


ZIPPED_ROOTS = {
    'GTADataset': 'gta/*.zip',
    'SynthiaDataset': 'synthia.zip/RAND_CITYSCAPES',
    'CityscapesDataset': 'cityscapes/*_trainvaltest.zip',
}


def test_sets_with_raw_labels_are_read_as_converted_ones(raw_sets, tmp_path, capsys):
    expected = {kind: samples(config) for kind, config in raw_sets.items()}
    indices = {kind: index_of(config) for kind, config in raw_sets.items()}
    zip_raw_sets(tmp_path)
    for kind, config in raw_sets.items():
        zipped = dict(config, data_root=f'{tmp_path}/{ZIPPED_ROOTS[kind]}')
        assert_equal(samples(zipped), expected[kind])
        chosen = samples(dict(zipped, classes=['car', 'road']))
        assert {id_ for sample in chosen for id_ in np.unique(sample[2])} <= {0, 1, 255}

        file = tmp_path / 'config.json'
        model = dict(type='EncoderDecoder', decode_head=dict(num_classes=19))
        train = dict(type='UDADataset', source=zipped, target=zipped)
        file.write_text(json.dumps(dict(model=model, data=dict(train=train))))
        command = f'python tools/convert_datasets/class_index.py {file}'
        says = problem_of(zipped, rare_class_sampling=RCS, config_file=str(file))
        assert says.endswith(f'Make the class index with: {command}')
        class_index.main([*command.split()[2:], '--nproc', '1'])
        index = Path(archives.unpacked(zipped['data_root']), 'sample_class_stats.json')
        assert f'{index.parent}: class index of' in capsys.readouterr().out
        entry = json.loads(index.read_text())[0]['file']
        assert entry.startswith(f'{config["ann_dir"]}/')  # as of a folder
        assert index_of(zipped) == indices[kind]
        assert check(zipped, rare_class_sampling=RCS).problems == []


def uda_of(source, target):
    transforms = [
        dict(type='Resize', img_scale=(64, 32)),
        dict(type='RandomCrop', crop_size=(32, 32), cat_max_ratio=0.75),
        dict(type='RandomFlip', prob=0.5),
        dict(type='DefaultFormatBundle'),
        dict(type='Collect', keys=['img', 'gt_semantic_seg']),
    ]
    configs = [dict(config, pipeline=[*LOAD, *transforms]) for config in (source, target)]
    return UDADataset(*configs, rare_class_sampling=RCS)


def test_training_samples_from_data_workers(raw_sets, tmp_path):
    source, target = raw_sets['GTADataset'], raw_sets['CityscapesDataset']
    dataset = uda_of(source, target)
    expected = [dataset[number] for number in range(6)]
    index = {path: path.read_text() for path in (tmp_path / 'gta').glob('sample*')}
    zip_raw_sets(tmp_path)
    for path, content in index.items():  # the names of raw labels lack an ending
        path.write_text(content.replace('_labelTrainIds', ''))
    source, target = (
        dict(config, data_root=f'{tmp_path}/{ZIPPED_ROOTS[config["type"]]}')
        for config in (source, target)
    )
    loader = build_loader(uda_of(source, target), RunBatches(0, 3, 2), 2, torch.device('cpu'))
    for number, batch in enumerate(loader):
        for key in ('img', 'gt_semantic_seg', 'target_img'):
            of_folders = torch.stack([s[key].data for s in expected[2 * number : 2 * number + 2]])
            assert torch.equal(batch[key], of_folders)
    for part in ('01', '02'):
        edit(tmp_path / f'gta/{part}_images.zip', b'IDAT', b'IDAX')
    loader = build_loader(uda_of(source, target), RunBatches(0, 3, 2), 2, torch.device('cpu'))
    with pytest.raises(UserError, match=r'gta/\*\.zip/images/.* damaged in .*/0._images\.zip'):
        list(loader)


def test_train_ids_in_a_zip_are_taken(raw_sets, tmp_path):
    config = raw_sets['GTADataset']
    expected = samples(config)
    for path in (tmp_path / 'gta/labels').iterdir():
        if 'TrainIds' not in path.name:
            path.unlink()
    zip_up(tmp_path / 'gta.zip', tmp_path / 'gta')
    zipped = dict(config, data_root=f'{tmp_path}/gta.zip')
    assert_equal(samples(zipped), expected)
    assert check(zipped).problems == []


def test_converted_labels_beside_zips_of_images(raw_sets, tmp_path):
    config = raw_sets['GTADataset']
    expected = samples(config)
    zip_up(tmp_path / 'gta/images.zip', tmp_path / 'gta', files_below(tmp_path / 'gta/images'))
    zipped = dict(config, img_dir='images.zip/images')
    assert_equal(samples(zipped), expected)
    assert check(zipped, rare_class_sampling=RCS).problems == []
    (tmp_path / 'gta/labels/00001_labelTrainIds.png').unlink()
    problem = problem_of(zipped)
    assert f'Make train ids with: python tools/convert_datasets/gta.py {tmp_path}/gta' in problem
    gta.main([f'{tmp_path}/gta', '--nproc', '1'])
    assert_equal(samples(zipped), expected)


@pytest.mark.parametrize('pixels', [ids_of(20), ids_of(20).astype(np.uint16)])
def test_synthia_labels_of_another_kind_are_refused(raw_sets, tmp_path, pixels):
    label = tmp_path / 'synthia/GT/LABELS/0000001.png'
    for path in label.parent.glob('*TrainIds.png'):
        path.unlink()
    cv2.imwrite(str(label), pixels)
    zip_up(tmp_path / 'synthia.zip', tmp_path / 'synthia')
    config = dict(raw_sets['SynthiaDataset'], data_root=f'{tmp_path}/synthia.zip')
    assert 'it is no PNG of 16 bits and several channels' in problem_of(config)
    with pytest.raises(UserError, match=r'LABELS/0000001\.png cannot be read.*it is no PNG of 16'):
        build_files(config)[1]


@pytest.fixture
def zipped(tmp_path):
    """A set of five images in ``set.zip``, its config, and the images' bytes."""
    for number in range(5):
        pixels = np.full((8, 16, 3), 40 * number, np.uint8)
        write(tmp_path / f'set/images/{number}.png', pixels)
        write(tmp_path / f'set/labels/{number}.png', np.full((8, 16), number, np.uint8))
    zip_up(tmp_path / 'set.zip', tmp_path / 'set')
    return dict(
        type='BDD100KDataset', data_root=f'{tmp_path}/set.zip', img_dir='images', ann_dir='labels',
        img_suffix='.png', pipeline=LOAD,
    )  # fmt: skip


def edit(path, old, new, count=-1):
    content = Path(path).read_bytes()
    assert old in content
    Path(path).write_bytes(content.replace(old, new, count))


def damage_entry(path):
    with zipfile.ZipFile(path) as archive:
        content = archive.read('images/2.png')
    edit(path, content, content[:-20] + b'x' * 20)


def set_in_headers(path, place, value):
    """Write a field that all entries have: 2 bytes, in local headers and the directory."""
    content = bytearray(path.read_bytes())
    for signature, shift in ((b'PK\x03\x04', 0), (b'PK\x01\x02', 2)):
        for found in re.finditer(signature, bytes(content)):
            struct.pack_into('<H', content, found.start() + place + shift, value)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ('breaks', 'says'),
    [
        (os.remove, 'set.zip is missing (img_dir of BDD100KDataset). Put or link'),
        (lambda path: os.truncate(path, 1000), 'set.zip is damaged or no zip ('),
        (lambda path: path.write_bytes(b'<html>'), 'set.zip is damaged or no zip ('),
        (lambda path: set_in_headers(path, 6, 1), 'set.zip is encrypted: unpack it'),
        (lambda path: set_in_headers(path, 8, 9), 'by a method (number 9) that is not read: unpac'),
    ],
)
def test_a_zip_that_cannot_be_used(zipped, tmp_path, breaks, says):
    assert check(zipped).problems == []
    breaks(tmp_path / 'set.zip')
    assert says in problem_of(zipped)


@pytest.mark.parametrize('nproc', [1, 2])
def test_a_damaged_entry(zipped, tmp_path, nproc):
    damage_entry(tmp_path / 'set.zip')
    use = DatasetUse('data.train', zipped, True, 19)
    (problem,) = check_dataset(use, True, nproc).problems
    assert f'1 of 5 images read cannot be decoded: 2.png (damaged in {tmp_path}/set.zip' in problem
    dataset = build_files(zipped)
    assert dataset[1]['img'].max() == 40
    with pytest.raises(
        UserError, match=r'images/2\.png cannot be read: damaged in .*set\.zip \(Bad'
    ):
        dataset[2]


def test_a_folder_that_a_zip_lacks(zipped, tmp_path):
    missing = 'set.zip/image is missing (img_dir of BDD100KDataset; '
    says = problem_of(dict(zipped, img_dir='image'))
    assert missing in says and f'{tmp_path}/set.zip has images, labels). Put' in says
    root = dict(zipped, data_root=f'{zipped["data_root"]}/bdd')
    assert f'set.zip/bdd is missing (img_dir of BDD100KDataset; {tmp_path}' in problem_of(root)
    says = problem_of(dict(zipped, data_root=f'{tmp_path}/x_*.zip'))
    assert f'{tmp_path}/x_*.zip is missing (img_dir of BDD100KDataset). Put' in says
    missing = 'set/val.txt is missing (split)'
    assert missing in problem_of(dict(zipped, split='val.txt'))
    with pytest.raises(
        UserError, match=r'set\.zip/image is missing; .*set\.zip has images, labels'
    ):
        build_files(dict(zipped, img_dir='image'))


def test_an_image_that_a_zip_lacks(zipped, tmp_path):
    (tmp_path / 'set').mkdir(exist_ok=True)
    (tmp_path / 'set/val.txt').write_text('1\n7\n')
    dataset = build_files(dict(zipped, split='val.txt'))
    assert len(dataset) == 2 and dataset[0]['img'].max() == 40
    with pytest.raises(UserError, match=r'images/7\.png cannot be read: No such file'):
        dataset[1]
    assert '1 of 2 images have no label: 7.png' in check(dict(zipped, split='val.txt')).problems[0]


def test_zips_that_disagree(zipped, tmp_path):
    """The same file in two zips of a pattern is read; different ones are refused, by all."""
    shutil.copy(tmp_path / 'set.zip', tmp_path / 'set_2.zip')
    both = dict(zipped, data_root=f'{tmp_path}/set*.zip')
    assert check(both).problems == [] and len(build_files(both)) == 5
    damage_entry(tmp_path / 'set_2.zip')
    write(tmp_path / 'images/2.png', ids_of(4))
    zip_up(tmp_path / 'set_2.zip', tmp_path, [tmp_path / 'images/2.png'])
    says = f'{tmp_path}/set.zip and {tmp_path}/set_2.zip both hold images/2.png, with different'
    assert says in problem_of(both)
    with pytest.raises(UserError, match=r'both hold images/2\.png'):
        build_files(both)
    assert check(dict(both, data_root=f'{tmp_path}/se[t].zip')).problems == []  # the advice works


def test_zips_are_read_anew_when_they_change(zipped, tmp_path):
    assert len(build_files(zipped)) == 5
    with zipfile.ZipFile(tmp_path / 'set.zip', 'a') as archive:
        archive.writestr('images/9.png', archive.read('images/1.png'))
    assert len(build_files(zipped)) == 6


def test_a_folder_may_be_called_zip(zipped, tmp_path):
    expected = samples(zipped)
    with zipfile.ZipFile(tmp_path / 'set.zip') as archive:
        archive.extractall(tmp_path / 'folder.zip')
    folder = dict(zipped, data_root=f'{tmp_path}/folder.zip')
    assert_equal(samples(folder), expected)
    assert build_files(folder).file_client_args == dict(backend='disk')  # nothing is looked up
    assert archives.unpacked(folder['data_root']) == folder['data_root']
    shutil.move(tmp_path / 'set.zip', tmp_path / 'folder.zip')
    assert_equal(samples(dict(zipped, data_root=f'{tmp_path}/folder.zip/set.zip')), expected)


def _descriptor(path):
    content = archives.read_bytes(path)
    ((archive, _, _),) = [
        (next(iter(zips._times)), *key) for key, zips in archives._of_process.items()
        if key == (os.getpid(), archives.split(path)[0])
    ]  # fmt: skip
    return archive.fp.fileno(), content


def test_forks_open_their_own_zips(zipped):
    path = f'{zipped["data_root"]}/images/3.png'
    own, content = _descriptor(path)
    with multiprocessing.get_context('fork').Pool(1) as pool:
        other, same = pool.apply(_descriptor, (path,))
    assert same == content and other != own


def test_zips_are_opened_once(zipped, monkeypatch):
    opened, looked = [], []
    original, look_for = archives._opened, archives._look_for
    monkeypatch.setattr(archives, '_opened', lambda path: opened.append(path) or original(path))
    monkeypatch.setattr(archives, '_look_for', lambda path: looked.append(path) or look_for(path))
    dataset = build_files(zipped)
    batches = [[i] for i in range(len(dataset))]
    looked.clear()
    assert len(list(build_loader(dataset, batches, 0, torch.device('cpu'), list))) == 5
    assert opened == [zipped['data_root']] and looked == []


def test_a_list_of_labelled_images(zipped, tmp_path):
    names = [f'{i}.png' for i in range(5)]
    with zipfile.ZipFile(tmp_path / 'set.zip', 'a') as archive:
        archive.writestr('labelled.txt', '3\n\n1\n')
    root = zipped['data_root']
    assert choose_labelled('labelled.txt', names, 0, root) == [1, 3]
    (tmp_path / 'set/few.txt').parent.mkdir(exist_ok=True)
    (tmp_path / 'set/few.txt').write_text('4\n')
    assert choose_labelled('few.txt', names, 0, root) == [4]
    with pytest.raises(UserError, match=r"labelled='none\.txt' of a target is no file"):
        choose_labelled('none.txt', names, 0, root)


def test_kept_resized_images_of_a_zip(zipped, tmp_path):
    pipeline = [*LOAD, dict(type='Resize', img_scale=(8, 4))]
    expected = samples(dict(zipped, pipeline=pipeline))
    dataset = build_files(dict(zipped, pipeline=pipeline))
    keep_resized(dataset, str(tmp_path / 'kept'))
    for _ in range(2):
        for sample, (_, image, _, _) in zip(dataset, expected, strict=True):
            np.testing.assert_array_equal(sample['img'], image)
    assert len(files_below(tmp_path / 'kept')) == 5
    time = os.stat(tmp_path / 'set.zip').st_mtime_ns
    write(tmp_path / 'images/2.png', np.full((8, 16, 3), 7, np.uint8))
    with zipfile.ZipFile(tmp_path / 'set.zip') as archive:
        archive.extractall(tmp_path / 'set')
    shutil.move(tmp_path / 'images/2.png', tmp_path / 'set/images/2.png')
    zip_up(tmp_path / 'set.zip', tmp_path / 'set')
    os.utime(tmp_path / 'set.zip', ns=(time, time))
    archives._of_process.clear()  # as in another process
    dataset = build_files(dict(zipped, pipeline=pipeline))
    keep_resized(dataset, str(tmp_path / 'kept'))
    assert [sample['img'].max() for sample in dataset] == [0, 40, 7, 120, 160]
    assert len(files_below(tmp_path / 'kept')) == 6  # one more


def test_images_of_12_bits_in_a_zip(zipped, tmp_path):
    for number in range(5):
        path = tmp_path / f'set/images/{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((8, 16, 3), 819 * number, np.uint16))
        write(tmp_path / f'set/labels/{number}.png', np.full((8, 16), number, np.uint8))
    zip_up(tmp_path / 'set.zip', tmp_path / 'set')
    assert '5 of 5 images read hold 16 bits per channel, but no value above 4095' in problem_of(
        zipped
    )
    load = dict(type='LoadImageInRange', value_range=(0, 4095))
    in_range = dict(zipped, pipeline=[load, LOAD[1]])
    assert [sample[1].max() for sample in samples(in_range)] == [0, 51, 102, 153, 204]
    assert check(in_range).problems == []


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Own domains in the current folder, whose labels are converted; their config's entries."""
    monkeypatch.chdir(tmp_path)
    stated = own_domains(NAMES, IDS)
    custom.main([config_of(**stated), '--nproc', '1'])
    return stated


def own_zipped(stated):
    """Zip the domains with train ids as labels, and let the config say so."""
    for path in [*files_below('mine/masks'), *files_below('theirs/val_masks')]:
        if 'TrainIds' not in path.name:
            path.unlink()
    zip_up(Path('mine.zip'), Path('mine'), files_below('mine/photos') + files_below('mine/masks'))
    zip_up(Path('theirs.zip'), Path('theirs'))
    stated = {key: dict(v) if isinstance(v, dict) else v for key, v in stated.items()}
    stated['source'].update(data_root='mine.zip', seg_map_suffix='_labelTrainIds.png')
    stated['target'].update(data_root='theirs.zip')
    stated['val'].update(data_root='theirs.zip', seg_map_suffix='_labelTrainIds.png')
    for name in ('source', 'val'):
        del stated[name]['id_map']
    return stated


def test_own_domains_in_zips(own, capsys):
    expected = json.loads(Path('mine/sample_class_stats.json').read_text())
    stated = own_zipped(own)
    for path in Path('mine').glob('sample*'):
        path.unlink()
    file = config_of(**stated)
    command = f'python tools/convert_datasets/class_index.py {file}'
    with pytest.raises(SystemExit):
        check_tool.main([file])
    assert f'Make the class index with: {command}' in capsys.readouterr().out
    custom.main([file, '--nproc', '1'])
    assert f'mine.zip/masks needs no conversion. Where it is a source, run: {command}' in (
        capsys.readouterr().out
    )
    class_index.main([*command.split()[2:], '--nproc', '1'])
    assert json.loads(Path('mine/sample_class_stats.json').read_text()) == expected
    check_tool.main([file, '--full', '--nproc', '1'])
    assert 'no problems found' in capsys.readouterr().out


@pytest.mark.long
def test_own_domains_in_zips_are_trained_on(own):
    before = train_own(config_of(**own)).log('val')
    index = Path('mine/sample_class_stats.json').read_text()
    stated = own_zipped(own)
    Path('mine/sample_class_stats.json').write_text(index)
    shutil.rmtree('work_dirs')
    assert train_own(config_of(**stated)).log('val')[0]['mIoU'] == before[0]['mIoU']


def test_an_id_map_is_for_unpacked_labels(own):
    zip_up(Path('photos.zip'), Path('mine/photos'))
    own['source'].update(img_dir=os.path.abspath('photos.zip'))
    file = config_of(**own)
    custom.main([file, '--nproc', '1'])  # images may be in a zip
    check_tool.main([file])
    files = files_below('mine/masks')
    zip_up(Path('masks.zip'), Path('mine'), files)
    own['source'].update(ann_dir=os.path.abspath('masks.zip/masks'))
    file = config_of(**own)
    with refused('id_map is for labels that are unpacked, not for', 'masks.zip/masks: unpack them'):
        custom.main([file, '--nproc', '1'])


@pytest.fixture
def zipped_scenes(workplace, street_scenes):
    """StreetScenes in zips as the real sets are delivered; the options that name them."""
    root = workplace / 'data/zips'
    copy_scenes(street_scenes, root)
    zip_raw_sets(root)
    places = ('train.source', 'train.target', 'val', 'test')
    options = [f'data.{place}.data_root=data/zips/cityscapes/*.zip' for place in places[1:]]
    return ['data.train.source.data_root=data/zips/gta/*.zip', *options]


@pytest.mark.long
def test_a_run_on_zips_is_that_on_folders(zipped_scenes, shared_run, monkeypatch):
    """With 2 data workers: batches, losses, evaluations and pictures, bit for bit."""
    class_index.main([str(UDA_CONFIG), '--nproc', '2', '--cfg-options', *zipped_scenes])
    check_tool.main([str(UDA_CONFIG), '--cfg-options', *SMALL_UDA, *zipped_scenes])
    steps = noted_steps(monkeypatch)
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE, *zipped_scenes, 'data.workers_per_gpu=2')
    assert list(steps) == list(shared_run.steps)
    for iteration, noted in steps.items():
        for name, value in noted.items():
            expected = shared_run.steps[iteration][name]
            if torch.is_tensor(value):
                assert torch.equal(value, expected), (iteration, name)
            elif name.endswith('metas'):
                assert [Path(p).name for p in value] == [Path(p).name for p in expected]
            else:
                assert value == expected, (iteration, name)
    run = TrainedRun(Path.cwd())
    assert records_in(run.work_dir) == records_in(shared_run.folder / shared_run.work_dir)
    assert any(name.endswith(('.png', '.jpg')) for name in records_in(run.work_dir))


def test_a_run_resumes_on_zips_that_were_moved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ('data/gta/images/1.png', 'data/synthia/images/1.png', 'disk/gta/images/1.png'):
        write(tmp_path / path, ids_of(2))
    for root in ('data/gta', 'data/synthia', 'disk/gta'):
        zip_up(Path(root, '01_images.zip'), Path(root))

    def compare(old, new):
        configs = ({'data': {'train': {'source': source}}} for source in (old, new))
        return list(same_run.compare(*configs)[0])

    one = {'data_root': 'data/gta/*.zip', 'img_dir': 'images'}
    assert compare(one, {'data_root': 'data/gta', 'img_dir': 'images'}) == []
    other = {'data_root': 'data/gta', 'img_dir': '*_images.zip/images'}
    assert compare({'data_root': 'data/gta', 'img_dir': '*.zip/images'}, other) == []
    assert compare(one, {**one, 'data_root': 'data/synthia/*.zip'}) == [
        'data.train.source.data_root'
    ]
    moved = {**one, 'data_root': f'{tmp_path}/disk/gta/*.zip'}
    assert compare(one, moved) == ['data.train.source.data_root']  # both are there
    shutil.rmtree('data/gta')
    assert compare(one, moved) == []


@pytest.mark.long
def test_a_test_of_zips_is_that_of_folders(zipped_scenes, copied_run, workplace, monkeypatch):
    expected = run_test(copied_run, '--show-dir', 'shown', '--opacity', 0.5)
    options = [o for o in zipped_scenes if o.startswith('data.test')]
    shutil.move(workplace / 'data/zips', 'data/zips')
    found = run_test(
        copied_run, '--show-dir', 'from_zips', '--opacity', 0.5, '--cfg-options', *options
    )
    assert found == pytest.approx(expected, nan_ok=True, abs=0)
    assert len(files_below('shown')) == 3
    for path in files_below('shown'):
        other = Path('from_zips', path.relative_to('shown'))
        np.testing.assert_array_equal(np.array(Image.open(path)), np.array(Image.open(other)))
