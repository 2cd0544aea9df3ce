"""UDADataset, Rare Class Sampling and the loaders, on a handful of small files."""

import gc
import json
import os
import os.path as osp
import shutil
import tracemalloc
from collections import Counter

import cv2
import numpy as np
import pytest
import torch

from mmseg.datasets import build_dataset, rare_class_sampling
from mmseg.datasets.dataloader import RunBatches, build_loader
from mmseg.datasets.rare_class_sampling import (
    MAX_CROP_REDRAWS,
    ClassIndex,
    RareClassSampler,
    class_probabilities,
    class_ratios,
    count_pixels,
)
from mmseg.datasets.synthia import CLASSES_13, CLASSES_16
from mmseg.datasets.uda_dataset import SeededEpochs
from mmseg.utils.seeding import seed_for, seeded_globals
from mmseg.utils.user_error import UserError

GOLDEN = osp.join(osp.dirname(__file__), 'golden')
CPU = torch.device('cpu')
NORM = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
RARE = 17
SOURCE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', img_scale=(96, 64)),
    dict(type='RandomCrop', crop_size=(32, 32), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='Normalize', **NORM),
    dict(type='DefaultFormatBundle'),
    dict(type='Collect', keys=['img', 'gt_semantic_seg']),
]
TARGET = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', img_scale=(64, 48)),
    dict(type='RandomCrop', crop_size=(32, 32)),
    dict(type='RandomFlip', prob=0.5),
    dict(type='Normalize', **NORM),
    dict(type='DefaultFormatBundle'),
    dict(type='Collect', keys=['img']),
]
RCS = dict(min_pixels=50, class_temp=0.01, min_crop_ratio=0.5)


@pytest.fixture
def data(tmp_path):
    """A source of 6 images, one of them with the rare class in a corner, and a target of 4."""
    rng = np.random.default_rng(0)
    for folder in ('source/images', 'source/labels', 'target/images'):
        os.makedirs(tmp_path / folder)
    stats = {}
    for i in range(6):
        label = rng.integers(0, 3, (4, 6)).astype(np.uint8).repeat(16, 0).repeat(16, 1)
        if i == 4:
            label[48:, 80:] = RARE  # 256 pixels
        cv2.imwrite(str(tmp_path / f'source/labels/{i}_labelTrainIds.png'), label)
        # The red channel tells the label, so that crops of both can be compared.
        image = np.stack([label * 0 + i, label * 0, label * 10], axis=2)
        cv2.imwrite(str(tmp_path / f'source/images/{i}.png'), image)
        ids, counts = np.unique(label, return_counts=True)
        stats[f'labels/{i}_labelTrainIds.png'] = {
            str(c): int(n) for c, n in zip(ids, counts, strict=True)
        }
    for i in range(4):
        image = rng.integers(0, 255, (48, 64, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f'target/images/{i}_leftImg8bit.png'), image)
    write_index(tmp_path / 'source', stats)
    return tmp_path


def write_index(root, stats):
    samples = {}
    for file, counts in stats.items():
        for class_id, count in counts.items():
            samples.setdefault(class_id, []).append([file, count])
    (root / 'sample_class_stats.json').write_text(
        json.dumps([{**counts, 'file': file} for file, counts in stats.items()])
    )
    (root / 'samples_with_class.json').write_text(json.dumps(samples))


def uda(data, rcs=RCS, seed=0, source=SOURCE, target=TARGET, resized_dir=None, **changes):
    return build_dataset(
        dict(
            type='UDADataset',
            source=dict(
                type='GTADataset', data_root=str(data / 'source'), img_dir='images',
                ann_dir='labels', pipeline=source,
            ),
            target=dict(
                type='CityscapesDataset', data_root=str(data / 'target'), img_dir='images',
                pipeline=target, **changes,
            ),
            rare_class_sampling=rcs,
            seed=seed,
            resized_dir=resized_dir,
        )
    )  # fmt: skip


def files(sample):
    metas = sample['img_metas'].data, sample['target_img_metas'].data
    return tuple(osp.basename(meta['filename']) for meta in metas)


