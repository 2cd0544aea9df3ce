"""Several sources and targets, domain generalisation's data, and a target with a few labels."""

import json
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import run_experiments
from mmseg.datasets import CityscapesDataset
from mmseg.datasets.dataloader import RunBatches, build_loader
from mmseg.datasets.rare_class_sampling import class_probabilities
from mmseg.datasets.target_sets import choose_labelled
from mmseg.datasets.uda_dataset import DGDataset, UDADataset
from mmseg.engine.checks.config import check_keys, check_values
from mmseg.engine.config import load_config
from mmseg.utils.user_error import UserError
from tests.own_domains import config_of, own_domains
from tests.test_mistakes import refused
from tests.tiny_runs import (
    CHECKOUT,
    SMALL,
    UDA_CONFIG,
    TrainedRun,
    assert_same_steps,
    noted_steps,
    run_experiment,
)
from tools import check_dataset, report
from tools.convert_datasets import class_index, custom
from tools.convert_datasets.train_ids import write_class_index

ROAD, CAR, BUS, TRAIN = 0, 13, 15, 16
RCS = dict(min_pixels=10, class_temp=0.5, min_crop_ratio=0.5)
NORM = dict(type='Normalize', mean=[0.0] * 3, std=[1.0] * 3, to_rgb=False)
SIZE = (24, 32)


def pipeline(with_labels):
    """A whole image without changes, so that its pixels say which image it is."""
    keys = ['img', 'gt_semantic_seg'] if with_labels else ['img']
    return [
        dict(type='LoadImageFromFile'),
        *([dict(type='LoadAnnotations')] if with_labels else []),
        dict(type='Resize', img_scale=SIZE[::-1]),
        dict(type='RandomCrop', crop_size=SIZE),
        dict(type='RandomFlip', prob=0.0),
        NORM,
        dict(type='DefaultFormatBundle'),
        dict(type='Collect', keys=keys),
    ]


def make_set(root, code, labels):
    """Images whose first pixel is (code, number), with labels of one class each beside road."""
    counts, files = [], []
    for number, train_id in enumerate(labels):
        image = np.zeros((*SIZE, 3), np.uint8)
        image[0, 0] = code, number, 0
        label = np.full(SIZE, ROAD, np.uint8)
        label[:6] = train_id
        for folder, pixels, suffix in (('i', image, '.png'), ('l', label, '_labelTrainIds.png')):
            path = Path(root, folder, f'{number:03d}{suffix}')
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), pixels)
        files.append(path)
        counts.append(
            {int(c): int(n) for c, n in zip(*np.unique(label, return_counts=True), strict=True)}
        )
    write_class_index(Path(root), files, counts, Path(root, 'l'))
    return dict(
        type='GTADataset', data_root=str(root), img_dir='i', ann_dir='l', pipeline=pipeline(True)
    )


def target_of(config):
    return {**config, 'pipeline': pipeline(False)}


def which(img):
    """The set's code and the image's number that pixels say."""
    code, number = img.data[:2, 0, 0].int().tolist()
    return code, number


@pytest.fixture
def sets(tmp_path):
    return [
        make_set(tmp_path / 'one', 10, [CAR] * 18 + [BUS] * 2),
        make_set(tmp_path / 'two', 20, [CAR, CAR, BUS, TRAIN, TRAIN]),
    ]


@pytest.mark.parametrize(('uniform_over', 'ratio'), [('images', 20 / 25), ('sets', 1 / 2)])
def test_pairs_are_uniform_over_images_or_over_sets(sets, uniform_over, ratio):
    targets = [target_of(config) for config in sets]
    dataset = UDADataset(sets, targets, uniform_over=uniform_over, seed=3)
    assert len(dataset) == 25 * 25
    drawn = [dataset.draw(i)[1:] for i in range(3000)]
    for position in (0, 1):
        sets_drawn = Counter(dataset.sources.set_of(pair[position]) for pair in drawn)
        assert sets_drawn[0] / 3000 == pytest.approx(ratio, abs=0.04)
        assert {pair[position] for pair in drawn} == set(range(25))
    together = sum(s < 20 and t < 20 for s, t in drawn) / 3000
    assert together == pytest.approx(ratio**2, abs=0.04)  # drawn independently


