"""The self-training step against the published implementation's golden run and by its parts."""

import json
import math
import os.path as osp

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv import Config
from torch import nn

from mmseg.models.builder import SEGMENTORS
from mmseg.models.decode_heads import FCNHead
from mmseg.models.training_pass import pixel_weights
from mmseg.models.uda import dacs as dacs_module
from mmseg.models.uda.class_mix import draw_class_masks
from mmseg.models.uda.feature_distance import downscale_label, feature_distance
from mmseg.models.uda.strong_augmentation import blur_kernel_size, color_jitter, gaussian_blur
from mmseg.models.uda.teacher import pseudo_label_weights, teacher_mode, update_teacher
from mmseg.utils.gradients import Gradients
from mmseg.utils.seeding import Step
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


def assert_golden_steps(monkeypatch, tolerance, change=lambda dacs: None):
    """Train for the golden run's three steps, after a change, and compare with it."""
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
    # The published teacher's BatchNorm buffers start at their defaults.
    update_teacher(list(dacs.ema_model.parameters()), list(dacs.model.parameters()), 0, 0.9)
    change(dacs)
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
        if i == 2:
            # The arrays hold the teacher that labelled the last batch.
            dacs.after_step = lambda step: None
        found = dacs.train_step(data, optimizer, step=Step(0, i))['log_vars']
        for name, value in log.items():
            if 'acc_seg' not in name:
                assert found[name] == pytest.approx(value, rel=tolerance), (i, name)
    for which, network in (('student', dacs.model), ('teacher', dacs.ema_model)):
        weights = network.state_dict()
        for name, (total, absolute) in expected[which].items():
            value = weights[name].double()
            near = tolerance * absolute
            assert value.sum().item() == pytest.approx(total, abs=near), (which, name)
            assert value.abs().sum().item() == pytest.approx(absolute, abs=near), (which, name)


def test_three_steps_equal_the_published_implementation(monkeypatch):
    assert_golden_steps(monkeypatch, tolerance=1e-3)


def test_feature_distance_equals_the_golden_arrays():
    golden = np.load(osp.join(GOLDEN, 'feature_distance.npz'))
    small = downscale_label(torch.from_numpy(golden['label']).long(), (4, 6), 0.75, 19)
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


def test_the_feature_distance_has_its_gradient_and_none_without_things():
    student = torch.randn(2, 4, 3, 3, dtype=torch.double, requires_grad=True)
    imagenet = torch.randn(2, 4, 3, 3, dtype=torch.double)
    mask = torch.rand(2, 1, 3, 3) > 0.5
    assert torch.autograd.gradcheck(lambda s: feature_distance(s, imagenet, mask), student)
    empty = feature_distance(student, imagenet, torch.zeros_like(mask))
    (gradient,) = torch.autograd.grad(empty, student)
    assert empty == 0 and (gradient == 0).all()


def test_ignored_pixels_count_as_a_class_when_labels_are_downscaled():
    label = torch.full((1, 1, 4, 4), 11)
    label[..., :1, :] = 255
    assert downscale_label(label, (1, 1), 0.75, 19).item() == 11
    label[..., 1, 0] = 255
    assert downscale_label(label, (1, 1), 0.75, 19).item() == 255
    assert downscale_label(torch.full((1, 1, 4, 4), 255), (1, 1), 0.75, 19).item() == 255


@pytest.mark.parametrize('size', [(37, 37), (16, 8), (5, 7), (1, 64), (64, 64)])
def test_labels_are_downscaled_to_any_size_of_features(size):
    label = torch.randint(0, 3, (2, 1, 8, 8)).repeat_interleave(8, 2).repeat_interleave(8, 3)
    label[torch.rand(label.shape) < 0.2] = 99
    small = downscale_label(label, size, 0.6, 3, ignore_index=99)
    assert small.shape == (2, 1, *size)
    for y, x in np.ndindex(size):
        rows = slice(math.floor(y * 64 / size[0]), math.ceil((y + 1) * 64 / size[0]))
        columns = slice(math.floor(x * 64 / size[1]), math.ceil((x + 1) * 64 / size[1]))
        for image in range(2):
            cell = label[image, 0, rows, columns].flatten()
            values, counts = cell.unique(return_counts=True)
            wanted = [int(v) for v, n in zip(values, counts, strict=True) if n / len(cell) >= 0.6]
            assert small[image, 0, y, x] == (wanted or [99])[0]