def same(one, other):
    keys = ('img', 'gt_semantic_seg', 'target_img')
    return all(torch.equal(one[key].data, other[key].data) for key in keys)


@pytest.mark.parametrize('temperature', ['0.01', '0.1', '1.0', 'inf'])
def test_class_probabilities_equal_the_golden_ones(temperature):
    with open(osp.join(GOLDEN, 'rare_class_sampling.json')) as file:
        golden = json.load(file)
    expected = golden['class_probs'][temperature]
    classes, ratios = class_ratios(count_pixels(golden['sample_class_stats']))
    found = class_probabilities(ratios, float(temperature))
    assert classes == expected['classes']
    assert found == pytest.approx(expected['probabilities'], rel=1e-5)


def test_rare_classes_are_drawn_as_often_as_their_probability_says(data):
    sampler = uda(data).sampler
    rng = np.random.default_rng(1)
    drawn = [sampler.draw(rng) for _ in range(2000)]
    share = Counter(class_id for class_id, _ in drawn)
    for class_id, probability in zip(sampler.classes, sampler.probabilities, strict=True):
        spread = np.sqrt(probability * (1 - probability) / len(drawn))
        assert abs(share[class_id] / len(drawn) - probability) < 5 * spread + 1e-9
    assert {image for class_id, image in drawn if class_id == RARE} == {4}


def test_crops_are_redrawn_until_they_hold_the_class(data):
    source = [
        dict(t, prob=0.0) if t['type'] == 'RandomFlip' else t
        for t in SOURCE
        if t['type'] != 'PhotoMetricDistortion'
    ]
    dataset = uda(data, dict(RCS, class_temp=0.001), source=source)
    assert dataset.sampler.probabilities[0] > 0.99  # the rare class nearly always
    holding = 0
    for number in range(60):
        sample = dataset[number]
        label = sample['gt_semantic_seg'].data
        holding += int((label == RARE).sum() > 25)
        # Image and label were cropped alike: the red channel is ten times the label.
        red = sample['img'].data[0] * NORM['std'][0] + NORM['mean'][0]
        assert torch.allclose(red, 10.0 * label[0], atol=1e-3)
    # 9 % of the crops hold more than 25 of its pixels: 5 of 60 at once, 38 of 60 in 11 tries.
    assert 25 < holding < 51


def cropped_by_random_crop(dataset, number):
    """The source's part of a sample, each crop drawn and cut by MMSegmentation's RandomCrop."""
    class_id, index, _ = dataset.draw(number)
    min_pixels, (source,) = dataset.min_crop_pixels, dataset.sources.datasets
    info = source.img_infos[index]
    results = dict(img_info=info, ann_info=info['ann'])
    source.pre_pipeline(results)
    load, load_label, resize, random_crop, *rest = source.pipeline.transforms
    with seeded_globals(seed_for(dataset.seed, 'source', number)):
        results = resize(load_label(load(results)))
        crop, redraws = random_crop(dict(results)), 0
        while redraws < 10 and (crop['gt_semantic_seg'] == class_id).sum() <= min_pixels:
            crop, redraws = random_crop(dict(results)), redraws + 1
        for transform in rest:
            crop = transform(crop)
    return crop, redraws


@pytest.mark.parametrize(
    'changes', [{}, dict(cat_max_ratio=1.0), dict(cat_max_ratio=0.3), dict(ignore_index=0)]
)
def test_crops_are_bit_for_bit_those_of_random_crop(data, changes):
    source = [dict(t, **changes) if t['type'] == 'RandomCrop' else t for t in SOURCE]
    dataset = uda(data, dict(RCS, class_temp=0.5), source=source)
    redraws = []
    for number in range(60):
        sample = dataset[number]
        expected, count = cropped_by_random_crop(dataset, number)
        redraws.append(count)
        for key in ('img', 'gt_semantic_seg'):
            assert torch.equal(sample[key].data, expected[key].data)
        assert str(sample['img_metas'].data) == str(expected['img_metas'].data)
    assert min(redraws) == 0 < sum(redraws) / 60 and max(redraws) == 10