def test_a_sample_is_of_the_image_that_is_drawn(sets):
    dataset = UDADataset(sets, [target_of(sets[1]), target_of(sets[0])])
    seen = set()
    for number in range(60):
        _, source, target = dataset.draw(number)
        sample = dataset[number]
        expected = (10, source) if source < 20 else (20, source - 20)
        assert which(sample['img']) == expected
        assert which(sample['target_img']) == ((20, target) if target < 5 else (10, target - 5))
        label = sample['gt_semantic_seg'].data
        assert label.unique().tolist() == sorted({ROAD, int(label[0, 0, 0])})
        assert sample['img_metas'].data['filename'].endswith(f'i/{expected[1]:03d}.png')
        seen.add((expected[0], target < 5))
    assert len(seen) == 4


@pytest.mark.parametrize('workers', [0, 3])
def test_sample_i_is_a_function_of_seed_and_i(sets, workers):
    dataset = UDADataset(sets, [target_of(config) for config in sets], RCS, seed=5)
    batches = build_loader(dataset, RunBatches(4, 8, 2), workers, torch.device('cpu'))
    again = UDADataset(sets, [target_of(config) for config in sets], RCS, seed=5)
    for position, batch in enumerate(batches):
        for i in range(2):
            sample = again[2 * (4 + position) + i]
            assert torch.equal(batch['img'][i], sample['img'].data)
            assert torch.equal(batch['target_img'][i], sample['target_img'].data)


def test_classes_are_counted_over_all_sources(sets):
    sampler = DGDataset(sets, RCS).sampler
    pixels = {ROAD: 25 * 18, CAR: 20 * 6, BUS: 3 * 6, TRAIN: 2 * 6}
    ratios = {c: n / sum(pixels.values()) for c, n in pixels.items()}
    assert sampler.classes == [TRAIN, BUS, CAR, ROAD]
    assert sampler.ratios == pytest.approx([ratios[c] for c in sampler.classes])
    expected = class_probabilities(sampler.ratios, RCS['class_temp'])
    assert sampler.probabilities == pytest.approx(expected)
    (buses,), (trains,) = sampler.images_with_class[BUS], sampler.images_with_class[TRAIN]
    assert buses.tolist() == [18, 19, 22] and trains.tolist() == [23, 24]


def test_rare_classes_uniform_over_sets(sets):
    dataset = DGDataset(sets, RCS, uniform_over='sets')
    drawn = [dataset.draw(i) for i in range(4000)]
    images = [index for class_id, index in drawn if class_id == BUS]
    assert np.mean([index < 20 for index in images]) == pytest.approx(0.5, abs=0.06)
    assert {index for class_id, index in drawn if class_id == TRAIN} == {23, 24}
    for number in range(20):  # the sample has the class that was drawn
        class_id, index = dataset.draw(number)
        sample = dataset[number]
        assert (sample['gt_semantic_seg'].data == class_id).any()
        assert which(sample['img'])[0] == (10 if index < 20 else 20)


def test_one_set_in_a_list_is_as_one_without(sets):
    one = UDADataset(sets[0], target_of(sets[1]), RCS, seed=2)
    other = UDADataset([sets[0]], [target_of(sets[1])], RCS, seed=2, uniform_over='sets')
    assert [one.draw(i) for i in range(50)] == [other.draw(i) for i in range(50)]


def test_margins_of_one_of_several_targets(sets):
    targets = [{**target_of(sets[0]), 'crop_pseudo_margins': [2, 0, 0, 0]}, target_of(sets[1])]
    dataset = UDADataset(sets, targets, uniform_over='sets')
    seen = {}
    for number in range(20):
        sample = dataset[number]
        code, _ = which(sample['target_img'])
        seen[code] = sample['valid_pseudo_mask'].float().mean().item()
    assert seen == {10: pytest.approx(22 / 24), 20: 1.0}


# Domain generalisation


def test_domain_generalisation_has_no_target(sets):
    dataset = DGDataset(sets[0], RCS, seed=7)
    assert len(dataset) == 20 and dataset.CLASSES == CityscapesDataset.CLASSES
    with_target = UDADataset(sets[0], target_of(sets[1]), RCS, seed=7)
    for number in range(6):
        sample, pair = dataset[number], with_target[number]
        assert {*sample} == {'img', 'img_metas', 'gt_semantic_seg'}
        assert torch.equal(sample['img'].data, pair['img'].data)


# A few labels of the target


def test_a_fraction_is_drawn_from_the_seed():
    names = [f'{i}.png' for i in range(160)]
    chosen = choose_labelled('1/16', names, seed=1)
    assert len(chosen) == 10 == len(set(chosen)) and chosen == sorted(chosen)
    assert chosen == choose_labelled(1 / 16, names, seed=1) != choose_labelled('1/16', names, 2)
    assert choose_labelled('1/1000', names, seed=1) != []  # one at least
    # More labels keep those that there were, so that studies compare like with like.
    assert set(chosen) < set(choose_labelled('1/4', names, seed=1))


