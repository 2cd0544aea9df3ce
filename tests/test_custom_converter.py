"""Labels with ids or colours of their own become train ids, and what is odd about them is said."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.own_domains import (
    blocks,
    color_of,
    config_of,
    own_domains,
    save_16_bits,
    save_colors,
    save_grey,
    save_palette,
)
from tests.tiny_runs import CHECKOUT, run_python
from tools.convert_datasets import custom

NAMES = ['thing', 'road', 'sky', 'car']
IDS = dict(thing=[3, 200], road=17, sky=0, car=[26, 27])
TRAIN_IDS = {3: 0, 200: 0, 17: 1, 0: 2, 26: 3, 27: 3, 201: 255}
LABEL = 'mine/masks/day_1/001_mask.png'
CONVERTED = 'mine/masks/day_1/001_labelTrainIds.png'


@pytest.fixture
def stated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return own_domains(NAMES, IDS)


def convert(stated, *arguments):
    custom.main([config_of(**stated), '--nproc', '1', *arguments])


def refusal(stated, *arguments):
    with pytest.raises(SystemExit) as stop:
        convert(stated, *arguments)
    assert stop.value.code.startswith('Error: ') and '\n' not in stop.value.code
    return stop.value.code


def expected():
    return np.vectorize(TRAIN_IDS.get)(blocks(1, [*TRAIN_IDS]))


def train_ids():
    return np.array(Image.open(CONVERTED))


def with_colors(ids):
    return {n: [color_of(i) for i in (e if isinstance(e, list) else [e])] for n, e in ids.items()}


@pytest.mark.parametrize(
    ('save', 'colored'),
    [
        (save_grey, False),
        (save_16_bits, False),
        (save_palette, False),
        (save_palette, True),
        (save_colors, True),
        (lambda label, path: Image.open(_saved(label, path)).convert('RGBA').save(path), True),
    ],
)
def test_kinds_of_labels(tmp_path, monkeypatch, save, colored, capsys):
    monkeypatch.chdir(tmp_path)
    stated = own_domains(NAMES, IDS, save)
    for data_set in ('source', 'val'):
        stated[data_set]['id_map'] = with_colors(IDS) if colored else IDS
    convert(stated)
    assert np.array_equal(train_ids(), expected())
    unknown = '#c93628' if colored else '201'
    count = sum(int((blocks(i, [*TRAIN_IDS]) == 201).sum()) for i in range(4))
    line = next(row for row in capsys.readouterr().out.splitlines() if unknown in row)
    assert str(count) in line


def in_mode(label, path, mode):
    """A label in a mode of Pillow's that few files have."""
    if mode == 'PA':  # which no format holds, but Pillow opens palettes with alpha as
        save_palette(label, f'{path}.png')
        image = Image.open(f'{path}.png').convert('PA')
    elif mode == 'CMYK':
        image = Image.open(_saved(label, f'{path}.png')).convert(mode)
    else:
        image = Image.fromarray(np.dstack([label, label % 5 * 50]).astype(np.uint8), 'LA')
    return image


@pytest.mark.parametrize(
    ('mode', 'colored'),
    [('LA', False), ('PA', False), ('PA', True), ('CMYK', True)],
)
def test_rare_kinds_of_labels(stated, mode, colored, monkeypatch):
    """Each is converted, or refused with the other kind of id_map, which then works."""
    image = in_mode(blocks(1, [*TRAIN_IDS]), LABEL, mode)
    real = Image.open
    if mode == 'PA':
        monkeypatch.setattr(
            Image, 'open', lambda path: image.copy() if str(path) == LABEL else real(path)
        )
    else:
        image.save(LABEL, 'TIFF')
    for save in Path('mine/masks').rglob('*_mask.png.png'):
        save.unlink()
    for path in sorted(Path('mine/masks').rglob('*_mask.png')) if colored else ():
        if str(path) != LABEL:
            save_colors(np.array(real(path)), path)
    if mode != 'PA':
        stated['source']['id_map'] = IDS if colored else with_colors(IDS)
        said = refusal(stated, '--cfg-options', 'data.val=None')
        assert f'id_map has {"ids" if colored else "colours"}, but the image is of mode' in said
    stated['source']['id_map'] = with_colors(IDS) if colored else IDS
    convert(stated)
    assert np.array_equal(train_ids(), expected())


def test_fractions_are_no_ids(stated):
    Image.fromarray(blocks(1, [3, 17]).astype(np.float32) + 0.5).save(LABEL, 'TIFF')
    assert f'{LABEL} holds fractions' in refusal(stated)
    Image.fromarray(blocks(1, [*TRAIN_IDS]).astype(np.float32)).save(LABEL, 'TIFF')
    convert(stated)
    assert np.array_equal(train_ids(), expected())
    stated['source'].update(id_map=None)
    assert 'Give an id_map' in refusal(stated)


def _saved(label, path):
    save_colors(label, path)
    return path


