"""Masked image consistency, alone and on HRDA, against runs of the published implementation."""

import ast

import cv2
import numpy as np
import pytest
import torch

from mmseg.models.builder import SEGMENTORS
from mmseg.models.segmentors.hrda_encoder_decoder import HRDAEncoderDecoder
from mmseg.models.uda import base
from mmseg.models.uda import dacs as dacs_module
from mmseg.models.uda.debug_images import save_debug_images
from mmseg.models.uda.masked_consistency import BlockMask, build_mask
from mmseg.models.uda.teacher import update_teacher
from mmseg.utils.gradients import Gradients
from mmseg.utils.seeding import Step
from mmseg.utils.user_error import UserError
from tests.golden.fill import array_for, fill
from tests.test_dacs import THINGS, batch, random_batch, tiny_model
from tests.test_hrda import assert_sums, golden, golden_json, hrda_model

SIZES = dict(hrda=128, daformer=96)
FD = dict(
    imnet_feature_dist_lambda=0.005, imnet_feature_dist_classes=THINGS,
    imnet_feature_dist_scale_min_ratio=0.75,
)  # fmt: skip


def build_method(network, settings, model=None):
    settings = {
        key: ast.literal_eval(value) if isinstance(value, str) and key != 'mask_mode' else value
        for key, value in settings.items()
    }
    model = model or (hrda_model() if network == 'hrda' else tiny_model())
    options = dict(mask_lambda=1, debug_img_interval=0, **FD) | settings
    if options['mask_mode'] == 'None':
        options['mask_mode'] = None
    return SEGMENTORS.build(dict(type='DACS', model=model, **options))


def start(method):
    """Fill the networks as the golden runs did; the frozen encoder is 0.9 times the student's."""
    fill(method.model)
    weights = method.model.backbone.state_dict()
    method.imnet_model.backbone.load_state_dict({n: 0.9 * w for n, w in weights.items()})
    own = method.mic.teacher if method.mic is not None else None
    for teacher in (method.ema_model, own and own.ema_model):
        if teacher is not None:
            update_teacher(list(teacher.parameters()), list(method.model.parameters()), 0, 0.9)


def golden_batch(monkeypatch, network, arrays, i, boxes, dtype):
    """The batch of an iteration, with the masks and boxes that were drawn for it."""
    side = SIZES[network]
    mix = torch.from_numpy(arrays[f'mix_mask_{i}']).bool().view(2, 1, side, side)
    monkeypatch.setattr(dacs_module, 'draw_class_masks', lambda *_: mix)
    uniform = torch.from_numpy(arrays[f'mask_uniform_{i}']).to(dtype)
    monkeypatch.setattr(
        BlockMask, '__call__', lambda self, img, step: self.of(uniform[: len(img)], img.shape[2:])
    )
    boxes = iter(boxes)
    monkeypatch.setattr(HRDAEncoderDecoder, 'draw_box', lambda *_: tuple(next(boxes)))
    data = batch(
        array_for(f'source_image_{i}', (2, 3, side, side)),
        arrays[f'source_label_{i}'].reshape(2, 1, side, side),
        array_for(f'target_image_{i}', (2, 3, side, side)),
    )
    data['img'], data['target_img'] = data['img'].to(dtype), data['target_img'].to(dtype)
    if f'valid_pseudo_mask_{i}' in arrays:
        data['valid_pseudo_mask'] = torch.from_numpy(arrays[f'valid_pseudo_mask_{i}'])
    return data