@pytest.mark.parametrize('factor', [1, 3, 7, 12, 32])
def test_cells_that_divide_the_label_are_those_of_plain_average_pooling(factor):
    label = torch.randint(0, 4, (2, 1, 12 * factor, 4 * factor))
    label = torch.where(torch.rand(label.shape) < 0.7, label[..., :1, :1], label)
    one_hot = F.one_hot(label.squeeze(1), 5).permute(0, 3, 1, 2).float()
    ratio, majority = F.avg_pool2d(one_hot, factor).max(1, keepdim=True)
    wanted = majority.masked_fill(ratio < 0.75, 255)
    assert torch.equal(downscale_label(label, (12, 4), 0.75, 4), wanted)


def test_pixel_weights_reach_heads_of_a_cascade_and_heads_in_heads():
    options = dict(in_channels=4, channels=4, num_classes=2)
    network = nn.Module()
    network.decode_head = nn.ModuleList([FCNHead(**options), FCNHead(**options)])
    network.auxiliary_head = FCNHead(**options)
    network.auxiliary_head.inner = FCNHead(**options)
    heads = [*network.decode_head, network.auxiliary_head, network.auxiliary_head.inner]
    weight = torch.ones(1, 1, 2, 2)
    with pixel_weights(network, weight):
        assert all(head.sampler.sample(None, None).equal(weight[0]) for head in heads)
    assert all(head.sampler is None for head in heads)


def test_the_teacher_is_the_student_at_first_and_its_average_later():
    student, teacher = nn.Linear(3, 2), nn.Linear(3, 2)
    update_teacher([teacher.weight], [student.weight], 0, 0.99)
    assert torch.equal(teacher.weight, student.weight)
    before = teacher.weight.clone()
    with torch.no_grad():
        student.weight.add_(1)
    update_teacher([teacher.weight], [student.weight], 1, 0.99)  # a = min(1 - 1/2, 0.99)
    assert torch.allclose(teacher.weight, before + 0.5, atol=1e-6)
    before = teacher.weight.clone()
    update_teacher([teacher.weight], [student.weight], 10_000, 0.99)
    assert torch.allclose(teacher.weight, 0.99 * before + 0.01 * student.weight, atol=1e-6)


def test_the_teacher_labels_with_batch_statistics_and_without_dropout():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout2d(0.5))
    teacher_mode(network.eval())
    assert network[1].training
    assert not network[2].training


def test_pseudo_labels_weigh_the_trusted_share_outside_the_ignored_rows():
    label = torch.zeros(2, 1, 6, 3, dtype=torch.long)
    weight = pseudo_label_weights(label, torch.tensor(0.25), 1, 2)
    assert (weight[:, :, 1:4] == 0.25).all()
    assert (weight[:, :, :1] == 0).all() and (weight[:, :, 4:] == 0).all()
    assert (pseudo_label_weights(label, torch.tensor(0.25), 0, 0) == 0.25).all()


@pytest.mark.parametrize(('classes', 'drawn'), [([3], 1), ([1, 5], 1), ([0, 7, 255], 2)])
def test_class_mix_takes_half_of_the_batchs_classes_rounded_up(classes, drawn):
    label = torch.tensor(classes).repeat(2, 1, 4, 1)
    masks = draw_class_masks(label, [torch.Generator().manual_seed(s) for s in (1, 2)], 20)
    assert masks.shape == label.shape and masks.dtype == torch.bool
    for one, mask in zip(label, masks, strict=True):
        assert len(one[mask].unique()) == drawn
        assert not torch.isin(one[~mask], one[mask].unique()).any()