def published_source(dataset, number):
    """The source's part of a sample, with the whole pipeline run again for each rejected crop."""
    class_id, source_index, _ = dataset.draw(number)
    with seeded_globals(seed_for(dataset.seed, 'source', number)):
        for _ in range(MAX_CROP_REDRAWS + 1):
            source = dataset.sources.datasets[0][source_index]
            if (source['gt_semantic_seg'].data == class_id).sum() > dataset.min_crop_pixels:
                break
    return source


def test_crops_are_where_running_the_whole_pipeline_again_puts_them(data):
    """Pearson's chi-square test of homogeneity, on 9 cells for the crop's corner."""
    y, x = np.mgrid[:64, :96].astype(np.uint8)
    cv2.imwrite(str(data / 'source/images/4.png'), np.stack([0 * x, y, x], axis=2))
    plain_colours = dict(mean=[0.0] * 3, std=[1.0] * 3, to_rgb=True)
    source = [
        dict(t, **plain_colours) if t['type'] == 'Normalize'
        else dict(t, prob=0.0) if t['type'] == 'RandomFlip' else t
        for t in SOURCE if t['type'] != 'PhotoMetricDistortion'
    ]  # fmt: skip
    dataset = uda(data, dict(RCS, class_temp=0.001), source=source)  # always image 4

    def count(samples):
        corners = [sample['img'].data[:2, 0, 0].int().tolist() for sample in samples]
        cells = Counter((x // 22, y // 11) for x, y in corners)
        return np.array([cells[i, j] for i in range(3) for j in range(3)])

    ours = count(dataset[i] for i in range(500))
    plain = count(published_source(dataset, i) for i in range(1000, 1500))
    expected = (ours + plain) / 2
    assert expected.min() > 5
    statistic = ((ours - expected) ** 2 / expected + (plain - expected) ** 2 / expected).sum()
    assert statistic < 26.1  # exceeded with probability 0.001 at 8 degrees of freedom


def test_min_crop_ratio_0_takes_the_first_crop(data):
    checked = uda(data, dict(RCS, class_temp=0.001))
    unchecked = uda(data, dict(RCS, class_temp=0.001, min_crop_ratio=0))
    rare = [int((d[i]['gt_semantic_seg'].data == RARE).sum() > 25)
            for d in (checked, unchecked) for i in range(40)]  # fmt: skip
    assert sum(rare[:40]) > sum(rare[40:])


@pytest.mark.parametrize('rcs', [None, RCS])
def test_a_sample_is_a_function_of_seed_and_number(data, rcs):
    dataset, again, other = uda(data, rcs), uda(data, rcs), uda(data, rcs, seed=1)
    np.random.seed(5)
    state = np.random.get_state()[1].copy()
    first = [dataset[i] for i in range(12)]
    assert np.array_equal(np.random.get_state()[1], state)
    again[3]
    for i in reversed(range(12)):
        assert same(first[i], again[i])
    assert any(not same(first[i], other[i]) for i in range(12))
    assert len({files(sample) for sample in first}) > 3


def test_targets_labels_are_never_read(data):
    loads_labels = [TARGET[0], dict(type='LoadAnnotations'), *TARGET[1:-1],
                    dict(type='Collect', keys=['img', 'gt_semantic_seg'])]  # fmt: skip
    plain = uda(data)
    published = uda(data, target=loads_labels, ann_dir='no/such/folder')
    assert all(same(plain[i], published[i]) for i in range(5))


@pytest.mark.parametrize('prefix', ['', 'data/source/', '/somewhere/else/', 'C:\\data\\source\\'])
def test_class_indices_of_older_tools_are_understood(data, prefix):
    stats = json.loads((data / 'source/sample_class_stats.json').read_text())
    changed = {}
    for entry in stats:
        file = prefix + entry.pop('file')
        changed[file.replace('/', '\\') if '\\' in prefix else file] = entry
    expected = uda(data).sampler.images_with_class
    write_index(data / 'source', changed)
    found = uda(data).sampler.images_with_class
    assert list(found) == list(expected)
    assert all(np.array_equal(found[c], images) for c, images in expected.items())


def test_an_index_of_other_data_is_refused(data):
    write_index(data / 'source', {'labels/99_labelTrainIds.png': {'0': 500}})
    with pytest.raises(UserError, match=r'99_labelTrainIds\.png.*other data'):
        uda(data)


def test_a_missing_or_damaged_index_is_named(data):
    path = data / 'source/samples_with_class.json'
    path.write_text('{"0": [[')
    with pytest.raises(UserError, match=r'samples_with_class\.json is damaged'):
        uda(data)
    path.unlink()
    with pytest.raises(UserError, match=r'samples_with_class\.json is damaged or missing'):
        uda(data)


def test_a_class_that_no_image_supplies_is_named(data):
    with pytest.raises(UserError, match=rf'min_pixels=300.*\[{RARE}\]'):
        uda(data, dict(RCS, min_pixels=300))


def test_a_crop_check_needs_a_crop(data):
    with pytest.raises(UserError, match='RandomCrop'):
        uda(data, source=[t for t in SOURCE if t['type'] != 'RandomCrop'])


def test_an_empty_target_is_refused(data):
    with pytest.raises(UserError, match=r'_nothing\.png'):
        uda(data, img_suffix='_nothing.png')


def test_batches_of_all_ranks_are_those_of_one():
    alone = list(RunBatches(3, 6, batch_size=4))
    ranks = [list(RunBatches(3, 6, batch_size=2, rank=r, world_size=2)) for r in range(2)]
    assert alone == [one + other for one, other in zip(*ranks, strict=True)]
    assert alone[0] == [12, 13, 14, 15]


def test_workers_change_nothing_and_batches_are_plain_tensors(data):
    dataset = uda(data)
    batches = [list(build_loader(dataset, RunBatches(0, 3, 2), workers, CPU)) for workers in (0, 2)]
    for one, other in zip(*batches, strict=True):
        assert one['img'].shape == one['target_img'].shape == (2, 3, 32, 32)
        assert one['gt_semantic_seg'].shape == (2, 1, 32, 32)
        assert one['img_metas'][1]['flip'] in (True, False)
        assert all(torch.equal(one[k], other[k]) for k in ('img', 'gt_semantic_seg', 'target_img'))
    again = next(iter(build_loader(dataset, RunBatches(2, 3, 2), 0, CPU)))
    assert torch.equal(again['img'], batches[0][2]['img'])


@pytest.mark.parametrize('workers', [0, 2])
def test_the_class_index_is_read_once_whatever_the_number_of_workers(data, monkeypatch, workers):
    opened = data / 'opened'
    opened.touch()

    def noting_open(path, *args, **kwargs):
        with open(opened, 'a') as file:
            file.write(f'{osp.basename(path)}\n')
        return open(path, *args, **kwargs)

    monkeypatch.setattr(rare_class_sampling, 'open', noting_open, raising=False)
    dataset = uda(data)
    assert len(list(build_loader(dataset, RunBatches(0, 6, 2), workers, CPU))) == 6
    names = ['sample_class_stats.json', 'samples_with_class.json']
    assert sorted(opened.read_text().split()) == names


class CountedImages:
    """The images of a class, counting how often one is looked at; they cannot be gone through."""

    __iter__ = None

    def __init__(self, images):
        self.images, self.looks = images, 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, place):
        assert isinstance(place, int | np.integer)
        self.looks += 1
        return self.images[place]


def test_a_draw_looks_at_one_of_25000_images(tmp_path):
    names = [f'{i:05d}_labelTrainIds.png' for i in range(25_000)]
    write_index(tmp_path, {f'labels/{name}': {'3': 5000, '7': 4000} for name in names})
    sampler = RareClassSampler([ClassIndex(str(tmp_path), names, 'labels', 3000)], class_temp=0.5)
    counted = {c: CountedImages(images) for c, (images,) in sampler.images_with_class.items()}
    assert all(images.images.nbytes == 25_000 * 8 for images in counted.values())
    sampler.images_with_class = {c: [images] for c, images in counted.items()}
    rng = np.random.default_rng(0)
    drawn = [sampler.draw(rng) for _ in range(200)]
    assert sum(images.looks for images in counted.values()) == 200
    assert {class_id for class_id, _ in drawn} == {3, 7}
    assert max(image for _, image in drawn) > 24_000


def test_loading_keeps_nothing(data):
    loader = iter(build_loader(uda(data), RunBatches(0, 90, 2), 0, CPU))
    tracemalloc.start()
    try:
        held = []
        for count in (30, 30, 30):
            for _ in range(count):
                next(loader)
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # 60 samples of 25 kB each
    assert held[2] - held[1] < 20_000


def shorten(path):
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize('scale', [(96, 64), (70, 60), (150, 90)])
def test_kept_images_give_the_same_samples_without_being_decoded_again(data, scale):
    source, target = (
        [dict(t, img_scale=scale) if t['type'] == 'Resize' else t for t in transforms]
        for transforms in (SOURCE, TARGET)
    )
    folder = data / 'resized'
    before = uda(data, source=source, target=target)
    before = [before[i] for i in range(30)]
    keeping = uda(data, source=source, target=target, resized_dir=str(folder))
    assert all(same(sample, keeping[i]) for i, sample in enumerate(before))
    assert len(list(folder.iterdir())) <= 6 + 4
    image = data / 'source/images/4.png'
    stat = image.stat()
    image.write_bytes(b'x' * stat.st_size)
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    for i, sample in enumerate(before):
        kept = keeping[i]
        assert same(sample, kept)
        assert files(sample) == files(kept)


def test_a_kept_image_is_left_when_its_original_changes(data):
    dataset = uda(data, dict(RCS, class_temp=0.001), resized_dir=str(data / 'resized'))
    before = dataset[0]
    image = data / 'source/images/4.png'
    cv2.imwrite(str(image), 255 - cv2.imread(str(image)))
    assert not torch.equal(dataset[0]['img'].data, before['img'].data)
    os.remove(image)
    with pytest.raises(UserError, match=r'images/4\.png cannot be read: No such file'):
        dataset[0]


@pytest.mark.parametrize('changes', [dict(ratio_range=(0.5, 2.0)), dict(min_size=32)])
def test_only_images_that_are_resized_alike_can_be_kept(data, changes):
    source = [dict(t, **changes) if t['type'] == 'Resize' else t for t in SOURCE]
    with pytest.raises(UserError, match='resized_dir'):
        uda(data, source=source, resized_dir=str(data / 'resized'))


def test_a_folder_for_kept_images_that_cannot_be_written_is_named(data):
    (data / 'file').touch()
    with pytest.raises(UserError, match=r'file/\S+\.ppm cannot be written'):
        uda(data, resized_dir=str(data / 'file'))[0]


def shrink(path):
    cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[::2])