def assert_iterations(monkeypatch, network, arrays, expected, dtype, tolerances):
    method = build_method(network, expected['settings'])
    start(method.to(dtype))  # in double the frozen encoder is 0.9 times the student's in double
    method.train()
    optimizer = torch.optim.AdamW(method.model.parameters(), lr=5e-4, weight_decay=0.01)
    last = len(expected['iterations']) - 1
    for i, (iteration, tolerance) in enumerate(
        zip(expected['iterations'], tolerances, strict=False)
    ):
        data = golden_batch(monkeypatch, network, arrays, i, iteration['boxes'], dtype)
        if i == last:  # the arrays hold the teacher that labelled the last batch
            method.after_step = lambda step: None
        found = method.train_step(data, optimizer, step=Step(0, i))['log_vars']
        losses = {n.replace('loss_ce', 'loss_seg'): v for n, v in found.items()}
        for name, value in iteration['losses'].items():
            assert losses[name] == pytest.approx(value, rel=tolerance), (i, name)
        ours = [n for n in losses if n.endswith(('loss_seg', 'dist'))]
        assert len(ours) == len(iteration['losses'])
        quality = iteration['pseudo_label_quality']
        if quality is not None:
            assert losses['pseudo_label_weight'] == pytest.approx(
                quality, rel=max(tolerance, 1e-7)
            )  # float32
    assert_sums(method.model.state_dict(), expected['student'], tolerance)
    if 'teacher' in expected:
        assert_sums(method.ema_model.state_dict(), expected['teacher'], tolerance)


@pytest.mark.long
@pytest.mark.parametrize('network', SIZES)
def test_three_iterations_in_double(monkeypatch, network):
    expected = golden_json(f'mic_{network}_3_steps_float64')
    arrays = golden(f'mic_{network}_3_steps')
    assert_iterations(monkeypatch, network, arrays, expected, torch.float64, [1e-11] * 3)


MODES = golden_json('mic_modes')


@pytest.mark.parametrize('case', MODES)
def test_modes(monkeypatch, case):
    network = case.partition('/')[0]
    arrays = golden(f'mic_modes_{network}')
    assert_iterations(monkeypatch, network, arrays, MODES[case], torch.float32, (1e-4, 5e-3))


def test_masks_are_those_of_the_published_draws():
    arrays = golden('masks')
    for case in golden_json('masks'):
        i, size = case['case'], (case['height'], case['width'])
        mask = BlockMask(case['ratio'], case['block'])
        torch.manual_seed(case['torch_seed'])
        uniform = torch.rand(case['grid'])
        assert torch.equal(uniform, torch.from_numpy(arrays[f'uniform_{i}']))
        kept = np.unpackbits(arrays[f'mask_{i}'], axis=-1)[..., : size[1]]
        assert np.array_equal(mask.of(uniform, size)[:, 0].numpy(), kept)
        drawn = mask(torch.zeros(2, 3, *size), Step(0, 0))
        assert drawn.shape == (2, 1, *size)


def test_masks_and_boxes_follow_from_seed_iteration_and_image():
    mask, img = BlockMask(0.5, 4), torch.zeros(4, 3, 32, 32)
    step = Step(3, 7)
    whole = mask(img, step)
    assert torch.equal(whole, mask(img, step))
    parts = [mask(img[:2], Step(3, 7, rank=rank)) for rank in range(2)]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, mask(img, Step(3, 8)))


def mic(mode='separatetrgaug', **options):
    generator = dict(type='block', mask_ratio=0.7, mask_block_size=16, _delete_=True)
    model = options.pop('model', None)
    settings = dict(mask_generator=generator, mask_mode=mode, **options)
    return build_method('daformer', settings, model)


