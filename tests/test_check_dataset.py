"""What is wrong with a data set is said before a run writes anything, and listed by a tool."""

import json
import os
import shutil

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image

from mmseg.datasets.rare_class_sampling import SAMPLES_FILE, STATS_FILE
from mmseg.engine import preflight
from mmseg.engine.checks.data import (
    DatasetUse,
    check_dataset,
    convert_command,
    examine,
    sample,
    too_large_crop,
)
from mmseg.engine.config import load_config
from mmseg.engine.data_sets import training_sets
from mmseg.utils.user_error import UserError
from tests.test_mistakes import refused
from tests.tiny_runs import (
    CHECKOUT,
    SMALL_UDA,
    UDA_CONFIG,
    read_only,
    run_experiment,
    run_python,
)
from tools import check_dataset as tool
from tools.convert_datasets import cityscapes as cityscapes_converter
from tools.convert_datasets import gta as gta_converter

CONVERT = 'python tools/convert_datasets/gta.py data/street_scenes/gta'
CONVERT_TARGET = 'python tools/convert_datasets/cityscapes.py data/street_scenes/cityscapes'
KEEP_RAW = 'delete wrong *_labelTrainIds.png first, but no raw labels'
IDS = 'labels/00003_labelTrainIds.png'
RAW = 'labels/00003.png'


def report_on(*options, arguments=()):
    """Run the tool on the tiny data; what it ends with (None: it found nothing)."""
    try:
        tool.main([str(UDA_CONFIG), *arguments, '--cfg-options', *SMALL_UDA, *options])
    except SystemExit as stop:
        return stop.code
    return None


def edit(path, change):
    """Write what ``change`` makes of a label (or an image)."""
    cv2.imwrite(str(path), change(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))