def test_labelled_images_by_name(tmp_path):
    names = ['a/1.png', 'a/2.png', 'b/1.png']
    assert choose_labelled(['b/1.png', 'a/1'], names, 0) == [0, 2]
    (tmp_path / 'few.txt').write_text('a/2.png\n\n')
    assert choose_labelled('few.txt', names, 0, str(tmp_path)) == [1]
    assert choose_labelled(str(tmp_path / 'few.txt'), names, 0) == [1]
    for labelled, says in (
        (['c/1.png'], "'c/1.png', which is no image"),
        ('none.txt', 'is no file'),
        ('3/2', 'above 0 and at most 1'),
    ):
        with pytest.raises(UserError, match=says):
            choose_labelled(labelled, names, 0, str(tmp_path))


def test_samples_hold_an_image_with_its_label(sets):
    target = {**target_of(sets[1]), 'labelled': ['002.png', '003.png']}
    dataset = UDADataset(sets[0], target, RCS)
    plain = UDADataset(sets[0], target_of(sets[1]), RCS)
    seen = set()
    for number in range(12):
        sample = dataset[number]
        code, image = which(sample['labelled_img'])
        label = sample['labelled_gt_semantic_seg'].data
        assert code == 20 and set(label.unique().tolist()) == {ROAD, {2: BUS, 3: TRAIN}[image]}
        seen.add(image)
        assert torch.equal(sample['target_img'].data, plain[number]['target_img'].data)
    assert seen == {2, 3}


def test_sync_crops_cut_the_labelled_image_too(sets):
    target = {**target_of(sets[1]), 'labelled': '1/2'}
    sample = UDADataset(sets[0], target, sync_crop_size=(8, 8))[0]
    shapes = {key: tuple(v.data.shape) for key, v in sample.items() if 'metas' not in key}
    assert all(shape[-2:] == (8, 8) for shape in shapes.values()) and len(shapes) == 5


# In runs


def several(labelled=None, **train):
    """Write a config with two sources and two targets of StreetScenes; return its path."""
    cfg = load_config(str(UDA_CONFIG))._cfg_dict.to_dict()['data']['train']
    source, target = cfg['source'], cfg['target']
    as_source = {**target, 'ann_dir': 'gtFine/train', 'pipeline': source['pipeline']}
    more = {**target, 'img_dir': 'leftImg8bit/val', 'ann_dir': 'gtFine/val', 'labelled': labelled}
    train = {'source': [source, as_source], 'target': [target, more], **train}
    content = {'_base_': [str(UDA_CONFIG)], 'data': {'train': train}, 'name': 'several'}
    Path('several.json').write_text(json.dumps(content))
    return 'several.json'


def generalising(**uda):
    """Write a config of domain generalisation from two sources; return its path."""
    train = json.loads(Path(several()).read_text())['data']['train']
    train = {'_delete_': True, 'type': 'DGDataset', 'source': train['source']}
    train['rare_class_sampling'] = RCS
    content = {'_base_': [str(UDA_CONFIG)], 'data': {'train': train}, 'name': 'dg', 'uda': uda}
    Path('dg.json').write_text(json.dumps(content))
    return 'dg.json'


def test_a_run_with_lists_and_a_few_labels(workplace, one_thread):
    with pytest.MonkeyPatch.context() as patch:
        steps = noted_steps(patch)
        run_experiment(several(labelled='1/3', uniform_over='sets'))
    run = TrainedRun(workplace)
    (listed,) = Path(run.work_dir, 'labelled_target_1.txt').read_text().split()
    for step in steps.values():
        assert step['labelled.decode.loss_ce'] > 0 and step['mix.decode.loss_ce'] > 0
        total = sum(v for k, v in step.items() if k.endswith(('loss_ce', 'loss_imnet_feat_dist')))
        assert step['loss'] == pytest.approx(total)
    assert set(run.log('train')[0]) >= {'labelled.decode.loss_ce', 'labelled.decode.acc_seg'}
    found = json.loads(Path(run.work_dir, 'evaluation/rare_class_sampling.json').read_text())
    assert [s['images'] for s in found['sources']] == [8, 6]
    assert sum(s['drawn'] for s in found['sources']) == sum(found['drawn']) == 8
    page = Path(report.main([run.work_dir])).read_text()
    assert all(s['name'] in page for s in found['sources']) and 'samples drawn' in page
    # The list that was written down is what may be given again.
    again = load_config(several(labelled=[listed], uniform_over='sets'))
    (labelled,) = UDADataset(**_arguments(again)).labelled.datasets
    assert [info['filename'] for info in labelled.img_infos] == [listed]