def test_micro_batches_draw_the_boxes_and_masks_of_the_whole_batch(monkeypatch):
    """With BatchNorm in eval mode everything is per image, so two halves make the whole batch."""
    gradients, boxes = [], []
    original = HRDAEncoderDecoder.draw_box

    def note(self, size, generator=None):
        boxes.append(original(self, size, generator))
        return boxes[-1]

    monkeypatch.setattr(HRDAEncoderDecoder, 'draw_box', note)
    for parts in (1, 2):
        method = mic('separatesrc', model=hrda_model(), source_only=True)
        start(method)
        method.double().eval()
        method.gradients = Gradients(parts)
        optimizer = torch.optim.SGD(method.model.parameters(), lr=0)
        data = random_batch(size=128)
        data['img'], data['target_img'] = data['img'].double(), data['target_img'].double()
        # The feature distance is a mean over things, of which the halves have different numbers.
        method.imnet_model = None
        data['gt_semantic_seg'] = data['gt_semantic_seg'][:1].expand(2, -1, -1, -1)
        method.train_step(data, optimizer, step=Step(5, 2))
        gradients.append([weight.grad for weight in method.model.parameters()])
    assert boxes[:2] == boxes[2:4] == boxes[4:]
    assert boxes[0] != boxes[1]
    for one, two in zip(*gradients, strict=True):
        assert torch.allclose(one, two, rtol=1e-9, atol=1e-12)


def test_own_teacher_is_saved_and_follows_the_student():
    method = mic(mask_alpha=0.5, mask_pseudo_threshold=None)
    name = 'mic.teacher.ema_model.backbone.patch_embed1.proj.weight'
    assert name in method.state_dict()
    method.start_from_student()
    method.train()
    teacher = method.mic.teacher.ema_model
    assert teacher in method.networks() and method.mic not in method.networks()
    assert not any(weight.requires_grad for weight in teacher.parameters())
    assert torch.equal(method.state_dict()[name], method.model.backbone.patch_embed1.proj.weight)
    optimizer = torch.optim.SGD(method.model.parameters(), lr=0.1)
    for i in range(2):
        before = method.state_dict()[name].clone()
        method.train_step(random_batch(), optimizer, step=Step(0, i))
        decay = min(1 - 1 / (i + 2), 0.5)
        student = method.model.backbone.patch_embed1.proj.weight
        expected = torch.lerp(before, student, 1 - decay)
        assert torch.equal(method.state_dict()[name], expected)


def test_no_teacher_of_its_own_where_the_labels_are_shared():
    assert mic().mic.teacher is None
    assert mic('separatesrc', mask_alpha=0.5).mic.teacher is None
    assert mic('separate', source_only=True).mic.teacher is not None
    assert mic('separatesrc', source_only=True).ema_model is None


def test_wrong_options():
    with pytest.raises(UserError, match="mask_mode is 'both'"):
        mic('both')
    with pytest.raises(UserError, match="there are 'block' and 'token'"):
        build_mask(dict(type='pixel', mask_ratio=0.7), None)
    with pytest.raises(UserError, match=r"'separate'.*3 image.*cannot be halved"):
        mic('separate').check_batch(3)
    mic('separate').check_batch(4)


def test_augmented_masked_images_are_blurred_alike_and_drawn_anew(monkeypatch):
    """The blur of a masked batch has one sigma; the mixed images' draws are others."""
    method, seen = mic(), []
    monkeypatch.setattr(
        'mmseg.models.uda.strong_augmentation.gaussian_blur',
        lambda img, generators, *_: seen.append(len(generators)) or img,
    )
    monkeypatch.setattr('mmseg.models.uda.strong_augmentation.BLUR_THRESHOLD', 0)
    method.start_from_student()
    method.train()
    optimizer = torch.optim.SGD(method.model.parameters(), lr=0)
    method.train_step(random_batch(), optimizer, step=Step(0, 0))
    assert seen == [2, 1]


