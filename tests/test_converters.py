"""The converters: the data sets' real formats in, train ids and class index out."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from cityscapesscripts.helpers.labels import labels as cityscapes_labels
from PIL import Image

from tests.tiny_runs import read_only
from tools.convert_datasets import cityscapes, gta, synthia
from tools.convert_datasets.train_ids import write_atomically

REPOSITORY = Path(__file__).resolve().parents[1]
INDEX = ('sample_class_stats.json', 'sample_class_stats_dict.json', 'samples_with_class.json')


def make_gta(root: Path, count: int = 3) -> Path:
    """Writes labels that have three classes and label ids that are no class."""
    (root / 'labels').mkdir(parents=True)
    for i in range(count):
        ids = np.zeros((4, 6), np.uint8)
        ids[0] = 7  # road
        ids[1, : i + 1] = 26  # car
        ids[2] = 4  # static, ignored
        ids[3, 0] = 33  # bicycle
        label = Image.fromarray(ids)
        label.putpalette([128, 64, 128] * 256)
        label.save(root / 'labels' / f'{i + 1:05d}.png')
    return root


def make_synthia(root: Path) -> Path:
    folder = root / 'GT' / 'LABELS'
    folder.mkdir(parents=True)
    image = np.zeros((23, 5, 3), np.uint16)
    image[:, :, 2] = np.arange(23)[:, None]  # the class: red
    image[:, :, 1] = 1000  # the instance
    assert cv2.imwrite(str(folder / '0000000.png'), image)
    return root


def annotation(*objects, size=(8, 6)) -> dict:
    """Returns a Cityscapes annotation of boxes (label, left, top, right, bottom)."""
    polygons = [
        {'label': label, 'polygon': [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]}
        for label, x0, y0, x1, y1 in objects
    ]
    return {'imgWidth': size[0], 'imgHeight': size[1], 'objects': polygons}


def make_cityscapes(root: Path, splits=('train', 'val')) -> Path:
    for split in splits:
        for city in ('aachen', 'bochum'):
            image_folder = root / 'leftImg8bit' / split / city
            label_folder = root / 'gtFine' / split / city
            image_folder.mkdir(parents=True)
            label_folder.mkdir(parents=True)
            stem = f'{city}_000000_000019'
            (image_folder / f'{stem}_leftImg8bit.png').write_bytes(b'')
            content = annotation(('road', 0, 0, 7, 5), ('cargroup', 2, 2, 3, 3))
            (label_folder / f'{stem}_gtFine_polygons.json').write_text(json.dumps(content))
    return root


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def snapshot(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob('*'))
        if path.is_file()
    }


def message_of(main, *argv) -> str:
    """Runs a converter that must fail, and returns its message."""
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in argv])
    assert isinstance(stop.value.code, str) and '\n' not in stop.value.code
    return stop.value.code


def test_gta_train_ids_are_those_of_cityscapes():
    ids = np.array([[label.id for label in cityscapes_labels if label.id >= 0]], np.uint8)
    expected = [label.trainId for label in cityscapes_labels if label.id >= 0]
    assert gta.TRAIN_ID_TABLE[ids][0].tolist() == expected
    assert gta.TRAIN_ID_TABLE[[7, 8, 11, 33]].tolist() == [0, 1, 2, 18]
    assert (gta.TRAIN_ID_TABLE[34:] == 255).all()


def test_gta_labels_and_class_index(tmp_path):
    root = make_gta(tmp_path / 'gta', count=2)
    gta.main([str(root), '--nproc', '1'])

    train_ids = read(root / 'labels' / '00002_labelTrainIds.png')
    assert train_ids.dtype == np.uint8
    expected = np.full((4, 6), 255)
    expected[0], expected[1, :2], expected[3, 0] = 0, 13, 18
    np.testing.assert_array_equal(train_ids, expected)

    first, second = 'labels/00001_labelTrainIds.png', 'labels/00002_labelTrainIds.png'
    stats, by_file, by_class = (json.loads((root / name).read_text()) for name in INDEX)
    assert stats == [
        {'0': 6, '13': 1, '18': 1, 'file': first},
        {'0': 6, '13': 2, '18': 1, 'file': second},
    ]
    assert by_file == {first: {'0': 6, '13': 1, '18': 1}, second: {'0': 6, '13': 2, '18': 1}}
    assert by_class == {
        '0': [[first, 6], [second, 6]],
        '13': [[first, 1], [second, 2]],
        '18': [[first, 1], [second, 1]],
    }


def test_gta_accepts_grey_labels_and_any_size(tmp_path):
    root = make_gta(tmp_path / 'gta', count=1)
    grey = np.full((3, 5), 24, np.uint8)
    Image.fromarray(grey).save(root / 'labels' / '00002.png')
    gta.main([str(root)])
    assert (read(root / 'labels' / '00002_labelTrainIds.png') == 11).all()


def test_gta_refuses_colours(tmp_path):
    root = make_gta(tmp_path / 'gta', count=1)
    Image.fromarray(np.zeros((3, 5, 3), np.uint8)).save(root / 'labels' / '00002.png')
    assert '00002.png: expected label ids' in message_of(gta.main, root)


def test_a_label_without_any_class_is_in_the_index(tmp_path):
    root = make_gta(tmp_path / 'gta', count=1)
    Image.fromarray(np.zeros((3, 5), np.uint8)).save(root / 'labels' / '00002.png')
    gta.main([str(root)])
    assert json.loads((root / INDEX[0]).read_text())[1] == {
        'file': 'labels/00002_labelTrainIds.png'
    }


def test_synthia_reads_the_class_from_the_red_channel(tmp_path):
    root = make_synthia(tmp_path / 'synthia')
    synthia.main([str(root)])
    train_ids = read(root / 'GT' / 'LABELS' / '0000000_labelTrainIds.png')
    expected = [255, 10, 2, 0, 1, 4, 8, 5, 13, 7, 11, 18, 17, 255, 255, 6, 9, 12, 14, 15, 16, 3]
    assert train_ids[:, 0].tolist() == [*expected, 255]
    counts = json.loads((root / INDEX[1]).read_text())['GT/LABELS/0000000_labelTrainIds.png']
    assert counts == {str(train_id): 5 for train_id in range(19)}


@pytest.mark.parametrize(
    'image', [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint16)], ids=['8 bit', 'grey']
)
def test_synthia_refuses_other_formats(tmp_path, image):
    root = make_synthia(tmp_path / 'synthia')
    cv2.imwrite(str(root / 'GT' / 'LABELS' / '0000001.png'), image)
    assert '0000001.png: expected 16 bits' in message_of(synthia.main, root)


def test_cityscapes_labels_index_of_train_and_split_lists(tmp_path):
    root = make_cityscapes(tmp_path / 'cityscapes')
    cityscapes.main([str(root), '--nproc', '1'])

    for split in ('train', 'val'):
        folder = root / 'gtFine' / split / 'bochum'
        train_ids = read(folder / 'bochum_000000_000019_gtFine_labelTrainIds.png')
        expected = np.zeros((6, 8))
        expected[2:4, 2:4] = 13
        np.testing.assert_array_equal(train_ids, expected)

    files = [entry['file'] for entry in json.loads((root / INDEX[0]).read_text())]
    assert files == [
        f'gtFine/train/{city}/{city}_000000_000019_gtFine_labelTrainIds.png'
        for city in ('aachen', 'bochum')
    ]
    names = 'aachen/aachen_000000_000019\nbochum/bochum_000000_000019\n'
    assert (root / 'train.txt').read_text() == (root / 'val.txt').read_text() == names
    assert (root / 'test.txt').read_text() == ''


def test_cityscapes_without_train_labels_has_no_index(tmp_path, capsys):
    root = make_cityscapes(tmp_path / 'cityscapes')
    shutil.rmtree(root / 'gtFine' / 'train')
    cityscapes.main([str(root)])
    assert not any((root / name).exists() for name in INDEX)
    assert 'no class index' in capsys.readouterr().out
    assert (root / 'train.txt').read_text()


@pytest.mark.parametrize(
    ('content', 'complaint'),
    [
        ('{"imgWidth": 8', 'no Cityscapes annotation'),
        ('{"imgWidth": 8}', 'no Cityscapes annotation'),
        (json.dumps(annotation(('spaceship', 0, 0, 3, 3))), 'no Cityscapes annotation'),
        (
            '{"imgWidth": 8, "imgHeight": 6, "objects": [{"label": "car", "polygon": [[1, 1]]}]}',
            'no Cityscapes annotation',
        ),
    ],
)
def test_cityscapes_names_the_broken_annotation(tmp_path, content, complaint):
    root = make_cityscapes(tmp_path / 'cityscapes')
    broken = root / 'gtFine' / 'train' / 'bochum' / 'bochum_000000_000019_gtFine_polygons.json'
    broken.write_text(content)
    message = message_of(cityscapes.main, root)
    assert message.startswith(f'Error: {broken}') and complaint in message
    assert not any((root / name).exists() for name in INDEX)


@pytest.mark.parametrize('converter', [gta, synthia, cityscapes])
def test_missing_root_and_missing_labels(tmp_path, converter):
    assert 'no label matches' in message_of(converter.main, tmp_path / 'absent')
    for folder in ('labels', 'GT/LABELS', 'gtFine'):
        (tmp_path / folder).mkdir(parents=True)
    assert 'no label matches' in message_of(converter.main, tmp_path)


@pytest.mark.parametrize('nproc', ['1', '2'])
@pytest.mark.parametrize(('converter', 'make'), [(gta, make_gta), (synthia, make_synthia)])
def test_an_unreadable_label_is_named_and_leaves_nothing_half_written(
    tmp_path, converter, make, nproc
):
    root = make(tmp_path / 'data')
    whole = next(iter(sorted(root.rglob('*.png'))))
    broken = whole.with_name('00009.png')
    broken.write_bytes(whole.read_bytes()[:60])
    message = message_of(converter.main, root, '--nproc', nproc)
    assert message.startswith(f'Error: {broken}')
    left = [path.name for path in root.rglob('*') if path.is_file()]
    assert not set(left) & set(INDEX)
    assert not [name for name in left if name.endswith('.tmp') or '00009_' in name]


def test_nothing_depends_on_nproc_or_on_a_second_run(tmp_path):
    one = make_gta(tmp_path / 'one', count=20)
    three = make_gta(tmp_path / 'three', count=20)
    gta.main([str(one), '--nproc', '1'])
    gta.main([str(three), '--nproc', '3'])
    once = snapshot(one)
    assert once == snapshot(three)
    gta.main([str(one), '--nproc', '2'])
    assert snapshot(one) == once


def test_an_interrupted_run_is_finished_by_the_next(tmp_path, monkeypatch):
    root, whole = make_gta(tmp_path / 'gta', count=6), make_gta(tmp_path / 'whole', count=6)
    gta.main([str(whole)])
    seen = []

    def interrupted(path):
        seen.append(path)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return original(path)

    original = gta.read_train_ids
    monkeypatch.setattr(gta, 'read_train_ids', interrupted)
    with pytest.raises(KeyboardInterrupt):
        gta.main([str(root), '--nproc', '1'])
    assert len(list(root.rglob('*_labelTrainIds.png'))) == 3

    seen[:] = ['not again'] * 10
    gta.main([str(root), '--nproc', '1'])
    assert len(seen) == 10 + 3  # what was finished is kept
    assert snapshot(root) == snapshot(whole)


def test_a_changed_or_broken_label_is_converted_again(tmp_path):
    root = make_gta(tmp_path / 'gta', count=2)
    gta.main([str(root)])
    expected = snapshot(root)
    changed, broken = (root / 'labels' / f'0000{i}_labelTrainIds.png' for i in (1, 2))
    cv2.imwrite(str(changed), np.full((4, 6), 5, np.uint8))
    os.utime(changed, (0, 0))  # older than what it was made from
    broken.write_bytes(broken.read_bytes()[:20])
    gta.main([str(root)])
    assert snapshot(root) == expected


EACH = pytest.mark.parametrize(
    ('converter', 'make'), [(gta, make_gta), (synthia, make_synthia), (cityscapes, make_cityscapes)]
)


@EACH
@pytest.mark.parametrize('nproc', ['1', '2'])
def test_a_read_only_data_set_is_converted_elsewhere(tmp_path, converter, make, nproc, capsys):
    root, copy = make(tmp_path / 'data'), tmp_path / 'copy'
    shutil.copytree(root, copy)
    before = snapshot(root)
    converter.main([str(copy)])
    with read_only(root):
        message = message_of(converter.main, root, '--nproc', '1')
        assert f'{root}/' in message and 'Read-only file system' in message
        assert '--out' in message
        converter.main([str(root), '--nproc', nproc, '--out', str(tmp_path / 'made' / 'here')])
    assert f"data_root='{tmp_path}/made/here', img_dir='{root}/" in capsys.readouterr().out
    assert snapshot(root) == before
    made = {name: file for name, file in snapshot(copy).items() if name not in before}
    assert snapshot(tmp_path / 'made' / 'here') == made
    (tmp_path / 'file').write_text('in the way')
    assert 'can be written' in message_of(converter.main, root, '--out', tmp_path / 'file')


@EACH
def test_hidden_files_and_folders_are_not_converted(tmp_path, converter, make):
    root, expected = make(tmp_path / '.hidden' / 'data'), make(tmp_path / 'expected')
    for path in list(root.rglob('*.*')):
        path.with_name(f'._{path.name}').write_bytes(b'of macOS')
        for folder in (path.parent / '.ipynb_checkpoints', path.parent.parent / '.Trash-1000'):
            folder.mkdir(exist_ok=True)
            shutil.copy(path, folder)
    given = snapshot(root)
    converter.main([str(root)])
    converter.main([str(expected)])
    made = {name: file for name, file in snapshot(root).items() if name not in given}
    assert made == {name: file for name, file in snapshot(expected).items() if name not in given}


@pytest.mark.parametrize(
    ('name', 'make'),
    [('gta', make_gta), ('synthia', make_synthia), ('cityscapes', make_cityscapes)],
)
def test_entry_points(tmp_path, name, make):
    script = REPOSITORY / 'tools' / 'convert_datasets' / f'{name}.py'
    make(tmp_path / 'data' / name)  # the default root

    def run(*args):
        command = [sys.executable, str(script), *args]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert run().returncode == 0
    assert all((tmp_path / 'data' / name / file).exists() for file in INDEX)
    failed = run('elsewhere')
    assert failed.returncode == 1
    assert failed.stderr.startswith('elsewhere') and 'no label matches' in failed.stderr
    assert 'Traceback' not in failed.stderr


def test_a_file_is_in_place_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / 'label.png'
    write_atomically(path, b'whole')

    def disk_full(*_):
        raise OSError('disk full')

    monkeypatch.setattr(os, 'replace', disk_full)
    with pytest.raises(OSError, match='disk full'):
        write_atomically(path, b'half')
    assert snapshot(tmp_path) == {'label.png': b'whole'}


def test_a_folder_in_the_place_of_a_label(tmp_path):
    (tmp_path / 'label.png').mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / 'label.png', b'whole')
    assert [path.name for path in tmp_path.iterdir()] == ['label.png']
