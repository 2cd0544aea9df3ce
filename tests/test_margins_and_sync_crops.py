"""What the crops of successors of DAFormer need: margins of pseudo-labels, boxes cut from pairs."""

import os

import cv2
import numpy as np
import pytest
import torch

from daformer_runs.same_run import compare
from mmseg.datasets import build_dataset
from mmseg.datasets.dataloader import RunBatches, build_loader
from mmseg.engine.checks.config import check_keys, check_values
from mmseg.engine.checks.data import check_dataset, datasets_of
from mmseg.engine.config import as_dict, load_config
from mmseg.utils.user_error import UserError
from tests.tiny_runs import CHECKOUT, UDA_CONFIG, only

CPU = torch.device('cpu')
NORM = dict(mean=[0, 0, 0], std=[1, 1, 1], to_rgb=True)
MARGINS = [2, 8, 4, 6]  # top, bottom, left, right of images of 40×64
VALID = np.zeros((40, 64), bool)
VALID[2:32, 4:58] = True


@pytest.fixture
def data(tmp_path):
    """One source image with its label, and one target image, which tell where a pixel is from."""
    rows, columns = np.mgrid[:40, :64].astype(np.uint8)
    image = np.stack([rows, columns, 0 * rows], 2)  # BGR
    for folder in ('images', 'labels'):
        os.makedirs(tmp_path / folder)
    cv2.imwrite(str(tmp_path / 'images/0.png'), image)
    cv2.imwrite(str(tmp_path / 'labels/0_labelTrainIds.png'), rows % 19)
    return tmp_path


def uda(data, scale=(64, 40), crop=(40, 64), pad=(40, 64), flip=0.0, margins=MARGINS, **changes):
    """A data set of the two images; scale is (width, height), the others (height, width)."""
    target = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', img_scale=scale),
        dict(type='RandomCrop', crop_size=crop),
        dict(type='RandomFlip', prob=flip),
        dict(type='Normalize', **NORM),
        dict(type='Pad', size=pad, pad_val=0, seg_pad_val=255),
        dict(type='DefaultFormatBundle'),
        dict(type='Collect', keys=['img']),
    ]
    source = [target[0], dict(type='LoadAnnotations'), *target[1:]]
    source[-1] = dict(type='Collect', keys=['img', 'gt_semantic_seg'])
    files = dict(type='GTADataset', data_root=str(data), img_dir='images', img_suffix='.png')
    return build_dataset(
        dict(
            type='UDADataset',
            source=dict(files, ann_dir='labels', pipeline=source),
            target=dict(files, pipeline=target, crop_pseudo_margins=margins),
            **changes,
        )
    )


def mask(sample):
    assert sample['valid_pseudo_mask'].shape == (1, *sample['target_img'].data.shape[1:])
    assert sample['valid_pseudo_mask'].dtype == torch.bool
    return sample['valid_pseudo_mask'][0].numpy()


def position(img):
    """The row and the column of the image on disk that each pixel of a tensor (3, H, W) shows."""
    return img.data[2].numpy().astype(int), img.data[1].numpy().astype(int)


def test_margins_of_a_whole_image(data):
    assert (mask(uda(data)[0]) == VALID).all()


@pytest.mark.parametrize('margins', [[0, 0, 0, 0], [40, 0, 0, 0], [0, 50, 0, 0], [0, 0, 30, 40]])
def test_margins_of_nothing_and_of_everything(data, margins):
    assert (mask(uda(data, margins=margins)[0]) == (margins == [0, 0, 0, 0])).all()


def test_samples_without_margins_have_no_mask(data):
    assert 'valid_pseudo_mask' not in uda(data, margins=None)[0]