def test_a_target_is_not_cropped_by_its_labels(data):
    balanced = [dict(t, cat_max_ratio=0.75) if t['type'] == 'RandomCrop' else t for t in TARGET]
    assert same(uda(data)[0], uda(data, target=balanced)[0])


def test_a_label_of_the_images_proportions_is_resized_with_it(data):
    before = [uda(data)[i] for i in range(10)]
    for path in (data / 'source/labels').iterdir():
        label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), label.repeat(2, axis=0).repeat(2, axis=1))
    dataset = uda(data)
    assert all(same(sample, dataset[i]) for i, sample in enumerate(before))


@pytest.mark.parametrize('workers', [0, 2])
@pytest.mark.parametrize(
    ('path', 'breaks', 'says'),
    [
        ('source/images/4.png', shorten, 'cannot be read: damaged, or not an image'),
        ('source/images/4.png', os.remove, 'cannot be read: No such file'),
        ('source/labels/4_labelTrainIds.png', shorten, 'cannot be read: damaged'),
        ('source/labels/4_labelTrainIds.png', os.remove, 'cannot be read: No such file'),
        ('source/labels/4_labelTrainIds.png', shrink, r'\(32, 96\), but its image \S+ \(64, 96\)'),
        ('target/images/2_leftImg8bit.png', shorten, 'cannot be read: damaged, or not an image'),
    ],
)
def test_an_unreadable_file_is_named_whoever_reads_it(data, workers, path, breaks, says):
    dataset = uda(data)
    breaks(data / path)
    with pytest.raises(UserError, match=rf'^\S*{path} .*{says}[^\n]*$'):
        list(build_loader(dataset, RunBatches(0, 20, 2), workers, CPU))


