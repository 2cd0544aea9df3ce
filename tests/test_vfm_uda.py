"""What makes VFM-UDA and VFM-UDA++ of DACS and MIC, against the published code's arrays."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from kornia.color import rgb_to_grayscale
from torch import nn

from mmseg.datasets.pipelines import RandomCrop
from mmseg.datasets.pseudo_label_margins import MarkMargins
from mmseg.datasets.rare_class_sampling import (
    class_probabilities,
    class_ratios,
    count_pixels,
    crop_with_class,
)
from mmseg.models.builder import LOSSES, SEGMENTORS
from mmseg.models.training_pass import GivenWeights
from mmseg.models.uda.feature_distance import downscale_label, feature_distance
from mmseg.models.uda.feature_distillation import DistillationHead, FeatureDistillation
from mmseg.models.uda.masked_consistency import BlockMask
from mmseg.models.uda.strong_augmentation import ImageAugmentation
from mmseg.models.uda.teacher import pseudo_label_weights, pseudo_labels
from mmseg.utils.seeding import Step
from mmseg.utils.user_error import UserError
from tests.golden.fill import array_for, fill
from tests.test_dacs import NORM, THINGS, random_batch, tiny_model

GOLDEN = Path(__file__).parent / 'golden/foundation'
DINOV2 = dict(
    type='TimmViT', model_name='vit_small_patch14_dinov2', embed_dim=96, num_heads=3, img_size=70,
    depth=4,
)  # fmt: skip
WEAK = dict(jitter=(32 / 255, 0.5, 0.5, 18 / 360), jitter_probability=0.9)
MIX = dict(jitter=[0.2] * 4, jitter_probability=0.8, blur_probability=0.5)


def golden(name):
    return np.load(GOLDEN / f'{name}.npz')


def image(name, shape, scale=None):
    args = () if scale is None else (scale,)
    return torch.from_numpy(array_for(name, shape, *args))


def assert_near(found, expected, tolerance=1e-5):
    found = found.detach().numpy()
    assert np.abs(found - expected).max() <= tolerance * max(np.abs(expected).max(), 1e-12)


def test_block_masks():
    arrays = golden('block_mask')
    for i in range(3):
        height, width, block, ratio, *grid = arrays[f'case{i}']
        size = int(height), int(width)
        uniform = torch.from_numpy(arrays[f'u{i}'])
        mask = BlockMask(float(ratio), float(block))
        count = len(uniform) * size[0] * size[1]
        kept = np.unpackbits(arrays[f'mask{i}'])[:count].reshape(-1, 1, *size)
        assert np.array_equal(mask.of(uniform, size).numpy(), kept)
        drawn = mask(torch.ones(2, 3, *size), Step(0, 0))
        assert edges(drawn, 0) == edge_rows(size[0], int(grid[0]))
        assert edges(drawn, 1) == edge_rows(size[1], int(grid[1]))


def edges(masks, dim):
    """Where blocks begin, but for the first, along an axis of masks (N, 1, H, W)."""
    changes = masks[:, 0].diff(dim=1 + dim).ne(0).any(dim=2 - dim).any(dim=0)
    return (changes.nonzero().flatten() + 1).tolist()


def edge_rows(side, cells):
    """The same, of a number of cells that nearest interpolation makes of a side."""
    cell = torch.arange(side) * cells // side
    return (cell.diff().nonzero().flatten() + 1).tolist()


def test_blocks_may_have_a_side_that_is_no_whole_number():
    """The 64 pixels of an image that is enlarged from 1024 to 1120 are 58.5 of the crop."""
    masks = BlockMask(0.7, 58.5)(torch.zeros(2, 3, 1024, 1024), Step(0, 0))
    assert edges(masks, 0) == edges(masks, 1) == edge_rows(1024, 18)


class _Answers(nn.Module):
    """A teacher that answers an image and its mirror image with given logits."""

    def encode_decode(self, img, img_metas):
        is_plain = img[0, 0, 0, 0] < img[0, 0, 0, -1]
        return image(
            'teacher_logits' if is_plain else 'teacher_logits_flipped', (2, 19, 24, 32), 12.0
        )


def test_pseudo_labels_mixed_images_and_their_losses():
    arrays = golden('pseudo_label')
    img = torch.arange(32.0).expand(2, 3, 24, 32)
    valid = torch.from_numpy(arrays['ignore'] != 255)[:, None]
    for flip, name in ((True, 'flip'), (False, 'plain')):
        label, ratio = pseudo_labels(_Answers(), img, None, 0.968, flip)
        weight = pseudo_label_weights(label, ratio, 0, 0, valid)
        assert np.array_equal(label[:, 0].numpy(), arrays[f'{name}_label'])
        assert_near(weight[:, 0], arrays[f'{name}_weight'])
        if flip:
            flipped, flipped_weight = label, weight

    source_label = torch.from_numpy(arrays['source_label']).long()[:, None]
    mask = torch.from_numpy(arrays['mix_mask']).bool()
    source, target = (image(f'{domain}_image', (2, 3, 24, 32)) for domain in ('source', 'target'))
    assert_near(torch.where(mask, source, target), arrays['mixed_image'])
    mixed_label = torch.where(mask, source_label, flipped)
    assert np.array_equal(mixed_label.numpy(), arrays['mixed_label'])
    mixed_weight = torch.where(mask, torch.ones_like(flipped_weight), flipped_weight)[:, 0]
    labelled = arrays['mixed_label'][:, 0] != 255
    assert_near(mixed_weight * torch.from_numpy(labelled), arrays['mixed_weight'])

    logits = image('student_logits', (2, 19, 24, 32))
    loss = LOSSES.build(dict(type='VFMCrossEntropyLoss'))
    for label, weight, name in (
        (flipped, flipped_weight[:, 0], 'masked_loss'),
        (mixed_label, mixed_weight, 'mix_loss'),
    ):
        weight = GivenWeights(weight[:, None], None).sample(logits, label)
        assert_near(loss(logits, label[:, 0], weight, ignore_index=255), arrays[name])


def test_the_mean_over_labelled_pixels_is_that_of_ground_truth():
    logits, label = torch.randn(1, 3, 2, 2), torch.tensor([[[0, 255], [255, 2]]])
    loss = LOSSES.build(dict(type='VFMCrossEntropyLoss'))
    each = torch.nn.functional.cross_entropy(logits, label, ignore_index=255, reduction='none')
    assert torch.allclose(loss(logits, label, ignore_index=255), each.sum() / 2)
    ones = torch.ones(1, 2, 2)
    assert torch.allclose(loss(logits, label, ones, ignore_index=255), each.sum() / 4)
    assert torch.allclose(loss(logits, label, ignore_index=255), each.sum() / 2)


@pytest.mark.parametrize('case', [0, 1])
def test_distillation(case):
    arrays = golden('distill_feature_distance')
    sides = [(3, 7), (5, 4)][case]
    student = image(f'fd_student{case}', (2, 96, sides[0], sides[0])).requires_grad_()
    expected = image(f'fd_teacher{case}', (2, 64, sides[1], sides[1]))
    head = DistillationHead(96, 64)
    fill(head)
    method = FeatureDistillation.__new__(FeatureDistillation)
    nn.Module.__init__(method)
    method.head, method.teacher, method.weight = head, lambda img: expected, 0.1

    def see(img, img_metas, heads):
        assert not heads
        return SimpleNamespace(views=[SimpleNamespace(features=[student])])

    losses = method.losses(see, 'src', None, None, None)
    loss = losses['src.loss_distillation'] / 0.1
    assert_near(loss, arrays[f'loss{case}'])
    loss.backward()
    assert_near(student.grad, arrays[f'grad{case}'], 1e-4)
    sums = [[p.grad.double().sum(), p.grad.double().abs().sum()] for p in head.parameters()]
    assert_near(torch.tensor(sums), arrays[f'param_grad_sums{case}'], 1e-4)


def test_the_classical_feature_distance_on_tokens():
    """VFM-UDA brings the label to the size inside first; cells of its patches are whole then."""
    arrays = golden('vfm_thing_feature_distance')
    label = torch.from_numpy(arrays['label']).long()[:, None]
    inside = torch.nn.functional.interpolate(label.float(), (70, 70)).long()
    student = image('student_feature', (2, 96, 5, 5)).requires_grad_()
    small = downscale_label(inside, (5, 5), 0.75, 19)
    things = torch.isin(small, torch.tensor(THINGS))
    loss = 0.005 * feature_distance(student, image('frozen_feature', (2, 96, 5, 5)), things)
    assert_near(loss, arrays['loss'])
    loss.backward()
    assert_near(student.grad, arrays['grad'], 1e-4)


def test_margins_as_fractions():
    cases = json.loads((GOLDEN / 'margins.json').read_text())
    margins = [cases[side] for side in ('top', 'bottom', 'left', 'right')]
    for case in cases['cases']:
        # mmcv's nearest pixel is rounded down, PIL's, as published, is the one in the middle.
        for place, off in (('at_image_size', 0), ('after_resize', 1)):
            (height, width), expected = case[place]['size'], case[place]
            results = dict(
                ori_shape=(*case['image'], 3), img=np.zeros((height, width, 3)), seg_fields=[]
            )
            mask = MarkMargins(margins)(results)['valid_pseudo_mask']
            rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
            found = [rows[0], rows[-1] + 1, columns[0], columns[-1] + 1]
            kept = [*expected['kept_rows'], *expected['kept_cols']]
            assert np.abs(np.subtract(found, kept)).max() <= off


def test_margins_of_pixels_and_fractions_together():
    results = dict(ori_shape=(40, 64, 3), img=np.zeros((40, 64, 3)), seg_fields=[])
    mask = MarkMargins([3, 0.25, 0, 0.01])(results)['valid_pseudo_mask']
    assert mask[3:30].all()
    assert mask.sum() == 27 * 64  # a hundredth of 64 pixels is none


def test_rare_class_sampling_at_a_high_temperature():
    cases = json.loads((GOLDEN / 'rare_class_sampling_005.json').read_text())
    classes, ratios = class_ratios(count_pixels(cases['sample_class_stats']))
    for temperature, expected in cases['class_probs'].items():
        found = class_probabilities(ratios, float(temperature))
        for c, probability in zip(classes, found, strict=True):
            assert probability == pytest.approx(expected[str(c)], rel=1e-5)


def test_crops_of_a_class_with_balanced_classes(monkeypatch):
    cases = json.loads((GOLDEN / 'rare_class_sampling_005.json').read_text())['cases']
    assert {case['taken'] == case['tries'] for case in cases} == {True, False}
    for case in cases:
        label = np.kron(np.array(case['label_grid']), np.ones((8, 8))).astype(np.uint8)
        side = case['crop']
        boxes = [(top, top + side, left, left + side) for top, left in case['positions']]
        crop = RandomCrop((side, side), cat_max_ratio=0.75)
        drawn = iter(boxes)
        monkeypatch.setattr(crop, 'get_crop_bbox', lambda img, drawn=drawn: next(drawn))
        results = dict(img=np.zeros((*label.shape, 3)), gt_semantic_seg=label)
        results['seg_fields'] = ['gt_semantic_seg']
        rule = case['rare_class'], case['min_pixels'], case['tries']
        taken = crop_with_class(crop, results, *rule)
        top, bottom, left, right = boxes[case['taken']]
        assert np.array_equal(taken['gt_semantic_seg'], label[top:bottom, left:right])


def test_images_are_augmented_each_by_draws_of_its_own():
    img = torch.rand(64, 3, 16, 16)
    augment = ImageAugmentation([0] * 4, 0, grey_probability=0.25)
    step, norm = Step(0, 3), dict(mean=[0] * 3, std=[255] * 3)
    done = augment(img, norm, step)
    is_grey = torch.tensor([torch.allclose(one, rgb_to_grayscale(one[None])[0]) for one in done])
    assert 6 <= is_grey.sum() <= 26  # 16 are expected; binomial
    assert torch.equal(done[~is_grey], img[~is_grey])
    halves = [augment(half, norm, Step(0, 3, rank=r)) for r, half in enumerate(img.chunk(2))]
    assert torch.equal(done, torch.cat(halves))
    assert not torch.equal(done, augment(img, norm, step, 'other '))
    assert not torch.equal(done, augment(img, norm, Step(0, 4)))


def test_how_an_image_is_changed_does_not_follow_from_whether_it_is():
    norm = dict(mean=[0] * 3, std=[255] * 3)
    img = torch.full((256, 3, 2, 2), 0.5)
    changed = ImageAugmentation([0.3, 0, 0, 0], 0.5)(img, norm, Step(0, 0)) - img
    added = changed.mean(dim=(1, 2, 3))[changed.flatten(1).any(dim=1)]
    assert 96 < len(added) < 160  # 128 are expected
    assert added.mean().abs() < 0.05 and added.std() > 0.14  # uniform from -0.3 to 0.3


def test_jitter_and_blur_of_an_image():
    img = torch.rand(1, 3, 32, 32)
    norm = dict(mean=[0] * 3, std=[255] * 3)
    img = 0.4 + 0.2 * img  # so that nothing is clamped
    added = ImageAugmentation([0.3, 0, 0, 0], 1)(img, norm, Step(0, 0)) - img
    assert torch.allclose(added, added.mean(), atol=1e-3)
    assert abs(added.mean()) > 0.01
    blurred = ImageAugmentation([0] * 4, 0, 0, 1, [3, 3])(img, norm, Step(0, 0))
    assert blurred.std() < 0.5 * img.std()
    assert blurred.mean() == pytest.approx(img.mean().item(), abs=0.02)


NETWORK = dict(
    type='EncoderDecoder',
    backbone=dict(DINOV2, mask_token=True, inside_scale=1.1),
    decode_head=dict(
        type='VFMHead', in_channels=96, in_index=3, num_classes=19,
        loss_decode=dict(type='VFMCrossEntropyLoss'),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)  # fmt: skip


def vfm_uda(plus_plus=False, **options):
    """VFM-UDA, or VFM-UDA++, with a tiny encoder."""
    has_token = not plus_plus and options.get('mask_mode', True) is not None
    model = dict(NETWORK, backbone=dict(NETWORK['backbone'], mask_token=has_token))
    mask = dict(type='token', mask_ratio=0.7)
    if plus_plus:
        mask = dict(type='block', mask_ratio=0.7, mask_block_size=16)
        options['feature_distance'] = dict(teacher=dict(DINOV2, out_indices=[3]), weight=0.1)
    settings = dict(
        mask_mode='separatetrgaug', mask_generator=mask, alpha=0.999, flip_pseudo_labels=True,
        augmentations=dict(source=WEAK, target=WEAK, mix=MIX), debug_img_interval=0,
    )  # fmt: skip
    return SEGMENTORS.build(dict(type='DACS', model=model, **settings | options))


def one_step(method, iteration=0, lr=0.01):
    method.train()
    weights = [*method.model.parameters(), *method.trained_beside()]
    optimizer = torch.optim.SGD([p for p in weights if p.requires_grad], lr=lr)
    return method.train_step(random_batch(), optimizer, step=Step(0, iteration))['log_vars']


def test_a_step_of_vfm_uda():
    method = vfm_uda(pseudo_threshold=0.0)
    fill(method.model)
    method.start_from_student()
    token = method.model.backbone.mask_token.clone()
    hidden, passes = [], []
    encoder = method.model.backbone

    def watch(module, inputs, output):
        hidden.append(module._hidden)
        passes.append(inputs[0])

    encoder.register_forward_hook(watch)
    logged = one_step(method)
    assert {'decode.loss_ce', 'mix.decode.loss_ce', 'masked.decode.loss_ce'} <= set(logged)
    assert [mask is not None for mask in hidden] == [False, False, True]
    assert hidden[2].shape == (2, *encoder.token_grid((64, 64)))
    assert 0.4 < hidden[2].float().mean() < 1
    assert not torch.equal(encoder.mask_token, token)
    batch = random_batch()
    assert not torch.allclose(passes[0], batch['img'])  # jittered
    assert not torch.allclose(passes[2], batch['target_img'])


def test_the_teacher_sees_plain_images_and_their_mirror_images():
    method, seen = vfm_uda(), []
    method.ema_model.backbone.register_forward_hook(
        lambda module, inputs, _: seen.append(inputs[0])
    )
    one_step(method)
    target = random_batch()['target_img']
    assert len(seen) == 2
    assert torch.equal(seen[0], target)
    assert torch.equal(seen[1], target.flip(3))


def test_steps_of_vfm_uda_plus_plus():
    method = vfm_uda(plus_plus=True)
    distillation = method.feature_distance
    frozen = {name: value.clone() for name, value in distillation.teacher.state_dict().items()}
    head = [weight.clone() for weight in method.trained_beside()]
    seen = []
    distillation.teacher.backbone.register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0])
    )
    logged = one_step(method)
    assert {'src.loss_distillation', 'trg.loss_distillation'} <= set(logged)
    batch = random_batch()
    assert torch.equal(seen[0], batch['img'])
    assert torch.equal(seen[1], batch['target_img'])
    assert not any(map(torch.equal, method.trained_beside(), head))
    assert all(torch.equal(distillation.teacher.state_dict()[n], v) for n, v in frozen.items())
    names = set(method.state_dict())
    assert 'feature_distance.head.feat_project.3.weight' in names
    last = [one_step(method, i, lr=0.2)['src.loss_distillation'] for i in range(1, 9)][-1]
    assert last < logged['src.loss_distillation']


def test_augmentations_do_not_depend_on_those_of_other_images():
    """The mix has the plain source in it, and the jittered target."""
    method, given = vfm_uda(mask_mode=None), []
    augment = method.augment
    method.augment = lambda img, *args: given.append(img) or augment(img, *args)
    plain = method.augment_target
    method.augment_target = lambda img, *args: img + 7
    one_step(method)
    batch = random_batch()
    is_source = given[0] == batch['img']
    assert torch.equal(torch.where(is_source, batch['img'], batch['target_img'] + 7), given[0])
    assert 0.05 < is_source.float().mean() < 0.95
    assert isinstance(plain, ImageAugmentation)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(mask_generator=dict(type='token', mask_ratio=0.5)), 'mask_token=True'),
        (dict(mask_generator=dict(type='block', mask_ratio=0.5)), 'has no mask_block_size'),
        (
            dict(mask_generator=dict(type='token', mask_ratio=0.5, mask_block_size=32)),
            'takes no mask_block_size',
        ),
        (dict(feature_distance=dict(teacher=DINOV2), source_only=True), 'source_only=False'),
        (
            dict(
                model=NETWORK, mask_generator=dict(type='block', mask_ratio=0.5, mask_block_size=9)
            ),
            'mask_token=True is for',
        ),
        (dict(model=NETWORK, mask_mode=None), 'mask_token=True is for'),
    ],
)
def test_mistakes(options, message):
    options = dict(type='DACS', model=tiny_model(), mask_mode='separatetrg') | options
    if 'mask_generator' not in options:
        options['mask_mode'] = None
    with pytest.raises(UserError, match=message):
        SEGMENTORS.build(options)


def test_the_norm_of_images_is_kept():
    """Grey images are grey in [0, 255], whatever the normalisation is."""
    mean, std = (torch.tensor(NORM[key]).view(1, 3, 1, 1) for key in ('mean', 'std'))
    img = (torch.rand(4, 3, 8, 8) * 255 - mean) / std
    grey = ImageAugmentation([0] * 4, 0, 1)(img, NORM, Step(0, 0)) * std + mean
    assert torch.allclose(grey, rgb_to_grayscale(img * std + mean).expand(-1, 3, -1, -1), atol=1e-2)
