"""The class list of a config: stated once, and followed by everything."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import run_experiments
from mmseg.datasets import CityscapesDataset, build_dataset
from mmseg.datasets.file_errors import build_files
from mmseg.datasets.rare_class_sampling import ClassIndex, RareClassSampler, pixels_of_ratio
from mmseg.engine.checks.config import check_keys, check_values
from mmseg.engine.class_lists import class_list
from mmseg.engine.config import load_config
from mmseg.engine.trained import load_trained
from mmseg.utils.drawing import distinct_palette
from mmseg.utils.user_error import UserError
from tests.own_domains import BASES, config_of
from tests.test_mistakes import refused
from tests.tiny_runs import CHECKOUT, SMALL_UDA, UDA_CONFIG, TrainedRun, run_experiment
from tools import check_dataset, test

OWN = str(CHECKOUT / 'configs/own_data/uda_mitb5.py')
SYNTHIA = {'data.train.source.type': 'SynthiaDataset'}
CLASSES = ['road', 'vehicle', 'plant', 'sky']
CHOICE = ['sky', 'car', 'road']
RCS = 'data.train.rare_class_sampling'


def places(cfg):
    train = cfg.data.train
    return [train.source, train.target, cfg.data.val, cfg.data.test]


def test_it_goes_everywhere():
    cfg = load_config(OWN)
    check_keys(cfg, OWN)
    check_values(cfg, OWN)
    assert all(dataset.classes == CLASSES for dataset in places(cfg))
    assert all(dataset.palette == cfg.palette for dataset in places(cfg))
    assert cfg.model.decode_head.num_classes == 4
    assert cfg.uda.imnet_feature_dist_classes == [1]


def test_a_resolved_config_is_the_same(tmp_path):
    cfg = load_config(OWN)
    path = tmp_path / 'resolved.json'
    path.write_text(json.dumps(cfg._cfg_dict.to_dict()))
    again = load_config(str(path))
    assert json.dumps(again._cfg_dict.to_dict()) == json.dumps(
        {**cfg._cfg_dict.to_dict(), 'name': again.name}
    )


def test_published_configs_state_none():
    cfg = load_config(str(UDA_CONFIG))
    assert all('classes' not in dataset for dataset in places(cfg))
    assert cfg.model.decode_head.num_classes == 19
    assert class_list(cfg.data.val)[0] == list(CityscapesDataset.CLASSES)


def test_heads_of_all_kinds_follow():
    auxiliary = dict(type='FCNHead', in_channels=64, in_index=0, channels=8, num_classes=19)
    cfg = load_config(OWN, {'model.auxiliary_head': [auxiliary]})
    assert cfg.model.auxiliary_head[0]['num_classes'] == 4


def test_names_of_things_on_a_published_list():
    names = {'uda.imnet_feature_dist_classes': ['person', 'car', 0]}
    assert load_config(str(UDA_CONFIG), names).uda.imnet_feature_dist_classes == [11, 13, 0]


@pytest.mark.parametrize(
    ('path', 'overrides', 'says'),
    [
        (OWN, {'classes': ['road']}, 'classes is .* has to be a list of 2 to 255 different names'),
        (OWN, {'classes': 'road'}, "classes is 'road'; it has to be a list"),
        (OWN, {'classes': ['a', 'b', 'a', 'c']}, 'has to be a list of 2 to 255 different names'),
        (OWN, {'classes': CLASSES[:3]}, 'palette has to be a list of 3 RGB colours'),
        (OWN, {'palette': [[0, 0, 256]] * 4}, 'palette has to be a list of 4 RGB colours'),
        (OWN, {'data.val.classes': ['a', 'b']}, r'data.val.classes is \[.*state the class list on'),
        (OWN, {'uda.imnet_feature_dist_classes': ['vehicel']},
         "uda.imnet_feature_dist_classes names 'vehicel'; the classes are "),
        (str(UDA_CONFIG), {'classes': ['road', 'cars']},
         r"data.train.source.classes \(a choice of its data set's classes\) names 'cars'; "
         'the classes are road'),
        (str(UDA_CONFIG), {'data.val.classes': CHOICE}, 'have different classes: .*once'),
    ],
)  # fmt: skip
def test_lists_that_cannot_be(path, overrides, says):
    with pytest.raises(UserError, match=rf'^config \S*\.py: .*{says}'):
        load_config(path, overrides)


@pytest.mark.parametrize(
    ('overrides', 'says'),
    [
        ({'model.decode_head.num_classes': 7},
         r'num_classes is 7 in a head of model, but the data sets have 19 classes'),
        ({'data.val.type': 'ADE20KDataset'}, r'and data.val \(ADE20KDataset, 150\) have diff'),
    ],
)  # fmt: skip
def test_published_lists_that_do_not_fit(overrides, says):
    with pytest.raises(UserError, match=says):
        check_values(load_config(str(UDA_CONFIG), overrides), str(UDA_CONFIG))


def test_own_data_sets_without_any_list():
    cfg = load_config(OWN)
    content = cfg._cfg_dict.to_dict()
    for dataset in places(cfg):
        del dataset['classes']
    with pytest.raises(UserError, match=r'data.train.source \(OwnDataset\) has no class list'):
        check_values(cfg, OWN)
    with pytest.raises(UserError, match='OwnDataset needs data_root and'):
        build_dataset(cfg.data.train.target)
    assert content['classes']


def test_a_choice_of_published_classes_trains_and_is_tested(workplace, one_thread, capsys):
    choice = 'classes=sky,car,road'
    options = ('uda.imnet_feature_dist_classes=car', f'{RCS}.min_pixels=0.001')
    run_experiment(UDA_CONFIG, choice, *options[1:])
    run = TrainedRun(Path())
    log = Path(next(Path(run.work_dir).glob('*.log'))).read_text()
    assert 'more than 127 pixels of the class' in log  # 0.001 of 480×264
    drawn = log.split('drawn): ')[1].split('; from images')[0]
    assert {part.split(': ')[0] for part in drawn.split('%, ') if ': ' in part} == {*CHOICE}
    found = test.main([run.config, run.checkpoint, '--show-dir', 'preds'])
    assert [key[4:] for key in found if key.startswith('IoU.')] == CHOICE
    colors = {tuple(CityscapesDataset.PALETTE[i]) for i in (10, 13, 0)}
    (picture, *_) = sorted(Path('preds').rglob('*.png'))
    seen = np.unique(np.array(Image.open(picture).convert('RGB')).reshape(-1, 3), axis=0)
    assert {tuple(color) for color in seen.tolist()} <= colors

    capsys.readouterr()
    check_dataset.main([str(UDA_CONFIG), '--cfg-options', choice, options[1]])
    shown = capsys.readouterr().out
    assert 'no problems' in shown and ' car: ' in shown and 'person' not in shown
    assert 'more than 127 pixels' in shown


def test_a_choice_is_read_and_counted_as_chosen(street_scenes):
    cfg = load_config(str(UDA_CONFIG), {'classes': CHOICE})
    source = dict(cfg.data.train.source, data_root=str(street_scenes / 'gta'))
    source['pipeline'] = source['pipeline'][:2]
    dataset = build_files(source)
    raw = cv2.imread(str(street_scenes / 'gta/labels/00001_labelTrainIds.png'), 0)
    label = dataset[0]['gt_semantic_seg']
    assert np.array_equal(dataset.get_gt_seg_map_by_idx(0), label)
    for old, new in ((10, 0), (13, 1), (0, 2)):
        assert np.array_equal(raw == old, label == new)
    assert set(np.unique(label)) <= {0, 1, 2, 255}

    names = [info['ann']['seg_map'] for info in dataset.img_infos]
    index = ClassIndex(dataset.data_root, names, dataset.ann_dir, 50, dataset.label_map)
    sampler = RareClassSampler([index], 1.0)
    assert set(sampler.classes) == {0, 1, 2}
    for new in (0, 1, 2):
        holding = [
            i for i in range(len(names)) if (dataset.get_gt_seg_map_by_idx(i) == new).sum() > 50
        ]
        assert sampler.images_with_class[new][0].tolist() == holding


def test_an_own_target_beside_a_published_source_shares_its_classes(workplace, one_thread):
    bases = [f'{CHECKOUT}/configs/_base_/{base}.py' for base in BASES]
    Path('mixed.py').write_text(f"""_base_ = {bases}