@pytest.mark.parametrize('workers', [0, 1])
def test_tracebacks_of_workers_can_be_shown(data, monkeypatch, workers):
    monkeypatch.setenv('DAFORMER_TRACEBACK', '1')
    dataset = uda(data)
    shorten(data / 'source/images/4.png')
    with pytest.raises(UserError) as found:
        list(build_loader(dataset, RunBatches(0, 20, 2), workers, CPU))
    assert found.value.__cause__ is not None or 'file_errors.py", line' in str(found.value)


def test_seeded_epochs_show_every_image_once_an_epoch_in_changing_order(data):
    source = dict(
        type='GTADataset', data_root=str(data / 'source'), img_dir='images', ann_dir='labels',
        pipeline=SOURCE,
    )  # fmt: skip
    dataset = SeededEpochs(build_dataset(source), seed=0)
    names = [osp.basename(dataset[i]['img_metas'].data['filename']) for i in range(18)]
    epochs = [names[i : i + 6] for i in (0, 6, 12)]
    assert all(len(set(epoch)) == 6 for epoch in epochs)
    assert epochs[0] != epochs[1] or epochs[1] != epochs[2]
    again = SeededEpochs(build_dataset(source), seed=0)
    assert torch.equal(again[13]['img'].data, dataset[13]['img'].data)