def test_the_mask_goes_with_crop_and_flip(data):
    dataset = uda(data, crop=(24, 24), pad=(24, 24), flip=0.5)
    seen = set()
    for number in range(30):
        sample = dataset[number]
        rows, columns = position(sample['target_img'])
        assert (mask(sample) == VALID[rows, columns]).all()
        seen.add(mask(sample).mean())
        assert sample['target_img_metas'].data['flip'] in (True, False)
    assert len(seen) > 5


def test_margins_count_on_disk_and_shrink_with_the_image(data):
    halved = mask(uda(data, scale=(32, 20), crop=(20, 32), pad=(20, 32))[0])
    assert (halved == VALID[::2, ::2]).all()


def test_padded_pixels_have_no_weight(data):
    found = mask(uda(data, margins=[0, 0, 0, 0], crop=(64, 64), pad=(48, 80))[0])
    assert found[:40, :64].all()
    assert found.sum() == 40 * 64


@pytest.mark.parametrize('scale', [(32, 20), (50, 30), (90, 70)])
def test_kept_images_have_the_same_mask(data, scale):
    size = dict(scale=scale, crop=(20, 20), pad=(20, 20))
    before, keeping = uda(data, **size), uda(data, **size, resized_dir=str(data / 'kept'))
    for number in range(4):
        sample, kept = before[number], keeping[number]
        assert (mask(sample) == mask(kept)).all()
        shapes = [s['target_img_metas'].data['ori_shape'] for s in (sample, kept)]
        assert shapes == [(40, 64, 3)] * 2
    assert only(str(data / 'kept/*.ppm'))  # source and target are one image here


def test_building_twice_gives_the_same_samples(data):
    config = dict(crop=(24, 24), pad=(24, 24))
    assert_equal(uda(data, **config)[3], uda(data, **config)[3])


# sync_crop_size

SYNC = dict(crop=(32, 48), pad=(32, 48), flip=0.5)
KEYS = ('img', 'gt_semantic_seg', 'target_img', 'valid_pseudo_mask')


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for key in KEYS:
        assert torch.equal(one[key].data, other[key].data)


def boxes(data, size, count):
    """Check that samples are cut from those without sync_crop_size; return the boxes' offsets."""
    whole, cut = uda(data, **SYNC), uda(data, **SYNC, sync_crop_size=size)
    found = []
    for number in range(count):
        full, part = whole[number], cut[number]
        assert full.keys() == part.keys()
        rows, columns = position(full['img'])
        first = [tensor[0, 0] for tensor in position(part['img'])]
        ((top, left),) = np.argwhere((rows == first[0]) & (columns == first[1]))
        for key in KEYS:
            box = full[key].data[..., top : top + size[0], left : left + size[1]]
            assert torch.equal(part[key].data, box)
        found.append((top, left))
    return np.array(found)


def test_one_box_is_cut_from_everything(data):
    found = boxes(data, (16, 40), 150)
    assert set(found[:, 0]) == set(range(17))  # every offset that there is
    assert set(found[:, 1]) == set(range(9))
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.3


def test_a_box_of_the_whole_crop(data):
    assert (boxes(data, (32, 48), 3) == 0).all()


def test_a_cut_sample_depends_on_seed_and_number_alone(data):
    config = dict(**SYNC, sync_crop_size=(16, 16))
    dataset, other = uda(data, **config), uda(data, **config)
    later = [dataset[number] for number in (7, 2)]
    assert_equal(other[2], later[1])
    assert_equal(other[7], later[0])
    another_seed = uda(data, **config, seed=1)
    assert any(
        not torch.equal(dataset[n]['img'].data, another_seed[n]['img'].data) for n in range(4)
    )


@pytest.mark.parametrize('workers', [0, 2])
def test_batches_hold_masks(data, workers):
    dataset = uda(data, **SYNC, sync_crop_size=[16, 24])
    loader = build_loader(dataset, RunBatches(1, 3, 2), workers, CPU)
    for number, batch in enumerate(loader, start=1):
        assert batch['valid_pseudo_mask'].shape == (2, 1, 16, 24)
        assert batch['gt_semantic_seg'].shape == (2, 1, 16, 24)
        assert torch.equal(batch['target_img'][1], dataset[2 * number + 1]['target_img'])