def cut(path):
    """Leave the first half of a file: the header of an image says nothing of it."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit_index(gta, name, change):
    content = json.loads((gta / name).read_text())
    (gta / name).write_text(json.dumps(change(content)))


def with_pixels(label, class_id, value):
    label[:60, :60] = class_id
    label[60:62] = value
    return label


def remove_labels(gta):
    for number in (2, 3, 5, 7):
        os.remove(gta / f'labels/0000{number}_labelTrainIds.png')


def make_masks(gta):
    for path in gta.glob('labels/*_labelTrainIds.png'):
        edit(path, lambda label: np.where(label == 0, 255, 0).astype(np.uint8))


def remove_pair(gta):
    os.remove(gta / 'images/00003.png')
    os.remove(gta / IDS)


def rename_index(gta, prefix):
    """Let the index name its files as it would on another machine or for other data."""

    def renamed(file):
        file = prefix + file
        return file.replace('/', '\\') if '\\' in prefix else file

    edit_index(gta, STATS_FILE, lambda stats: [{**s, 'file': renamed(s['file'])} for s in stats])
    edit_index(
        gta, SAMPLES_FILE,
        lambda samples: {c: [[renamed(f), n] for f, n in files] for c, files in samples.items()},
    )  # fmt: skip


def foreign_index(gta):
    rename_index(gta, '')
    for name in (STATS_FILE, SAMPLES_FILE):
        text = (gta / name).read_text()
        (gta / name).write_text(text.replace('_labelTrainIds', '_of_others_labelTrainIds'))


FILES = {
    'image without label': (
        remove_labels,
        ['gta/labels: 4 of 8 images have no label: 00002_labelTrainIds.png', ' and 1 more',
         CONVERT],
    ),
    'another size': (
        lambda gta: edit(gta / 'images/00003.png', lambda image: image[::2, ::2]),
        ['gta/labels: 1 of 8 labels', '00003_labelTrainIds.png (image 240×132, label 480×264)',
         'Restore what is wrong, or move both away. Make train ids', KEEP_RAW],
    ),
    'label ids': (
        lambda gta: shutil.copy(gta / RAW, gta / IDS),
        ['1 of 8 labels', 'neither 0..18 nor 255: 00003_labelTrainIds.png (', '23', CONVERT],
    ),
    'other ids': (
        lambda gta: edit(gta / IDS, lambda label: with_pixels(label, 40, 41)),
        ['00003_labelTrainIds.png (40, 41). Make train ids', CONVERT, KEEP_RAW],
    ),
    '16 bits': (
        lambda gta: edit(gta / IDS, lambda label: label.astype(np.uint16) + 256),
        ['neither 0..18 nor 255: 00003_labelTrainIds.png (256', CONVERT],
    ),
    'colours': (
        lambda gta: edit(gta / IDS, lambda label: np.stack([label] * 3, axis=2)),
        ['00003_labelTrainIds.png (colours or transparency (RGB)', CONVERT],
    ),
    'truncated label': (
        lambda gta: cut(gta / IDS),
        ['gta/labels: 1 of 8 labels read cannot be decoded: 00003_labelTrainIds.png (', CONVERT],
    ),
    'truncated image': (
        lambda gta: cut(gta / 'images/00003.png'),
        ['gta/images: 1 of 8 images read cannot be decoded: 00003.png (', 'from the data set'],
    ),
    'no image at all': (
        lambda gta: (gta / 'images/00003.png').write_text('text'), ['00003.png (no image)'],
    ),
    'binary masks': (
        make_masks, ['8 of 8 labels read hold nothing but 0 and 255', 'binary masks', '255 means'],
    ),
}  # fmt: skip
INDEX = {
    'empty index file': (
        lambda gta: (gta / STATS_FILE).write_text(''), [f'{STATS_FILE} is damaged or missing'],
    ),
    'damaged index': (lambda gta: cut(gta / STATS_FILE), [f'{STATS_FILE} is damaged']),
    'binary index': (
        lambda gta: (gta / STATS_FILE).write_bytes(b'\xff\xfe\x00'), [f'{STATS_FILE} is damaged'],
    ),
    'index of another form': (
        lambda gta: (gta / STATS_FILE).write_text('{"a": 1}'), [f'{STATS_FILE} is no class index'],
    ),
    'index of nothing': (
        lambda gta: (gta / SAMPLES_FILE).write_text('{}'), ['no image in ', 'min_pixels='],
    ),
    'foreign index': (foreign_index, ['_of_others_labelTrainIds.png', 'belongs to other data']),
    'index of labels that are gone': (remove_pair, [f'{SAMPLES_FILE} lists {IDS}', 'other data']),
    'index without new labels': (
        lambda gta: edit_index(gta, STATS_FILE, lambda stats: stats[1:]),
        [f'{STATS_FILE} lacks labels (1): 00001_labelTrainIds.png'],
    ),
    'index of changed labels': (
        lambda gta: edit(gta / IDS, lambda label: np.zeros_like(label)),
        [f'{STATS_FILE} counts other pixels than 1 of 8 labels read have: 00003_labelTrainIds'],
    ),
}  # fmt: skip
for _, says in INDEX.values():
    says.append(f'Make the class index with: {CONVERT}')


@pytest.mark.parametrize('name', [*FILES, *INDEX])
def test_what_is_wrong_with_the_source_is_reported_and_refused(own_data, capsys, name):
    breaks, says = {**FILES, **INDEX}[name]
    breaks(own_data / 'gta')
    closing = report_on()
    assert 'problem(s) found in ' in closing and '\n' not in closing
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith('- ') and all(part in line for part in says) for line in lines)
    with refused(*says):
        run_experiment(UDA_CONFIG)


@pytest.mark.parametrize(
    ('path', 'says'),
    [
        ('leftImg8bit/train/arlen/arlen_000000_000019_leftImg8bit.png', ['train: 1 of 6 images']),
        ('leftImg8bit/val/dunmore/dunmore_000000_000019_leftImg8bit.png', ['val: 1 of 3 images']),
        ('gtFine/val/dunmore/dunmore_000000_000019_gtFine_labelTrainIds.png',
         ['gtFine/val: 1 of 3 labels', CONVERT_TARGET]),
    ],
)  # fmt: skip
def test_target_and_validation_are_checked(own_data, capsys, path, says):
    cut(own_data / 'cityscapes' / path)
    assert report_on() is not None
    shown = capsys.readouterr().out
    assert all(part in shown for part in says)
    with refused(os.path.basename(path), *says):
        run_experiment(UDA_CONFIG)


@pytest.mark.parametrize(
    ('option', 'says'),
    [
        ('data.train.rare_class_sampling.min_pixels=2000',
         ['min_pixels=2000 pixels of train id(s) [', '17', 'Lower data.train.rare_class_samp']),
        ('data.train.source.pipeline.3.crop_size=200,100',
         ['data.train.source.pipeline: the crop of 100×200', '480×264 becomes 320×176']),
        ('data.train.target.pipeline.2.crop_size=128,300',
         ['data.train.target.pipeline: the crop of 300×128', 'becomes 256×128']),
        ('data.train.source.seg_map_suffix=.png',  # the game's own labels, not to be deleted
         [f'Make train ids with: {CONVERT}',
          'delete nothing: *.png are raw labels. Leave out seg_map_suffix']),
        ('data.val.ann_dir=None', ['no ann_dir', 'CityscapesDataset']),
        ('data.train.source.data_root=None', ['']),
    ],
)  # fmt: skip
def test_config_that_does_not_fit_the_data(workplace, capsys, option, says):
    assert report_on(option) is not None
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith('- ') and all(part in line for part in says) for line in lines)
    with refused(*says):
        run_experiment(UDA_CONFIG, option)


def test_healthy_data(workplace, street_scenes, capsys):
    assert report_on() is None
    shown = capsys.readouterr().out
    assert shown.endswith('no problems found in 17 images (17 of them decoded; --full: all).\n')
    index = json.loads((street_scenes / 'gta' / STATS_FILE).read_text())
    pixels = sum(entry.get('17', 0) for entry in index)
    share = pixels / sum(n for entry in index for c, n in entry.items() if c != 'file')
    assert f'motorcycle: {share:.2%}, ' in shown
    assert ' road: ' in shown and ' bus: ' not in shown  # which does not occur


def test_all_problems_are_listed_and_counted(own_data, capsys):
    gta = own_data / 'gta'
    cut(gta / IDS)
    cut(gta / 'images/00001.png')
    shutil.copy(gta / 'labels/00002.png', gta / 'labels/00002_labelTrainIds.png')
    shutil.rmtree(own_data / 'cityscapes/gtFine/val')
    closing = report_on('data.train.target.pipeline.2.crop_size=128,300')
    problems = [line for line in capsys.readouterr().out.splitlines() if line.startswith('- ')]
    parts = ['00001.png (', '00003_labelTrainIds.png (', 'neither', 'other pixels', '300×128',
             'gtFine/val is missing']  # fmt: skip
    assert all(part in problem for part, problem in zip(parts, problems, strict=True)), problems
    assert closing.startswith('Error: 6 problem(s) found in 14 images (14 of them decoded')


def test_full_finds_what_the_quick_form_passes_over(own_data, capsys):
    target = own_data / 'cityscapes/leftImg8bit/train/arlen'
    for number in range(20, 26):
        shutil.copy(next(target.glob('*_000000_*')), target / f'a_{number}_leftImg8bit.png')
    cut(target / 'a_22_leftImg8bit.png')
    assert report_on() is None
    assert 'data.train.target: 12 images, 8 decoded' in capsys.readouterr().out
    assert '23 images (23 of them decoded)' in report_on(arguments=['--full', '--nproc', '2'])
    shown = capsys.readouterr().out
    assert '1 of 12 images read cannot be decoded: arlen/a_22_leftImg8bit.png (' in shown


def test_a_sample_is_the_same_every_time_and_reaches_both_ends():
    pairs = [(f'{i}.png', None) for i in range(100)]
    assert sample(pairs) == sample(pairs) and len(sample(pairs)) == 8
    assert {pairs[0], pairs[-1]} < set(sample(pairs))
    assert sample(pairs[:3]) == pairs[:3]


def test_labels_whose_images_were_removed(own_data, capsys):
    remove_pair(own_data / 'gta')
    assert report_on()
    shown = capsys.readouterr().out
    assert 'raw labels away' in shown and f'Make the class index with: {CONVERT}' in shown
    # As it says.
    os.remove(own_data / 'gta' / RAW)
    gta_converter.main([CONVERT.split()[-1], '--nproc', '1'])
    assert report_on() is None


@pytest.mark.parametrize('breaks', [cut, lambda path: edit(path, lambda label: label + 40)])
def test_labels_that_no_converter_makes_are_not_to_be_deleted(own_data, capsys, breaks):
    breaks(next((own_data / 'cityscapes/gtFine/val').rglob('*_labelTrainIds.png')))
    suffixes = 'img_suffix=_leftImg8bit.png', 'seg_map_suffix=_gtFine_labelTrainIds.png'
    assert report_on(*(f'data.val.{option}' for option in ('type=ACDCDataset', *suffixes)))
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith('- '))
    assert 'Get them again from the data set' in line
    assert 'delete' not in line and 'convert_datasets' not in line


@pytest.mark.parametrize('min_pixels', [0, 0.001])  # whose size is not known
def test_a_label_of_the_index_that_is_gone(own_data, capsys, min_pixels):
    os.remove(own_data / 'gta/labels/00001_labelTrainIds.png')
    says = 'gta/labels: 1 of 8 images have no label: 00001_labelTrainIds.png', CONVERT
    assert report_on(f'data.train.rare_class_sampling.min_pixels={min_pixels}')
    shown = capsys.readouterr().out
    assert all(part in shown for part in says)


@pytest.mark.parametrize(
    ('kind', 'command'),
    [
        ('SynthiaDataset', 'synthia.py data/street_scenes/gta/'),
        ('CustomDataset', f"custom.py {UDA_CONFIG} (after stating it as type='OwnDataset')"),
    ],
)
def test_a_missing_index_names_the_converter_of_its_data_set(own_data, capsys, kind, command):
    os.remove(own_data / 'gta' / SAMPLES_FILE)
    suffixes = ['img_suffix=.png', 'seg_map_suffix=_labelTrainIds.png', f'type={kind}']
    assert report_on(*(f'data.train.source.{option}' for option in suffixes))
    (line,) = (line for line in capsys.readouterr().out.splitlines() if SAMPLES_FILE in line)
    remake = f'Make the class index with: python tools/convert_datasets/{command}'
    assert line.endswith(f'needs the class index. {remake}')


@pytest.mark.parametrize(
    'entry', ['labels/.ipynb_checkpoints/00003-checkpoint.png', '../data\\labels\\._00003.png']
)
def test_hidden_labels_in_an_index_of_older_tools_are_passed_over(own_data, capsys, entry):
    assert report_on() is None
    expected = capsys.readouterr().out
    edit_index(
        own_data / 'gta', SAMPLES_FILE,
        lambda samples: {c: [*files, [entry, 999]] for c, files in samples.items()},
    )  # fmt: skip
    edit_index(own_data / 'gta', STATS_FILE, lambda stats: [*stats, {'17': 999, 'file': entry}])
    assert report_on() is None
    assert capsys.readouterr().out == expected  # the same ratios, too


def test_a_read_only_data_folder(own_data, workplace, capsys):
    """Labels and class index are made elsewhere; messages name the command that does."""
    for path in own_data.rglob('*TrainIds.png'):
        path.unlink()
    for path in (own_data / 'gta').glob('*.json'):
        path.unlink()
    images = own_data.absolute()
    options = [
        'data.train.source.data_root=made/gta', f'data.train.source.img_dir={images}/gta/images',
    ]  # fmt: skip
    for key in ('train.target', 'val'):
        split = 'val' if key == 'val' else 'train'
        options += [
            f'data.{key}.data_root=made/cityscapes',
            f'data.{key}.img_dir={images}/cityscapes/leftImg8bit/{split}',
        ]
    with read_only(own_data):
        for converter, name in ((gta_converter, 'gta'), (cityscapes_converter, 'cityscapes')):
            assert report_on(*options)
            command = f'tools/convert_datasets/{name}.py {images}/{name} --out made/{name}'
            assert f': python {command}' in capsys.readouterr().out
            converter.main([*command.split()[1:], '--nproc', '1'])
        assert report_on(*options) is None
        run_experiment(UDA_CONFIG, *options, 'runner.max_iters=1', 'evaluation.interval=1')


def test_the_command_of_a_message_can_be_pasted():
    config = dict(type='GTADataset', data_root='my data')
    assert convert_command(config, 'x.py') == "python tools/convert_datasets/gta.py 'my data'"
    own = convert_command(dict(type='OwnDataset'), 'my config.py')
    assert own == "python tools/convert_datasets/custom.py 'my config.py'"
    for kind, below, arguments in (
        ('SynthiaDataset', '/raw data/RGB', "synthia.py '/raw data' --out 'my data'"),
        ('CityscapesDataset', '/raw/cs/leftImg8bit/train', "cityscapes.py /raw/cs --out 'my data'"),
        ('GTADataset', os.path.abspath('my data/images'), "gta.py 'my data'"),
        ('GTADataset', '/raw/photos', "gta.py ROOT --out 'my data'"),
    ):
        config = dict(type=kind, data_root='my data', img_dir=below)
        expected = f'python tools/convert_datasets/{arguments}'
        assert convert_command(config, 'x.py') == expected
    config = dict(type='GTADataset', img_dir='/raw/gta/images')
    assert convert_command(config, 'x.py').endswith('gta.py /raw/gta --out .')


def test_labels_of_the_target_are_never_read(own_data):
    for path in (own_data / 'cityscapes/gtFine/train').rglob('*.png'):
        path.write_text('no label')
    assert report_on('data.train.target.ann_dir=gtFine/train') is None
    shutil.rmtree(own_data / 'cityscapes/gtFine/train')
    assert report_on('data.train.target.ann_dir=gtFine/train') is None


def test_our_index_is_relative_with_forward_slashes(street_scenes):
    index = json.loads((street_scenes / 'gta' / STATS_FILE).read_text())
    files = [entry['file'] for entry in index]
    assert files == [f'labels/{number:05d}_labelTrainIds.png' for number in range(1, 9)]


@pytest.mark.parametrize('prefix', ['data/gta/', '/elsewhere/data/gta/', 'D:\\data\\gta\\'])
def test_indices_of_older_tools_are_understood(own_data, prefix):
    rename_index(own_data / 'gta', prefix)
    assert report_on() is None


def test_runs_of_an_experiment_share_the_check_of_their_data(workplace, monkeypatch):
    places = []

    def count(use):
        places.append(use.place)
        return check_dataset(use)

    monkeypatch.setattr(preflight, 'check_dataset', count)
    small = {option.partition('=')[0]: 0 for option in SMALL_UDA if 'min_pixels' in option}
    one, other = (load_config(str(UDA_CONFIG), {**small, 'seed': seed}) for seed in (0, 1))
    preflight.check_files(one, other)
    assert places == ['data.train.source', 'data.train.target', 'data.val']
    other.data.val.img_dir = 'nowhere'
    with pytest.raises(UserError, match='nowhere is missing'):
        preflight.check_files(one, other)


def test_own_classes_and_labels_that_reserve_zero(tmp_path):
    for folder in ('images', 'labels'):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / 'images/a.jpg'), np.zeros((8, 8, 3), np.uint8))
    cv2.imwrite(str(tmp_path / 'labels/a.png'), np.arange(64, dtype=np.uint8).reshape(8, 8) % 3)
    config = dict(
        type='CustomDataset', data_root=str(tmp_path), img_dir='images', ann_dir='labels',
        classes=['wheat', 'weed'], pipeline=[dict(type='LoadAnnotations')],
    )  # fmt: skip
    (problem,) = check_dataset(DatasetUse('data.train', config, True, num_classes=2)).problems
    assert '0..1 nor 255: a.png (2)' in problem and 'to hold train ids' in problem
    config['pipeline'][0]['reduce_zero_label'] = True
    assert not check_dataset(DatasetUse('data.train', config, True, num_classes=2)).problems


def test_photographs_are_read_to_the_end_and_as_they_are_shown(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90° to show it
    Image.effect_noise((300, 200), 50).save(tmp_path / 'a.jpg', exif=exif)
    (found,) = examine([('a.jpg', None)], tmp_path, None)
    assert found.image_size == cv2.imread(str(tmp_path / 'a.jpg')).shape[1::-1] == (200, 300)
    assert found.image_error is None
    cut(tmp_path / 'a.jpg')
    (found,) = examine([('a.jpg', None)], tmp_path, None)
    assert found.image_size is None and 'truncated' in found.image_error


SIZES = {
    'GTADataset': [(1914, 1052), (1280, 720), (1914, 1046)],
    'SynthiaDataset': [(1280, 760)],
    'SynscapesDataset': [(2048, 1024)],
    'UrbanSynDataset': [(2048, 1024)],
    'CityscapesDataset': [(2048, 1024)],
    'ACDCDataset': [(1920, 1080)],
    'DarkZurichDataset': [(1920, 1080)],
    'OwnDataset': [(640, 480), (4000, 3000), (1080, 1920), (512, 512)],
}


@pytest.mark.parametrize('path', sorted((CHECKOUT / 'configs/_base_/datasets').glob('*512.py')))
def test_published_crops_fit(path):
    for part in training_sets(mmcv.Config.fromfile(str(path)).data.train).values():
        assert too_large_crop('', part.pipeline, SIZES[part.type]) is None
        assert too_large_crop('', part.pipeline, [(4096, 500)]) is not None


@pytest.mark.parametrize(
    ('resize', 'fits'),
    [
        (dict(img_scale=(200, 100)), True),
        (dict(img_scale=(200, 99)), False),
        (dict(img_scale=(200, 100), ratio_range=(0.5, 2.0)), True),
        (dict(img_scale=(100, 50), ratio_range=(0.5, 1.9)), False),
        (dict(img_scale=None, ratio_range=(0.1, 0.25)), True),
        (dict(img_scale=[(200, 50), (120, 100)]), True),
        (dict(img_scale=(300, 60), keep_ratio=False), False),
        (dict(img_scale=(200, 60), min_size=100), True),
    ],
)
def test_crops_after_every_kind_of_resizing(resize, fits):
    pipeline = [dict(type='Resize', **resize), dict(type='RandomCrop', crop_size=(100, 200))]
    assert (too_large_crop('data.train', pipeline, [(800, 400)]) is None) == fits


def test_the_tool_in_a_process_of_its_own(own_data):
    options = ['--cfg-options', 'data.train.rare_class_sampling.min_pixels=0']
    command = [CHECKOUT / 'tools/check_dataset.py', UDA_CONFIG, '--full', *options]
    cut(own_data / 'gta' / IDS)
    result = run_python(*command, cwd=own_data.parents[1])
    assert result.returncode == 1
    assert '00003_labelTrainIds.png (' in result.stdout
    closing = 'Error: 1 problem(s) found in 17 images (17 of them decoded); see above.\n'
    assert result.stderr == closing


def test_images_of_10_bits_in_files_of_16(own_data, capsys):
    for path in (own_data / 'gta/images').glob('*.png'):
        edit(path, lambda image: image.astype(np.uint16) * 4)
    assert report_on()
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith('- '))
    assert '8 of 8 images read hold 16 bits per channel, but no value above 1023' in line
    assert "dict(type='LoadImageInRange', value_range=(0, 1023))" in line