def test_suffixes_of_the_data_sets(tmp_path):
    for kind, image, label in (
        ('GTADataset', '00001.png', '00001_labelTrainIds.png'),
        ('SynthiaDataset', '0000001.png', '0000001_labelTrainIds.png'),
        ('ACDCDataset', 'a_rgb_anon.png', 'a_gt_labelTrainIds.png'),
    ):
        folder = tmp_path / kind
        folder.mkdir()
        cv2.imwrite(str(folder / image), np.zeros((4, 4, 3), np.uint8))
        dataset = build_dataset(
            dict(type=kind, img_dir=str(folder), ann_dir=str(folder), pipeline=[])
        )
        assert dataset.img_infos == [dict(filename=image, ann=dict(seg_map=label))]
        assert len(dataset.CLASSES) == 19


def sets_of(dataset):
    return [*dataset.sources.datasets, *dataset.targets.datasets]


def test_hidden_files_and_folders_are_no_images(data):
    """What notebooks, file managers and macOS leave behind; the root itself may be hidden."""
    expected = [[info['filename'] for info in d.img_infos] for d in sets_of(uda(data))]
    for path in [*data.rglob('*.png')]:
        path.with_name(f'._{path.name}').write_bytes(b'of macOS')
        for hidden in ('.ipynb_checkpoints', '.cache/folder', 'folder/.Trash-1000'):
            (path.parent / hidden).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, path.parent / hidden)
    (data / '.mnt').mkdir()
    for name in ('source', 'target'):
        (data / name).rename(data / '.mnt' / name)
    found = uda(data / '.mnt')
    for dataset, names in zip(sets_of(found), expected, strict=True):
        assert [info['filename'] for info in dataset.img_infos] == names


def test_synthias_classes():
    assert (len(CLASSES_16), len(CLASSES_13)) == (16, 13)
    assert 'truck' not in CLASSES_16 and 'pole' in CLASSES_16 and 'pole' not in CLASSES_13