def test_class_mix_draws_as_a_permutation_of_the_classes_says():
    generator = torch.Generator().manual_seed(0)
    for seed in range(20):
        values = torch.randperm(20, generator=generator)[: seed % 20 + 1]
        label = values[torch.randint(len(values), (1, 1, 16, 16), generator=generator)]
        classes = label.unique()
        order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(seed))
        drawn = classes[order[: (len(classes) + 1) // 2]]
        (mask,) = draw_class_masks(label, [torch.Generator().manual_seed(seed)], 20)
        assert torch.equal(mask, torch.isin(label[0], drawn))


def test_class_mix_counts_classes_of_the_whole_batch():
    label = torch.stack([torch.full((1, 2, 2), 0), torch.full((1, 2, 2), 1)])
    generators = [torch.Generator().manual_seed(s) for s in range(40)]
    masks = torch.cat(
        [draw_class_masks(label, generators[i : i + 2], 20) for i in range(0, 40, 2)]
    ).flatten(1)
    # One of the two classes is drawn for each image, and each image has only one of them.
    assert set(masks.float().mean(dim=1).tolist()) == {0.0, 1.0}


@pytest.mark.parametrize(('side', 'kernel'), [(512, 51), (128, 13), (96, 9), (64, 7), (1024, 103)])
def test_blur_kernels_are_odd_and_about_a_tenth_of_the_side(side, kernel):
    assert blur_kernel_size(side) == kernel


def test_blur_equals_opencvs():
    img = torch.randn(1, 3, 64, 64)
    generator = torch.Generator().manual_seed(3)
    sigma = 0.15 + torch.rand(1, generator=torch.Generator().manual_seed(3)).item()
    expected = cv2.GaussianBlur(
        img[0].permute(1, 2, 0).numpy(), (7, 7), sigma, borderType=cv2.BORDER_REFLECT_101
    )
    found = gaussian_blur(img, [generator])[0].permute(1, 2, 0).numpy()
    assert np.abs(found - expected).max() < 1e-4


def test_colour_jitter_acts_on_the_image_per_image_and_keeps_the_generators():
    mean, std = torch.tensor(NORM['mean']), torch.tensor(NORM['std'])
    pixels = torch.rand(1, 3, 8, 8).repeat(2, 1, 1, 1)
    img = (pixels * 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    state = torch.get_rng_state()
    first = color_jitter(img, mean, std, [0.2] * 4, [1, 2])
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(color_jitter(img, mean, std, [0.2] * 4, [2, 1]), first.flip(0))
    shown = first * std.view(1, 3, 1, 1) / 255 + mean.view(1, 3, 1, 1) / 255
    assert shown.min() > -1e-5 and shown.max() < 1 + 1e-5
    assert torch.allclose(color_jitter(img, mean, std, [0.0] * 4, [1, 2]), img, atol=1e-4)


def test_pixel_weights_multiply_every_heads_loss():
    model = SEGMENTORS.build(dict(tiny_model(), train_cfg=dict(), test_cfg=dict(mode='whole')))
    head = model.decode_head
    logits, label = torch.randn(2, 19, 8, 8), torch.randint(0, 19, (2, 1, 8, 8))
    weight = torch.rand(2, 1, 8, 8)
    with pixel_weights(model, weight):
        found = head.losses(logits, label)['loss_ce']
    each = nn.functional.cross_entropy(logits, label[:, 0], reduction='none')
    assert found.item() == pytest.approx((each * weight[:, 0]).mean().item(), rel=1e-6)
    assert head.sampler is None


def test_losses_that_ignore_pixel_weights_are_refused():
    model = tiny_model()
    model.decode_head.loss_decode = dict(type='LovaszLoss', per_image=True)
    with pytest.raises(UserError, match=r'DAFormerHead.*LovaszLoss.*CrossEntropyLoss'):
        build_dacs(model)


def test_a_step_is_a_function_of_seed_and_iteration_and_reads_no_target_label():
    def run(seed, iteration):
        torch.manual_seed(0)
        dacs = build_dacs(debug_img_interval=0, color_jitter_probability=0.0)
        dacs.init_weights()
        dacs.train()
        optimizer = torch.optim.AdamW(dacs.model.parameters(), lr=1e-3)
        return dacs.train_step(random_batch(), optimizer, step=Step(seed, iteration))['log_vars']

    assert run(1, 7) == run(1, 7)
    assert run(1, 7) != run(2, 7)
    assert run(1, 7) != run(1, 8)


def test_the_frozen_encoder_starts_as_the_students_and_stays():
    dacs = build_dacs(
        imnet_feature_dist_lambda=0.005, imnet_feature_dist_classes=THINGS,
        imnet_feature_dist_scale_min_ratio=0.75, debug_img_interval=0,
    )  # fmt: skip
    dacs.init_weights()
    dacs.train()
    assert not dacs.imnet_model.training
    weights = {n: w.clone() for n, w in dacs.imnet_model.backbone.state_dict().items()}
    assert all(torch.equal(w, dacs.model.backbone.state_dict()[n]) for n, w in weights.items())
    optimizer = torch.optim.AdamW(dacs.model.parameters(), lr=1e-2)
    data = random_batch()
    data['gt_semantic_seg'][:] = 13
    log = dacs.train_step(data, optimizer, step=Step(0, 0))['log_vars']
    assert 'src.loss_imnet_feat_dist' in log
    assert all(
        torch.equal(w, weights[n]) for n, w in dacs.imnet_model.backbone.state_dict().items()
    )
    assert any(name.startswith('imnet_model.backbone.patch_embed1') for name in dacs.state_dict())


def test_the_frozen_neck_starts_as_the_students():
    model = tiny_model()
    model.neck = dict(type='FPN', in_channels=[32, 64, 160, 256], out_channels=16, num_outs=4)
    model.decode_head.in_channels = [16] * 4
    dacs = build_dacs(model, imnet_feature_dist_lambda=0.005)
    dacs.init_weights()
    frozen = dacs.imnet_model.neck.state_dict()
    assert all(torch.equal(w, frozen[name]) for name, w in dacs.model.neck.state_dict().items())


def test_gradient_norms_are_logged_per_loss_when_asked_for():
    dacs = build_dacs(print_grad_magnitude=True, debug_img_interval=0)
    dacs.train()
    optimizer = torch.optim.SGD(dacs.model.parameters(), lr=0.0)
    log = dacs.train_step(random_batch(), optimizer, step=Step(0, 0))['log_vars']
    assert log['src.grad.decode.loss_ce'] > 0
    assert 'mix.grad.mix.decode.loss_ce' in log


def test_debug_images_come_at_the_interval(tmp_path):
    dacs = build_dacs(debug_img_interval=2)
    dacs.PALETTE = [[i, 2 * i, 3 * i] for i in range(19)]
    dacs.train()
    optimizer = torch.optim.SGD(dacs.model.parameters(), lr=0.0)
    for iteration in (1, 2):
        step = Step(0, iteration, work_dir=str(tmp_path))
        dacs.train_step(random_batch(), optimizer, step=step)
    pictures = sorted(p.name for p in (tmp_path / 'class_mix_debug').iterdir())
    assert pictures == ['000003_0.png', '000003_1.png']
    picture = cv2.imread(str(tmp_path / 'class_mix_debug' / '000003_0.png'))
    # Rows of source, target, and four panels of the mixed image, all of 320 pixels and a border.
    assert picture.shape == (3 * 346, 4 * 324, 3)


def test_the_trusted_share_is_logged_as_the_mean_over_parts(monkeypatch):
    shares = iter([0.25, 0.75])

    def pseudo_labels(teacher, img, img_metas, threshold, flip):
        label = torch.zeros(len(img), 1, *img.shape[2:], dtype=torch.long)
        return label, torch.tensor(next(shares))

    monkeypatch.setattr(dacs_module, 'pseudo_labels', pseudo_labels)
    dacs = build_dacs(debug_img_interval=0)
    dacs.gradients = Gradients(parts=2)
    dacs.train()
    optimizer = torch.optim.SGD(dacs.model.parameters(), lr=0.0)
    log = dacs.train_step(random_batch(), optimizer, step=Step(0, 0))['log_vars']
    assert log['pseudo_label_weight'] == 0.5
