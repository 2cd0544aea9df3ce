"""Predictions and counts are those of MMSegmentation's own, slower way."""

from types import SimpleNamespace

import cv2
import mmcv
import numpy as np
import pytest
import torch

from mmseg.core import intersect_and_union
from mmseg.datasets import CustomDataset
from mmseg.datasets.dataloader import collate
from mmseg.engine.evaluation import areas_of_classes, count_areas, loading, predict
from mmseg.engine.predict import TestSamples, predict_labels
from mmseg.models import EncoderDecoder, build_segmentor
from mmseg.utils.user_error import UserError

CLASSES = [str(number) for number in range(19)]
# (height, width); neighbours of equal size are predicted together.
SIZES = [(61, 97), (61, 97), (61, 97), (61, 97), (97, 61), (33, 130), (33, 130)]
WHOLE = dict(mode='whole')
SLIDE = dict(mode='slide', crop_size=(48, 48), stride=(32, 29))
CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Images of random blotches, and labels with ignored pixels and unknown ids."""
    root = tmp_path_factory.mktemp('pictures')
    generator = np.random.default_rng(0)
    for number, (height, width) in enumerate(SIZES):
        coarse = generator.integers(0, 256, (6, 6, 3), np.uint8)
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        label = generator.choice([*range(19), 40, 254, 255], (height, width)).astype(np.uint8)
        for kind, picture in (('image', image), ('label', label)):
            (root / kind).mkdir(exist_ok=True)
            assert cv2.imwrite(str(root / kind / f'{number}.png'), picture)
    return root


def build(folder, aug_test=False, **options):
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(
            type='MultiScaleFlipAug',
            img_scale=(128, 64),
            img_ratios=[0.5, 1.25] if aug_test else [1.0],
            flip=aug_test,
            transforms=[
                dict(type='Resize', keep_ratio=True),
                dict(type='RandomFlip'),
                dict(type='Normalize', mean=[124, 116, 104], std=[58, 57, 57], to_rgb=True),
                dict(type='Pad', size_divisor=32),
                dict(type='ImageToTensor', keys=['img']),
                dict(type='Collect', keys=['img']),
            ],
        ),
    ]
    return CustomDataset(
        pipeline, 'image', img_suffix='.png', ann_dir='label', data_root=str(folder),
        classes=CLASSES, palette=[[i, i, i] for i in range(19)], test_mode=True, **options,
    )  # fmt: skip


@pytest.fixture(scope='module')
def segmentor():
    """A network of random weights whose logits are as far apart as those of a trained one."""
    torch.manual_seed(0)
    head = dict(
        type='DAFormerHead', in_channels=[32, 64, 160, 256], in_index=[0, 1, 2, 3], channels=16,
        num_classes=19, align_corners=False, norm_cfg=dict(type='BN'),
        decoder_params=dict(
            embed_dims=16, embed_cfg=dict(type='mlp'), embed_neck_cfg=dict(type='mlp'),
            fusion_cfg=dict(type='conv', kernel_size=1, act_cfg=dict(type='ReLU'),
                            norm_cfg=dict(type='BN')),
        ),
        loss_decode=dict(type='CrossEntropyLoss'),
    )  # fmt: skip
    segmentor = build_segmentor(
        dict(type='EncoderDecoder', backbone=dict(type='mit_b0'), decode_head=head, test_cfg=WHOLE)
    ).eval()
    segmentor.decode_head.conv_seg.weight.data.normal_(std=3)
    return segmentor


def by_mmsegmentation(segmentor, dataset):
    with torch.no_grad():
        for sample in (dataset[index] for index in range(len(dataset))):
            (label,) = segmentor(return_loss=False, rescale=True, **collate([sample]))
            yield label


@pytest.mark.parametrize('aug_test', [False, True])
@pytest.mark.parametrize('test_cfg', [WHOLE, SLIDE], ids=['whole', 'slide'])
def test_predictions_are_mmsegmentations(folder, segmentor, one_thread, test_cfg, aug_test):
    segmentor.test_cfg = SimpleNamespace(**test_cfg)
    dataset = build(folder, aug_test)
    expected = list(by_mmsegmentation(segmentor, dataset))
    assert [label.shape for label in expected] == SIZES
    assert np.unique(expected[0]).size > 5
    for batch_size in (1, 3):
        found = list(predict(segmentor, dataset, CPU, batch_size=batch_size))
        assert [index for index, *_ in found] == list(range(len(SIZES)))
        for (_, label, gt), other in zip(found, expected, strict=True):
            assert label.dtype == np.uint8 and gt is None
            np.testing.assert_array_equal(label, other)


def test_neighbours_of_equal_size_are_predicted_together(folder, segmentor, monkeypatch):
    seen = []

    def whole_inference(img, img_metas, rescale):
        seen.append(len(img_metas))
        return torch.zeros(len(img), 19, *img.shape[2:])

    segmentor.test_cfg = SimpleNamespace(**WHOLE)
    monkeypatch.setattr(segmentor, 'whole_inference', whole_inference)
    list(predict(segmentor, build(folder), CPU, batch_size=3))
    assert seen == [3, 1, 1, 1, 1]


def test_the_larger_of_logits_wins_whose_probabilities_are_equal():
    logits = torch.tensor([0.0, 1e-9, -1.0]).view(1, 3, 1, 1)
    assert logits.softmax(1)[0, 0] == logits.softmax(1)[0, 1]
    segmentor = SimpleNamespace(
        out_channels=3,
        align_corners=False,
        test_cfg=SimpleNamespace(mode='whole'),
        whole_inference=lambda img, img_metas, rescale: logits,
    )
    meta = dict(flip=False, img_shape=(1, 1, 3), ori_shape=(1, 1, 3))
    assert predict_labels(segmentor, [None], [[meta]]).tolist() == [[[1]]]


@pytest.mark.parametrize('reduce_zero_label', [False, True])
def test_areas_are_mmsegmentations(folder, reduce_zero_label):
    dataset = build(folder, reduce_zero_label=reduce_zero_label)
    samples = TestSamples(dataset, with_gt=True)
    generator = np.random.default_rng(0)
    for index, size in enumerate(SIZES):
        label = generator.integers(0, 19, size, np.uint8)
        expected = intersect_and_union(
            label, dataset.get_gt_seg_map_by_idx(index), 19, 255,
            label_map={}, reduce_zero_label=reduce_zero_label,
        )  # fmt: skip
        gt = samples[index]['gt']
        found = count_areas(dataset, label, gt, index)
        for areas, others in zip(areas_of_classes(found), expected, strict=True):
            assert areas.tolist() == others.tolist()
        by_hand = [[((gt == i) & (label == j)).sum() for j in range(19)] for i in range(19)]
        assert found[:19, :19].tolist() == by_hand


def test_workers_load_the_true_labels(folder, segmentor):
    segmentor.test_cfg = SimpleNamespace(**WHOLE)
    dataset = build(folder)
    loaded = list(predict(segmentor, dataset, CPU, num_workers=1, batch_size=3, with_gt=True))
    assert [index for index, *_ in loaded] == list(range(len(SIZES)))
    for index, _, gt in loaded:
        np.testing.assert_array_equal(gt, dataset.get_gt_seg_map_by_idx(index))


def test_loading_is_the_configs():
    data = dict(workers_per_gpu=2, val_dataloader=dict(samples_per_gpu=4))
    cfg = mmcv.Config(dict(data=data))
    assert loading(cfg, 'val') == dict(num_workers=2, batch_size=4)
    assert loading(cfg, 'test') == dict(num_workers=2, batch_size=1)
    cfg.data.test_dataloader = dict(workers_per_gpu=0)
    assert loading(cfg, 'test') == dict(num_workers=0, batch_size=1)


def test_several_images_at_once_give_the_same_metrics(trained_run, monkeypatch):
    from tools import test

    def whole_inference(self, img, img_metas, rescale):
        seen.append(len(img))
        return original(self, img, img_metas, rescale)

    seen, original = [], EncoderDecoder.whole_inference
    monkeypatch.setattr(EncoderDecoder, 'whole_inference', whole_inference)
    arguments = [trained_run.config, trained_run.checkpoint]
    expected = test.main(arguments)
    found = test.main([*arguments, '--cfg-options', 'data.test_dataloader.samples_per_gpu=2'])
    assert seen == [1, 1, 1, 2, 1]
    of_confidences = {name: found.pop(name) for name in ('ECE', 'AUROC', 'AUPR', 'FPR95')}
    for name, value in of_confidences.items():
        assert value == pytest.approx(expected.pop(name), abs=1e-4)
    np.testing.assert_equal(found, expected)


@pytest.mark.parametrize('number', [0, -1, 'many'])
def test_a_batch_of_no_images_is_refused(number):
    cfg = mmcv.Config(dict(data=dict(test_dataloader=dict(samples_per_gpu=number))))
    with pytest.raises(UserError, match='samples_per_gpu is'):
        loading(cfg, 'test')