source = dict(
    _delete_=True, type='GTADataset', data_root='data/street_scenes/gta/', img_dir='images',
    ann_dir='labels', pipeline={{{{_base_.source_train_pipeline}}}},
)
target = dict(
    data_root='data/street_scenes/cityscapes/', img_dir='leftImg8bit/train', img_suffix='.png'
)
rcs = dict(min_pixels=0, class_temp=1, min_crop_ratio=0.5)
data = dict(train=dict(source=source, target=target, rare_class_sampling=rcs))
uda = dict(imnet_feature_dist_classes=['car'])
runner = dict(type='IterBasedRunner', max_iters=4)
checkpoint_config = dict(interval=4)
optimizer_config = None
""")
    for choice, names in (('None', list(CityscapesDataset.CLASSES)), ('sky,car,road', CHOICE)):
        options = [o for o in SMALL_UDA if 'evaluation' not in o]
        run_experiments.main(
            ['--config', 'mixed.py', '--work-dir', f'run_{len(names)}', '--cfg-options',
             f'classes={choice}', *options]
        )  # fmt: skip
        segmentor = load_trained(None, f'run_{len(names)}/latest.pth', torch.device('cpu'))
        assert names == segmentor.CLASSES and segmentor.num_classes == len(names)


def test_a_wrong_choice_is_one_line(workplace):
    with refused('names', "'cars'; the classes are road, "):
        run_experiments.main(
            ['--config', str(UDA_CONFIG), '--cfg-options', 'classes=road,cars']
        )  # fmt: skip


@pytest.mark.parametrize('share', [0.001, 0.3])
def test_a_share_is_of_the_image_before_and_after_resizing(street_scenes, share, monkeypatch):
    cfg = load_config(str(UDA_CONFIG), {f'{RCS}.min_pixels': share})
    train = cfg.data.train
    train.rare_class_sampling.min_crop_ratio = 0.1
    for part, root in (('source', 'gta'), ('target', 'cityscapes')):
        train[part].data_root = str(street_scenes / root)
    if share == 0.3:  # no rare class has it
        with pytest.raises(UserError, match='more than min_pixels=38016 pixels'):
            build_dataset(train)
        return
    dataset = build_dataset(train)
    assert dataset.sampler.min_pixels == [round(share * 480 * 264)]
    asked = []

    def crop(random_crop, results, class_id, min_pixels, tries):
        asked.append((results['img'].shape, min_pixels))
        return random_crop(results)

    monkeypatch.setattr('mmseg.datasets.uda_dataset.crop_with_class', crop)
    dataset[0]
    ((shape, min_pixels),) = asked
    assert shape[:2] == (176, 320)
    assert min_pixels == pytest.approx(share * 0.1 * 176 * 320)


def test_a_share_is_of_the_median_label(tmp_path):
    names = [f'{i}.png' for i in range(5)]
    for name, size in zip(names, [(10, 10), (20, 20), (40, 10), (1000, 1000), (20, 20)],
                          strict=True):  # fmt: skip
        Image.new('L', size).save(tmp_path / name)
    assert pixels_of_ratio(0.1, names, str(tmp_path)) == 40
    assert pixels_of_ratio(3000, names, str(tmp_path)) == 3000


def test_chosen_colours_can_be_told_apart():
    for count, distance in ((4, 150), (19, 120), (30, 80), (255, 40)):
        colors = np.array([[0, 0, 0], *distinct_palette(count)], float)
        apart = np.linalg.norm(colors[:, None] - colors[None], axis=-1)
        assert apart[~np.eye(count + 1, dtype=bool)].min() > distance
    assert distinct_palette(30)[:4] == distinct_palette(4)


def test_the_config_that_is_written_for_tests_is_complete(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = config_of(['a', 'b'], dict(data_root='x', img_dir='y', ann_dir='z'),
                     dict(data_root='x', img_dir='y'))  # fmt: skip
    cfg = load_config(path)
    check_keys(cfg, path)
    check_values(cfg, path)