def _arguments(cfg):
    return {key: value for key, value in cfg.data.train.items() if key != 'type'}


@pytest.mark.long
def test_workers_and_a_resume_change_nothing(workplace, one_thread):
    paths = []
    for name, options in {'a': [], 'b': ['data.workers_per_gpu=2']}.items():
        Path(name).mkdir()
        arguments = ('--work-dir', f'work_dirs/runs/{name}')
        with pytest.MonkeyPatch.context() as patch:
            steps = noted_steps(patch)
            run_experiment(several(labelled='1/3'), *options, arguments=arguments)
        paths.append((steps, torch.load(f'work_dirs/runs/{name}/latest.pth', weights_only=True)))
    assert_same_steps(paths[0][0], paths[1][0])


def test_a_run_of_domain_generalisation(workplace, one_thread):
    run_experiment(generalising(source_only=True))
    run = TrainedRun(workplace)
    logged = run.log('train')[0]
    assert 'decode.loss_ce' in logged and 'mix.decode.loss_ce' not in logged
    assert run.log('val')[-1]['mIoU'] >= 0


@pytest.mark.long
def test_several_sources_without_a_method(workplace, one_thread):
    path = generalising()
    content = json.loads(Path(path).read_text())
    content['uda'] = None
    Path(path).write_text(json.dumps(content))
    run_experiments.main(['--config', path, '--cfg-options', *SMALL])
    run = TrainedRun(workplace)
    assert run.log('train')[0]['decode.loss_ce'] > 0 and run.log('val')
    assert Path(run.work_dir, 'evaluation/rare_class_sampling.json').is_file()


def test_domain_generalisation_of_a_method_with_a_target_is_refused(workplace):
    path = generalising()
    with refused("uda.type='DACS' needs a target", 'uda.source_only=True'):
        run_experiment(path)
    path = generalising(source_only=True)
    with refused('data.train.sync_crop_size: nothing reads this key'):
        run_experiment(path, 'data.train.sync_crop_size=64,64')


@pytest.mark.parametrize(
    ('train', 'says'),
    [
        (dict(uniform_over='pixels'), ["uniform_over is 'pixels'", "'images', 'sets'"]),
        (dict(source=[]), ['data.train.source is []']),
        (dict(labelled='5/4'), ['labelled', 'above 0 and at most 1']),
        (dict(labelled=['gone']), ["'gone', which is no image"]),
        (dict(labelled=0), ['data.train.target[1].labelled is 0', "'1/16'"]),
    ],
)
def test_mistakes(workplace, train, says):
    path = several(**train)
    with refused(*says):
        run_experiment(path)


def test_labels_that_are_missing_are_found_before_the_run(own_data):
    path = several(labelled='1/1')
    label = next((own_data / 'cityscapes/gtFine/val').rglob('*_labelTrainIds.png'))
    label.unlink()
    with refused('have no label', label.name):
        run_experiment(path)


def test_other_classes_in_one_of_the_sources(workplace):
    path = several()
    content = json.loads(Path(path).read_text())
    content['data']['train']['source'][1]['classes'] = ['road', 'car']
    Path(path).write_text(json.dumps(content))
    with refused('data.train.source[1]', 'different classes'):
        run_experiment(path)


def test_checked_and_measured(workplace, capsys):
    path = several(labelled='1/3')
    options = ['--cfg-options', 'data.train.rare_class_sampling.min_pixels=0']
    check_dataset.main([path, *options])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(': ')[0] for line in lines if ' images, ' in line] == [
        'data.train.source[0]', 'data.train.source[1]', 'data.train.target[0]',
        'data.train.target[1]', 'data.train.target[1]', 'data.val',
    ]  # fmt: skip
    (summary,) = [line for line in lines if line.startswith('Rare Class Sampling')]
    assert 'road: ' in summary


def test_a_list_of_training_sets_names_the_way(workplace):
    Path('list.py').write_text(
        f"_base_ = ['{UDA_CONFIG}']\ndata = dict(train=[dict(type='GTADataset')])\n"
    )
    with pytest.raises(UserError, match=r'data.train is .*DGDataset'):
        load_config('list.py')