def test_debug_images_show_what_every_pass_saw(monkeypatch, tmp_path):
    shown = {}
    monkeypatch.setattr(base, 'save_debug_images', lambda step, *_: shown.update(step.pictures))
    mask = dict(mask_ratio=0.7, mask_block_size=32)
    method = build_method('hrda', dict(mask_mode='separatetrgaug', mask_generator=mask))
    method.debug_img_interval, method.PALETTE = 1, []
    method.train()
    data = random_batch(size=128)
    optimizer = torch.optim.SGD(method.model.parameters(), lr=0.0)
    method.train_step(data, optimizer, step=Step(0, 0, work_dir=str(tmp_path)))
    assert method.student._step is None  # nothing keeps the pictures
    detail = ['detail crop', 'trust in the detail']
    assert {row: list(pictures) for row, pictures in shown.items()} == {
        'source': ['image', 'label', *detail, 'FD label', 'FD mask'],
        'target': ['image', 'pseudo-label', 'weight'],
        'mixed': ['image', 'label', 'weight', *detail, 'from the source'],
        'masked': ['image', 'label', 'weight', *detail],
    }
    source, mixed, masked = shown['source'], shown['mixed'], shown['masked']
    assert torch.equal(source['image'], data['img'])
    kept = mixed['from the source'].expand_as(mixed['label'])
    assert torch.equal(mixed['label'][kept], source['label'][kept])
    hidden = (masked['image'] == 0).all(dim=1).float().mean()
    assert 0.4 < hidden < 0.95
    # The detail is trusted inside the box that it was cut out of, and nowhere else.
    trust = source['trust in the detail']
    rows, columns = trust[0, 0].amax(dim=1).nonzero(), trust[0, 0].amax(dim=0).nonzero()
    side = source['detail crop'].shape[-1]
    y1, x1 = 4 * int(rows[1]), 4 * int(columns[1])  # upsampling blurs the border by one position
    y1, x1 = (0 if start == 4 else start for start in (y1, x1))
    box = data['img'][..., y1 : y1 + side, x1 : x1 + side]
    assert torch.equal(source['detail crop'], box) and 0 < trust.max() < 1


def test_images_are_drawn_without_a_teacher_and_with_nan(tmp_path):
    step = Step(0, 4, work_dir=str(tmp_path), pictures={})
    image = torch.full((2, 3, 32, 64), torch.nan)
    step.show('target', {'image': image, 'prediction': lambda: torch.ones(2, 1, 8, 16).long()})
    step.show('masked', {'image': image, 'label': None})
    save_debug_images(
        step, dict(mean=[9, 9, 9], std=[1, 1, 1], to_rgb=True), [[0, 0, 0], [1, 2, 3]]
    )
    drawn = cv2.imread(str(tmp_path / 'class_mix_debug' / '000005_1.png'))
    assert drawn.shape == (2 * (160 + 26), 2 * 324, 3)
    assert drawn[100, 100].tolist() == [9, 9, 9]  # NaN as the mean
    assert drawn[100, 424].tolist() == [3, 2, 1]
    assert drawn[300, 424].tolist() == [255, 255, 255]  # nothing is there


@pytest.mark.parametrize('source_only', [False, True])
def test_ignored_rows_have_no_weight_in_masked_images(monkeypatch, source_only):
    seen = []
    mask = dict(mask_mode='separatetrg', mask_generator=dict(mask_ratio=0.7, mask_block_size=8))
    rows = dict(pseudo_weight_ignore_top=5, pseudo_weight_ignore_bottom=3, pseudo_threshold=0)
    method = build_method('daformer', mask | rows | dict(source_only=source_only))
    method.init_weights()
    method.train()

    call = type(method.student).__call__

    def spy(self, *given, row=None):
        if row == 'masked':
            seen.append(given[3])
        return call(self, *given, row=row)

    monkeypatch.setattr(type(method.student), '__call__', spy)
    optimizer = torch.optim.SGD(method.model.parameters(), lr=0.0)
    method.train_step(random_batch(), optimizer, step=Step(0, 0))
    (weight,) = seen
    rows = weight.amax(dim=(0, 1, 3))
    assert (rows[:5] == 0).all() and (rows[-3:] == 0).all() and (rows[5:-3] == 1).all()


def test_masking_without_a_mask_is_refused():
    with pytest.raises(UserError, match=r'needs uda.mask_generator, e.g. dict'):
        build_method('daformer', dict(mask_mode='separatetrg', mask_generator=None))
