"""Files of own data as they are found: several endings, hidden ones, folders that are read-only."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import run_experiments
from tests.own_domains import config_of, own_domains, write_images
from tests.test_mistakes import refused
from tests.test_own_data import IDS, NAMES, train_own
from tests.tiny_runs import files_below, read_only
from tools import check_dataset, test
from tools.convert_datasets import custom

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture
def stated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return own_domains(NAMES, IDS)


def rename(folder, *endings):
    """Give the images below a folder these endings in turn; what they are inside stays."""
    for path, ending in zip(files_below(folder), endings * 4, strict=False):
        path.rename(path.with_suffix(ending))


def test_images_with_several_endings(stated, capsys):
    rename('mine/photos', '.jpg', '.png', '.PNG', '.JPG')
    rename('theirs/train', '.png')
    rename('theirs/val', '.JPEG', '.png')
    stated['source']['img_suffix'] = ['.jpg', '.png']
    stated['target']['img_suffix'] = ['.jpg', '.png']
    stated['val']['img_suffix'] = ['.jpeg', '.png']
    run = train_own(config_of(**stated))
    index = json.loads(Path('mine/sample_class_stats_dict.json').read_text())
    assert sorted(index) == [f'masks/day_{i % 2}/00{i}_labelTrainIds.png' for i in (0, 2, 1, 3)]
    assert run.log('val')
    check_dataset.main(['own.json', '--full', '--nproc', '1'])
    shown = capsys.readouterr()
    assert 'data.train.source: 4 images, 4 decoded' in shown.out
    assert 'data.val: 2 images, 2 decoded' in shown.out
    Path('theirs/val/day_0/new.webp').write_bytes(Path('theirs/val/day_0/000.JPEG').read_bytes())
    test.main([run.config, run.checkpoint, '--show-dir', 'preds'])
    shown = capsys.readouterr().err
    assert 'Warning: theirs/val: 1 image(s) are not used' in shown and ': day_0/new.webp.' in shown
    assert [str(path) for path in files_below('preds')] == [
        'preds/day_0/000.png',
        'preds/day_1/001.png',
    ]


def test_images_that_are_not_taken_are_reported(stated, capsys):
    rename('theirs/train', '.jpg', '.PNG', '.jpg', '.png')
    custom.main([config_of(**stated), '--nproc', '1'])
    check_dataset.main(['own.json'])
    says = (
        'Warning: theirs/train: 2 image(s) are not used, since their names do not end in *.jpg: '
        'day_0/002.PNG, day_1/003.png. To use them, add .PNG, .png to '
        "img_suffix (a list in type='OwnDataset')."
    )
    assert says in capsys.readouterr().err
    run_experiments.main(['--config', 'own.json'])
    assert says in capsys.readouterr().err
    # As it says.
    stated['target']['img_suffix'] = ['.jpg', '.png']
    check_dataset.main([config_of(**stated)])
    shown = capsys.readouterr()
    assert 'data.train.target: 4 images' in shown.out and 'not used' not in shown.err


def test_two_images_with_one_label(stated, capsys):
    stated['source']['img_suffix'] = ['.jpg', '.png']
    write_images('mine/photos', 2, suffix='.png')
    says = 'mine/photos has day_0/000.jpg and day_0/000.png, whose label and prediction would be'
    with pytest.raises(SystemExit, match=f'Error: .*{says}'):
        custom.main([config_of(**stated), '--nproc', '1'])
    with refused(says):
        run_experiments.main(['--config', 'own.json'])
    # Labels beside their images are no images, whatever the endings are.
    for path in files_below('mine/photos'):
        path.unlink()
    write_images('mine/masks', 4)
    stated['source']['img_dir'] = 'masks'
    custom.main([config_of(**stated), '--nproc', '1'])
    check_dataset.main(['own.json'])
    shown = capsys.readouterr().out
    assert 'data.train.source: 4 images' in shown


@pytest.mark.parametrize(
    ('kind', 'key', 'says'),
    [
        ('CustomDataset', 'img_suffix', "a list is for type='OwnDataset', not CustomDataset"),
        ('GTADataset', 'img_suffix', "a list is for type='OwnDataset', not GTADataset"),
        ('OwnDataset', 'seg_map_suffix', 'it has to be text'),
    ],
)
def test_one_ending_where_several_are_given(stated, kind, key, says):
    del stated['source']['id_map']
    stated['source'].update({'type': kind, key: ['.jpg', '.png']})
    if kind == 'GTADataset':
        stated['classes'] = ['car', 'road', 'sky', 'person']
    config = config_of(**stated)
    with refused(key, "['.jpg', '.png']", says):
        run_experiments.main(['--config', config])


@pytest.mark.parametrize('has_map', [True, False])
def test_own_data_in_a_read_only_folder(stated, capsys, has_map):
    if not has_map:
        for data_set, labels in (('source', 'mine/masks'), ('val', 'theirs/val_masks')):
            del stated[data_set]['id_map']
            for path in files_below(labels):
                Image.fromarray(np.asarray(Image.open(path)) % 4).save(path)
    before = [*files_below('mine'), *files_below('theirs')]
    with read_only('mine'), read_only('theirs'):
        with pytest.raises(SystemExit) as stop:
            custom.main([config_of(**stated), '--nproc', '1'])
        assert 'In own.json let data_root name a folder' in stop.value.code
        assert 'Read-only file system' in stop.value.code
        # As it says.
        for data_set in (stated['source'], stated['target'], stated['val']):
            root = Path(data_set['data_root']).absolute()
            data_set['data_root'] = f'made/{root.name}'
            for key in {'img_dir', 'ann_dir'} & set(data_set):
                data_set[key] = f'{root}/{data_set[key]}'
        if has_map:
            stated['source']['train_ids_dir'] = stated['val']['train_ids_dir'] = 'train_ids'
        run = train_own(config_of(**stated))
        check_dataset.main(['own.json'])
        test.main([run.config, run.checkpoint])
    assert run.log('val')
    assert [*files_below('mine'), *files_below('theirs')] == before
    made = {str(path.relative_to('made')) for path in files_below('made')}
    assert 'mine/samples_with_class.json' in made
    assert ('theirs/train_ids/day_1/001_labelTrainIds.png' in made) == has_map


def test_hidden_files_of_own_data(stated, capsys):
    for path in [*Path('mine').rglob('*.*'), *Path('theirs').rglob('*.*')]:
        path.with_name(f'._{path.name}').write_bytes(b'of macOS')
        (path.parent / '.ipynb_checkpoints').mkdir(exist_ok=True)
        (path.parent / '.ipynb_checkpoints' / path.name).write_bytes(path.read_bytes())
    custom.main([config_of(**stated), '--nproc', '1'])
    check_dataset.main(['own.json', '--full', '--nproc', '1'])
    shown = capsys.readouterr().out
    assert 'data.train.source: 4 labels' in shown
    assert 'no problems found in 10 images' in shown
    # A list of names is taken by its word.
    Path('theirs/names.txt').write_text('day_0/.ipynb_checkpoints/000\n')
    stated['val']['split'] = 'names.txt'
    custom.main([config_of(**stated), '--nproc', '1'])
    check_dataset.main(['own.json'])
    assert 'data.val: 1 images, 1 decoded' in capsys.readouterr().out


def test_images_that_a_split_does_not_name_are_not_judged(stated, capsys):
    stated['source']['img_suffix'] = ['.jpg', '.png']
    write_images('mine/photos', 2, suffix='.png')
    Path('mine/names.txt').write_text('day_0/002\nday_1/003\n')
    stated['source']['split'] = 'names.txt'
    custom.main([config_of(**stated), '--nproc', '1'])
    check_dataset.main(['own.json'])
    assert 'data.train.source: 2 images' in capsys.readouterr().out
    Path('mine/names.txt').write_text('day_0/000\nnowhere/001\n')
    with refused('mine/photos has day_0/000.jpg and day_0/000.png'):
        run_experiments.main(['--config', 'own.json'])
    Path('mine/photos/day_0/000.png').unlink()
    with refused('nowhere/001_labelTrainIds.png'):
        run_experiments.main(['--config', 'own.json'])


@pytest.mark.parametrize(
    ('content', 'says'),
    [
        (None, 'theirs/names.txt is missing (split'),
        ('', 'theirs/names.txt lists no images'),
        ('day_0/000\nday_1/001.jpg\n', 'day_1/001.jpg.jpg (No such file'),
    ],
)
def test_mistakes_in_a_split(stated, content, says):
    stated['target']['split'] = 'names.txt'
    stated['target']['data_root'] = 'theirs'
    stated['target']['img_dir'] = 'train'
    if content is not None:
        Path('theirs/names.txt').write_text(content, encoding='utf-8')
    custom.main([config_of(**stated), '--nproc', '1'])
    with refused(says):
        run_experiments.main(['--config', 'own.json'])