def test_large_ids_of_16_bits(stated, tmp_path):
    for number, path in enumerate(sorted(tmp_path.glob('mine/masks/*/*_mask.png'))):
        save_16_bits(blocks(number, [40_000, 513, 2]), path)
    stated['source']['id_map'] = dict(thing=40_000, road=513)
    convert(stated)
    raw = np.array(Image.open(LABEL))
    found = train_ids()
    assert {int(i) for i in found[raw == 40_000]} == {0}
    assert {int(i) for i in found[raw == 513]} == {1}
    assert {int(i) for i in found[raw == 2]} == {255}


def test_the_class_index_is_of_the_source_alone(stated):
    convert(stated)
    stats = json.loads(Path('mine/sample_class_stats_dict.json').read_text())
    assert stats['masks/day_1/001_labelTrainIds.png'] == {
        str(i): int((expected() == i).sum()) for i in range(4) if (expected() == i).any()
    }
    assert Path('theirs/val_masks/day_0/000_labelTrainIds.png').exists()
    assert not list(Path('theirs').glob('*.json'))


def test_a_second_run_makes_again_what_differs_alone(stated, capsys):
    convert(stated)
    table = capsys.readouterr().out
    labels = sorted(Path('mine/masks').rglob('*_labelTrainIds.png'))
    for path in labels:
        os.utime(path, (3e9, 3e9))
    os.utime(LABEL, (4e9, 4e9))
    convert(stated)
    kept = [path for path in labels if path.stat().st_mtime == 3e9]
    assert len(kept) == 3 and Path(CONVERTED) not in kept
    assert capsys.readouterr().out == table  # what is unknown is told again

    os.utime(LABEL, (1e9, 1e9))
    stated['source']['id_map'] = {**IDS, 'road': [17, 201]}
    convert(stated)
    assert (train_ids() != 255).all()
    stated['classes'] = NAMES[::-1]
    convert(stated)
    assert train_ids()[expected() == 0].min() == 3


def test_labels_that_hold_train_ids_get_an_index_alone(stated):
    for number, path in enumerate(sorted(Path('mine/masks').rglob('*.png'))):
        save_grey(blocks(number, [0, 1, 2, 3, 255]), path)
    del stated['source']['id_map']
    convert(stated)
    assert 'masks/day_1/001_mask.png' in Path('mine/sample_class_stats_dict.json').read_text()
    assert not list(Path('mine').rglob('*_labelTrainIds.png'))
    save_grey(blocks(0, [0, 7]), LABEL)
    assert f'{LABEL}: not all is 0..3 or 255' in refusal(stated)


@pytest.mark.parametrize(
    ('id_map', 'says'),
    [
        ({**IDS, 'rode': 5}, "id_map names 'rode'; the classes are thing, road, sky, car."),
        ({**IDS, 'sky': [0, 17]}, "id_map maps 17 onto 'road' and 'sky'"),
        ({**IDS, 'sky': 70_000}, "id_map has 70000 for 'sky'; it takes an id from 0 to 65535"),
        ({**IDS, 'sky': 'blue'}, "id_map has 'blue' for 'sky'"),
        ({**IDS, 'sky': [[1, 2, 300]]}, "id_map has [1, 2, 300] for 'sky'"),
        ({**IDS, 'sky': [[0, 0, 200]]}, 'id_map holds ids and colours'),
        ({'sky': []}, 'id_map maps nothing'),
        ([1, 2], 'id_map has to be a dict'),
        (with_colors(IDS), 'id_map has colours, but the image is of mode L'),
    ],
)
def test_wrong_maps(stated, id_map, says):
    stated['source']['id_map'] = id_map
    assert says in refusal(stated)
    assert not list(Path('mine').rglob('*_labelTrainIds.png'))


def cut():
    content = Path(LABEL).read_bytes()
    Path(LABEL).write_bytes(content[: len(content) // 2])


def foreign():
    Image.open(LABEL).save(CONVERTED)


@pytest.mark.parametrize(
    ('breaks', 'says'),
    [
        (cut, f'{LABEL}: cannot be read'),
        (lambda: Path(LABEL).unlink(), f'{LABEL}: cannot be read'),
        (
            lambda: save_colors(blocks(1, [3, 17]), LABEL),
            'id_map has ids, but the image is of mode RGB',
        ),
        (foreign, f'{CONVERTED} stands where the train ids of 001_mask.png go'),
    ],
)
def test_wrong_labels(stated, breaks, says):
    breaks()
    assert says in refusal(stated)
    assert not Path('mine/sample_class_stats.json').exists()


def test_wrong_configs(stated):
    stated['source']['seg_map_suffix'] = '_labelTrainIds.png'
    assert 'where their train ids would be written' in refusal(stated)
    assert 'id_map' in refusal(stated, '--cfg-options', 'data.train.source.id_map=3')
    with pytest.raises(SystemExit, match='has no OwnDataset with an ann_dir'):
        custom.main([str(CHECKOUT / 'configs/street_scenes/uda_mitb0.py')])


@pytest.mark.long
def test_the_command_with_several_processes(stated):
    result = run_python(
        CHECKOUT / 'tools/convert_datasets/custom.py', config_of(**stated), '--nproc', '2', cwd='.'
    )
    assert result.returncode == 0, result.stderr
    assert 'data.val: 2 labels in theirs/val_masks' in result.stdout
    assert np.array_equal(train_ids(), expected())