def test_sources_with_one_root_share_its_class_index(workplace, street_scenes):
    """Night and fog of ACDC: one index of both, of which each reads its own."""
    from tools import make_street_scenes

    root = workplace / 'styles'
    sizes = ['--num-source', '0', '--num-target', '2', '--num-val', '1']
    make_street_scenes.main([str(root), *sizes, '--styles', 'night', 'fog', '--nproc', '1'])
    content = json.loads(Path(several()).read_text())
    source = content['data']['train']['source'][0]
    acdc = {**source, 'type': 'ACDCDataset', 'data_root': str(root / 'acdc')}
    acdc |= {'img_dir': 'rgb_anon/train', 'ann_dir': 'gt/train'}
    sources = [{**acdc, 'conditions': condition} for condition in ('night', 'fog')]
    content['data']['train'].update(source=sources, rare_class_sampling=RCS)
    Path('shared.json').write_text(json.dumps(content))
    class_index.main(['shared.json', '--nproc', '1'])
    check_dataset.main(['shared.json'])
    cfg = load_config('shared.json')
    dataset = UDADataset(**_arguments(cfg))
    (images,) = dataset.sampler.images_with_class[ROAD]
    assert images.tolist() == [0, 1, 2, 3]
    counted = sum((dataset.sources[i]['gt_semantic_seg'].data == ROAD).sum() > 0 for i in range(4))
    assert counted > 0 and 'night' in dataset.sources.names[0]


def test_own_targets_with_a_few_labels_are_converted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = own_domains(['road', 'car'], dict(road=7, car=[26, 27]))
    target = {**content['val'], 'labelled': '1/2', 'crop_pseudo_margins': [1, 0, 0, 0]}
    path = config_of(**{**content, 'target': target})
    custom.main([path, '--nproc', '1'])
    dataset = UDADataset(**_arguments(load_config(path)))
    assert len(dataset.labelled) == 1
    assert set(np.unique(dataset[0]['labelled_gt_semantic_seg'].data)) <= {0, 1, 255}


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        (dict(train=dict(source=dict(_delete_=True, a=dict(type='GTADataset')))), 'only data.val'),
        (dict(val=[dict(type='GTADataset')]), 'data.val is '),
        (dict(val='cityscapes'), 'data.val is '),
    ],
)
def test_lists_and_names_stand_where_they_can(workplace, changes, says):
    Path('mixed.json').write_text(
        json.dumps({'_base_': [str(UDA_CONFIG)], 'data': changes, 'name': 'mixed'})
    )
    with pytest.raises(SystemExit, match=says):
        run_experiment('mixed.json')


@pytest.mark.parametrize(
    ('place', 'change', 'says'),
    [
        ('target', dict(crop_size=(96, 96)), r'source\[0\] .*target\[1\] make images of 128×128'),
        ('source', dict(mean=[1, 2, 3]), r'source\[0\] .*source\[1\] make mean and std'),
    ],
)
def test_sets_whose_images_fit_no_batch(workplace, one_thread, place, change, says):
    content = json.loads(Path(several()).read_text())
    steps = content['data']['train'][place][1]['pipeline']
    (step,) = [s for s in steps if set(change) & set(s) and s['type'] != 'Pad']
    step.update(change)
    if 'crop_size' in change:
        next(s for s in steps if s['type'] == 'Pad')['size'] = change['crop_size']
    Path('several.json').write_text(json.dumps(content))
    with pytest.raises(SystemExit, match=says):
        run_experiment('several.json')


def test_an_option_of_a_list_has_its_number():
    config = str(CHECKOUT / 'configs/street_scenes/styles_uda_mitb0.py')
    with pytest.raises(UserError, match=r'number, as data\.train\.target\.0\.data_root$'):
        load_config(config, {'data.train.target.data_root': 'x'})
    cfg = load_config(config, {'data.train.target.0.data_root': 'x'})
    assert cfg.data.train.target[0].data_root == 'x'


@pytest.mark.parametrize(
    ('wrong', 'says', 'mended'),
    [
        (dict(test=None), 'data.test is missing', lambda val: dict(test=val)),
        (dict(val=dict(a=dict(b={}))), 'a group of sets', lambda val: dict(val={'a/b': val})),
    ],
)
def test_what_such_messages_advise_is_accepted(wrong, says, mended):
    with pytest.raises(UserError, match=says):
        check_with(wrong)
    check_with(mended(load_config(str(UDA_CONFIG)).data.val))


def check_with(data):
    """Check the UDA config with other entries of ``data``."""
    path = str(UDA_CONFIG)
    cfg = load_config(path)
    for key, value in data.items():
        cfg.data[key] = value
    check_keys(cfg, path)
    check_values(cfg, path)