@pytest.mark.parametrize('size', [(33, 48), (16, 49)])
def test_a_box_larger_than_the_crop(data, size):
    with pytest.raises(UserError, match=rf'sync_crop_size=\({size[0]}, .* crops .*, \(32, 48\)'):
        uda(data, **SYNC, sync_crop_size=size)[0]


def test_the_check_of_the_crop_comes_before(data):
    """Rare class sampling counts in the pipeline's crop, of which the box is a part."""
    (data / 'sample_class_stats.json').write_text(
        '[{"5": 192, "file": "labels/0_labelTrainIds.png"}]'
    )
    (data / 'samples_with_class.json').write_text(
        '{"5": [["labels/0_labelTrainIds.png", 192]]}'  # rows 5, 24
    )
    rcs = dict(min_pixels=30, class_temp=0.01, min_crop_ratio=2.0)
    changes = dict(crop=(20, 64), pad=(20, 64), rare_class_sampling=rcs)
    for number in range(10):
        whole = uda(data, **changes)[number]['gt_semantic_seg'].data
        assert (whole == 5).sum() > 60
        assert uda(data, **changes, sync_crop_size=(2, 64))[number]['img'].shape == (3, 2, 64)


# Checks of configs


def check(overrides):
    cfg = load_config(str(UDA_CONFIG), overrides)
    check_keys(cfg, 'uda.py')
    check_values(cfg, 'uda.py')
    return cfg


NO_ROWS = {'uda.pseudo_weight_ignore_bottom': 0}
TARGET = 'data.train.target.crop_pseudo_margins'


def test_the_keys_are_known():
    check({**NO_ROWS, TARGET: [7, 60, 7, 7], 'data.train.sync_crop_size': (64, 96)})
    check({TARGET: None, 'data.train.sync_crop_size': None, 'gpu_model': 'NVIDIATITANRTX'})


@pytest.mark.parametrize(
    ('overrides', 'says'),
    [
        ({TARGET: [1, 2, 3]}, rf'{TARGET} is \[1, 2, 3\]; it has to be a list of four numbers'),
        ({TARGET: 30}, f'{TARGET} is 30; it has to be a list of four'),
        ({TARGET: [1, 2, 3, -4]}, 'it has to be a list of four numbers'),
        ({'data.train.sync_crop_size': 64}, 'data.train.sync_crop_size is 64; .* a pair of whole'),
        (
            {TARGET: [1, 2, 3, 4]},
            r'margins=\[1, 2, 3, 4\] takes the place of uda.pseudo_weight_ignore_bottom=13',
        ),
        ({'data.train.source.crop_pseudo_margins': MARGINS}, 'source.crop_pseudo_margins: nothing'),
        ({'data.val.crop_pseudo_margins': MARGINS}, 'val.crop_pseudo_margins: nothing'),
    ],
)
def test_mistakes_are_one_line(overrides, says):
    with pytest.raises(UserError, match=says) as error:
        check(overrides)
    assert '\n' not in str(error.value)


def test_both_make_another_run():
    plain, changed = (
        as_dict(check({**NO_ROWS, **overrides}))
        for overrides in ({}, {TARGET: MARGINS, 'data.train.sync_crop_size': [64, 96]})
    )
    assert set(compare(plain, changed)[0]) == {TARGET, 'data.train.sync_crop_size'}


def test_files_of_a_target_with_margins_are_checked(monkeypatch):
    monkeypatch.chdir(CHECKOUT)
    cfg = check({**NO_ROWS, TARGET: MARGINS, 'data.train.target.data_root': 'nowhere/'})
    (use,) = (use for use in datasets_of(cfg) if use.place == 'data.train.target')
    assert check_dataset(use).problems[0].startswith('nowhere/ is missing')
