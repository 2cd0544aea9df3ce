"""The self-training step against the published implementation's golden run and by its parts."""

import copy
import json
import os.path as osp

import cv2
import numpy as np
import pytest
import torch
from mmcv import Config
from torch import nn

from mmseg.models.builder import SEGMENTORS
from mmseg.models.uda import dacs as dacs_module
from mmseg.models.uda.class_mix import draw_class_masks
from mmseg.models.uda.feature_distance import downscale_label, feature_distance
from mmseg.models.uda.pixel_weights import pixel_weights
from mmseg.models.uda.strong_augmentation import blur_kernel_size, color_jitter, gaussian_blur
from mmseg.models.uda.teacher import pseudo_label_weights, teacher_mode, update_teacher
from mmseg.utils.step import Step
from mmseg.utils.user_error import UserError
from tests.golden.fill import array_for, fill

HERE = osp.dirname(__file__)
GOLDEN = osp.join(HERE, 'golden')
THINGS = [6, 7, 11, 12, 13, 14, 15, 16, 17, 18]
NORM = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)


def tiny_model(**backbone):
    path = osp.join(HERE, '../configs/_base_/models/daformer_sepaspp_mitb5.py')
    model = Config.fromfile(path).model
    model.pretrained = None
    model.backbone = dict(type='mit_b0', drop_path_rate=0.0, **backbone)
    model.decode_head.in_channels = [32, 64, 160, 256]
    model.decode_head.dropout_ratio = 0.0
    return model


def build_dacs(model=None, **options):
    return SEGMENTORS.build(dict(type='DACS', model=model or tiny_model(), **options))


def batch(source_img, label, target_img):
    metas = [dict(img_norm_cfg=NORM)] * len(source_img)
    return dict(
        img=torch.from_numpy(source_img),
        img_metas=metas,
        gt_semantic_seg=torch.from_numpy(label).long(),
        target_img=torch.from_numpy(target_img),
        target_img_metas=metas,
    )


def random_batch(rng=None, size=64):
    rng = rng or np.random.default_rng(0)
    label = rng.integers(0, 19, (2, 1, size // 8, size // 8)).repeat(8, axis=2).repeat(8, axis=3)
    images = rng.standard_normal((2, 2, 3, size, size)).astype(np.float32)
    return batch(images[0], label, images[1])


def test_three_steps_equal_the_published_implementation(monkeypatch):
    arrays = np.load(osp.join(GOLDEN, 'dacs_3_steps.npz'))
    with open(osp.join(GOLDEN, 'dacs_3_steps.json')) as file:
        expected = json.load(file)
    dacs = build_dacs(
        alpha=0.9, pseudo_threshold=0.15, pseudo_weight_ignore_top=2,
        pseudo_weight_ignore_bottom=10, imnet_feature_dist_lambda=0.005,
        imnet_feature_dist_classes=THINGS, imnet_feature_dist_scale_min_ratio=0.75,
        blur=False, color_jitter_probability=1.0, debug_img_interval=0,
    )  # fmt: skip
    fill(dacs.model)
    frozen = {name: 0.9 * w for name, w in dacs.model.backbone.state_dict().items()}
    dacs.imnet_model.backbone.load_state_dict(frozen)
    optimizer = torch.optim.AdamW(dacs.model.parameters(), lr=5e-4, weight_decay=0.01)
    dacs.train()
    for i, log in enumerate(expected['logs']):
        mask = torch.from_numpy(arrays[f'mix_mask_{i}']).bool().view(2, 1, 96, 96)
        monkeypatch.setattr(dacs_module, 'draw_class_masks', lambda *_, mask=mask: mask)
        data = batch(
            array_for(f'source_image_{i}', (2, 3, 96, 96)),
            arrays[f'source_label_{i}'].reshape(2, 1, 96, 96),
            array_for(f'target_image_{i}', (2, 3, 96, 96)),
        )
        found = dacs.train_step(data, optimizer, step=Step(0, i))['log_vars']
        for name, value in log.items():
            if 'acc_seg' not in name:
                assert found[name] == pytest.approx(value, rel=1e-3), (i, name)
    for which, network in (('student', dacs.model), ('teacher', dacs.ema_model)):
        weights = network.state_dict()
        for name, (total, absolute) in expected[which].items():
            value = weights[name].double()
            assert value.sum().item() == pytest.approx(total, abs=1e-3 * absolute), (which, name)
            assert value.abs().sum().item() == pytest.approx(absolute, rel=1e-3), (which, name)


def test_feature_distance_equals_the_golden_arrays():
    golden = np.load(osp.join(GOLDEN, 'feature_distance.npz'))
    small = downscale_label(torch.from_numpy(golden['label']).long(), 32, 0.75, 19)
    assert np.array_equal(small.numpy(), golden['downscaled'])
    student = torch.from_numpy(array_for('student_feature', (2, 16, 4, 6)))
    imagenet = torch.from_numpy(array_for('imagenet_feature', (2, 16, 4, 6)))
    things = torch.isin(small, torch.tensor(THINGS))
    assert float(feature_distance(student, imagenet, things)) == pytest.approx(
        float(golden['distance_thing_classes']), rel=1e-5
    )
    assert float(feature_distance(student, imagenet)) == pytest.approx(
        float(golden['distance_all']), rel=1e-5
    )
