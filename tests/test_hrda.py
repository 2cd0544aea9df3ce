"""HRDA's networks against arrays of the published implementation, and their sizes and boxes."""

import json
import os.path as osp

import numpy as np
import pytest
import torch
from mmcv import Config, ConfigDict

from mmseg.engine.trained import start_from
from mmseg.models.builder import build_segmentor
from mmseg.models.segmentors.hrda_encoder_decoder import HRDAEncoderDecoder, crop_box
from mmseg.models.training_pass import TrainingPass
from mmseg.utils.user_error import UserError
from tests.golden.fill import array_for, fill

HERE = osp.dirname(__file__)
GOLDEN = osp.join(HERE, 'golden/successors')
META = [dict(ori_shape=(160, 224, 3), img_shape=(160, 224, 3), flip=False)]


def golden(name):
    return np.load(osp.join(GOLDEN, f'{name}.npz'))


def golden_json(name):
    with open(osp.join(GOLDEN, f'{name}.json')) as file:
        return json.load(file)


def hrda_model(head=None, **options):
    """The config of the golden networks: a detail crop of half the image's side."""
    path = osp.join(HERE, '../configs/_base_/models/daformer_sepaspp_mitb5.py')
    model = Config.fromfile(path).model
    model.pretrained = None
    model.backbone = dict(type='mit_b0', drop_path_rate=0.0)
    model.decode_head.update(
        type='HRDAHead', single_scale_head='DAFormerHead', in_channels=[32, 64, 160, 256],
        dropout_ratio=0.0, hr_loss_weight=0.1,
    )  # fmt: skip
    model.decode_head.update(head or {})
    model.update(
        type='HRDAEncoderDecoder', scales=[1, 0.5], hr_crop_size=(64, 64), feature_scale=0.5,
        crop_coord_divisible=8,
    )  # fmt: skip
    model.update(options)
    return model


def dlv2_model():
    head = dict(
        single_scale_head='DLV2Head', in_channels=2048, in_index=3, dilations=(6, 12),
        num_classes=19, align_corners=False, hr_loss_weight=0.1,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False),
    )  # fmt: skip
    backbone = Config.fromfile(
        osp.join(HERE, '../configs/_base_/models/deeplabv2red_r50-d8.py')
    ).model.backbone
    model = hrda_model()
    model.backbone = backbone
    model.decode_head = dict(type='HRDAHead', **head)
    return model


def build(*args, **options):
    return fill(build_segmentor(hrda_model(*args, **options))).eval()


def image():
    return torch.from_numpy(array_for('img', (2, 3, 128, 128)))


def assert_near(found, expected, tolerance=1e-5):
    error = np.abs(found.detach().numpy() - expected).max() / np.abs(expected).max()
    assert error < tolerance


@torch.no_grad()
def test_encode_decode_and_its_parts():
    network, arrays = build(), golden('hrda_mitb0')
    parts = {}
    network.decode_head.register_forward_hook(lambda _, inputs, outputs: parts.update(all=inputs))
    logits = network.encode_decode(image(), None)
    assert_near(logits[..., ::4, ::4], arrays['logits'])
    context, detail, boxes = parts['all']
    assert np.array_equal(boxes, arrays['boxes'])
    head = network.decode_head
    fused, attenuated, windows, _ = head(context, detail, boxes)
    assert_near(fused[..., ::2, ::2], arrays['logits_small'])
    assert_near(head.scale_attention(context).sigmoid(), arrays['attention'])
    assert_near(head.head(context), arrays['context_logits'])
    assert attenuated.shape == (2, 19, 16, 16)
    assert windows.shape == (18, 19, 16, 16)


@torch.no_grad()
@pytest.mark.parametrize('batched', [True, False])
def test_sliding_inference(batched):
    network, arrays = build(), golden('hrda_slide_mitb0')
    big = torch.from_numpy(array_for('big', (1, 3, 160, 224)))
    network.test_cfg = ConfigDict(
        mode='slide', crop_size=(128, 128), stride=(64, 64), batched_slide=batched
    )
    probabilities = network.inference(big, META, True)
    assert_near(probabilities[..., ::4, ::4], arrays['slide_probabilities'])
    labels = probabilities.argmax(1)[..., ::2, ::2].numpy()
    assert (labels == arrays['slide_labels'].reshape(labels.shape)).mean() > 0.999


@torch.no_grad()
def test_whole_inference_and_the_attention():
    network, arrays = build(), golden('hrda_slide_mitb0')
    big = torch.from_numpy(array_for('big', (1, 3, 160, 224)))
    network.test_cfg = ConfigDict(mode='whole')
    probabilities = network.inference(big, META, True)
    assert_near(probabilities[..., ::8, ::8], arrays['whole_probabilities'])
    network.decode_head.debug_output_attention = True
    attention = network.whole_inference(big, META, True)
    expected = arrays['attention_picture']
    assert_near(attention[..., ::4, ::4].reshape(expected.shape), expected)


VARIANTS = dict(
    nooverlap=dict(hr_slide_overlapping=False),
    noslide=dict(hr_slide_inference=False),
    fixedatt=dict(head=dict(fixed_attention=0.5)),
    lr=dict(head=dict(fixed_attention=0.0)),
    hr=dict(head=dict(fixed_attention=1.0)),
    singleatt=dict(head=dict(attention_classwise=False)),
    blurhr=dict(blur_hr_crop=True),
    samescale=dict(scales=[1, 1], feature_scale=1),
    sc025=dict(scales=[1, 0.25], feature_scale=0.25),
)


@torch.no_grad()
@pytest.mark.parametrize('name', VARIANTS)
def test_options(name):
    logits = build(**VARIANTS[name]).encode_decode(image(), None)
    assert_near(logits[..., ::8, ::8], golden('hrda_variants_mitb0')[name])


@torch.no_grad()
def test_deeplabv2_as_single_scale_head():
    network, arrays = fill(build_segmentor(dlv2_model())).eval(), golden('hrda_dlv2red_r50')
    key = next(key for key in arrays if key != 'attention')
    assert_near(network.encode_decode(image(), None)[..., ::8, ::8], arrays[key])
    context = network.extract_feat(torch.nn.functional.interpolate(image(), scale_factor=0.5,
                                                                   mode='bilinear'))  # fmt: skip
    assert_near(network.decode_head.scale_attention(context).sigmoid(), arrays['attention'])


WHOLE = dict(hr_crop_size=(128, 128), head=dict(lr_loss_weight=0.1), feature_scale='all')
TRAINED = dict(
    plain={}, weighted={}, corner={}, no_detail_loss=dict(head=dict(hr_loss_weight=0)),
    fixedatt=VARIANTS['fixedatt'], singleatt=VARIANTS['singleatt'], blurhr=VARIANTS['blurhr'],
    samescale=VARIANTS['samescale'], whole_detail=WHOLE, sc025=dict(WHOLE, scales=[1, 0.25]),
    sc075=dict(WHOLE, scales=[1, 0.75]),
)  # fmt: skip


def forward_pass(monkeypatch, network, case, expected, dtype=torch.float32):
    """A forward and backward pass in training mode, with the box of the golden run."""
    monkeypatch.setattr(HRDAEncoderDecoder, 'draw_box', lambda *args: tuple(expected['box']))
    network = network.to(dtype).train()
    label = torch.from_numpy(golden('hrda_train_mitb0')['label']).long()
    weight = None
    if case != 'plain':
        weight = torch.from_numpy(np.abs(array_for('w', (2, 128, 128))))[:, None].to(dtype)
    output = TrainingPass(network)(image().to(dtype), None, label, weight)
    losses = {n: value for n, value in output.losses.items() if 'loss' in n}
    sum(losses.values()).backward()
    return output, {n.replace('loss_ce', 'loss_seg'): v.item() for n, v in losses.items()}


def assert_sums(found, expected, tolerance, is_small=1e-4):
    """Compare [sum, abs sum] by name; gradients that are zero but for rounding are left out."""
    for name, (total, absolute) in expected.items():
        if absolute > is_small:
            value = found[name].detach().double()
            assert value.sum().item() == pytest.approx(total, abs=tolerance * absolute), name
            assert value.abs().sum().item() == pytest.approx(absolute, rel=tolerance), name


def assert_pass(monkeypatch, case, expected, dtype, loss_tolerance, gradient_tolerance):
    network = fill(build_segmentor(hrda_model(**TRAINED[case])))
    output, losses = forward_pass(monkeypatch, network, case, expected, dtype)
    assert losses == pytest.approx(expected['losses'], rel=loss_tolerance)
    shapes = [[list(feature.shape) for feature in view.features] for view in output.views]
    assert shapes == expected['feature_shapes']
    gradients = {name: weight.grad for name, weight in network.named_parameters()}
    assert_sums(gradients, expected['gradients'], gradient_tolerance)
    buffers = dict(network.named_buffers())
    assert_sums(buffers, expected['buffers'], 1e-5)
    return gradients


@pytest.mark.parametrize('case', TRAINED)
def test_losses_gradients_and_buffers_of_a_training_pass(monkeypatch, case):
    expected = golden_json('hrda_train_mitb0')[case]
    assert_pass(monkeypatch, case, expected, torch.float32, 1e-5, 5e-3)


@pytest.mark.parametrize('case', ['weighted', 'whole_detail', 'fixedatt'])
def test_training_passes_in_double(monkeypatch, case):
    expected = golden_json('hrda_train_mitb0_float64')[case]
    gradients = assert_pass(monkeypatch, case, expected, torch.float64, 1e-7, 1e-6)
    if case != 'weighted':
        return
    arrays = golden('hrda_train_mitb0_float64')
    for key in arrays:
        if key.startswith('gradient/'):
            shape = arrays[key].shape
            part = gradients[key.removeprefix('gradient/')][tuple(map(slice, shape))]
            assert_near(part, arrays[key], 1e-6)


def test_a_training_pass_of_deeplabv2(monkeypatch):
    expected = golden_json('hrda_train_dlv2red_r50')
    network = fill(build_segmentor(dlv2_model()))
    _, losses = forward_pass(monkeypatch, network, 'weighted', expected)
    assert losses == pytest.approx(expected['losses'], rel=1e-5)
    gradients = {name: weight.grad for name, weight in network.named_parameters()}
    assert_sums(gradients, expected['gradients'], 5e-3)


def test_boxes_are_those_of_the_published_draws():
    for case in golden_json('crop_boxes'):
        np.random.seed(case['seed'])
        boxes = [
            list(crop_box(case['image'], case['crop'], case['divisible'], np.random.randint))
            for _ in case['boxes']
        ]
        assert boxes == case['boxes'], case


def test_boxes_where_the_published_code_has_none():
    def last(count):
        return count - 1

    assert crop_box((64, 128), (64, 64), 8, last) == (0, 64, 56, 120)
    assert crop_box((70, 128), (64, 64), 8, last) == (0, 64, 56, 120)
    with pytest.raises(UserError, match='does not fit into images of 56×128'):
        crop_box((56, 128), (64, 64), 8, last)


@torch.no_grad()
@pytest.mark.parametrize('size', [(130, 132), (40, 200)])
def test_images_of_any_size(size):
    network = build()
    logits = network.encode_decode(torch.randn(1, 3, *size), None)
    assert logits.shape == (1, 19, *size)
    # Padding is the mean colour, which the normalisation makes 0.
    padded = torch.zeros(1, 3, 136, 136)
    padded[..., :130, :132] = (
        image()[:1, :, :1].expand(1, 3, 130, 128).repeat(1, 1, 1, 2)[..., :132]
    )
    whole = network.encode_decode(padded, None)[..., :130, :132]
    assert_near(network.encode_decode(padded[..., :130, :132], None), whole.numpy(), 1e-6)


@torch.no_grad()
@pytest.mark.parametrize('scale', [0.25, 0.5, 0.75])
def test_images_that_are_smaller_than_the_context(scale):
    network = build(scales=[1, scale], feature_scale=scale)
    for size in ((32, 64), (1, 32), (43, 33)):
        assert network.encode_decode(torch.randn(1, 3, *size), None).shape == (1, 19, *size)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(scales=[1]), 'HRDA has two'),
        (dict(scales=[2, 1]), 'the larger of which is 1'),
        (dict(feature_scale=0.25), 'neither'),
        (dict(hr_crop_size=(60, 64)), 'multiples of 8'),
        (dict(crop_coord_divisible=3), 'no multiple of the stride of the head, 4'),
        (dict(head=dict(hr_loss_weight=0.7, lr_loss_weight=0.7)), 'nor more than 1 together'),
        (dict(head=dict(single_scale_head='FCNHead')), 'DAFormerHead, DLV2Head'),
        (dict(auxiliary_head=dict(type='FCNHead')), 'no auxiliary_head'),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(UserError, match=message):
        build_segmentor(hrda_model(**options))


def test_attention_in_place_of_predictions_is_not_trained():
    network = build(head=dict(debug_output_attention=True))
    with pytest.raises(UserError, match='--hrda-out ATT'):
        TrainingPass(network)(torch.zeros(2, 3, 128, 128), None)


def test_a_detail_crop_lies_where_its_map_does_unless_told_otherwise():
    assert build(crop_coord_divisible=None).crop_coord_divisible == 8
    assert build(crop_coord_divisible=None, scales=[1, 0.25], feature_scale=0.25).divisor == 16


def test_a_training_image_of_another_size_names_the_sizes():
    network = build()
    with pytest.raises(UserError, match=r'132×128.*multiples of 8'):
        TrainingPass(network)(torch.zeros(2, 3, 132, 128), None)


@pytest.mark.parametrize('name', ['mitb0', 'mitb5'])
def test_names_of_weights(name):
    expected = golden_json(f'hrda_daformer_sepaspp_{name}_keys')
    model = hrda_model()
    model.backbone['type'] = f'mit_{name[3:]}'
    if name == 'mitb5':
        model.decode_head.in_channels = [64, 128, 320, 512]
    assert_names(build_segmentor(model), expected)


def assert_names(network, expected):
    assert {n: list(w.shape) for n, w in network.state_dict().items()} == expected


def test_weights_of_a_single_scale_network_become_the_decoder_of_both_scales():
    network = build()
    single = {
        name.replace('decode_head.head.', 'decode_head.'): weight + 1
        for name, weight in network.state_dict().items()
        if 'scale_attention' not in name
    }
    converted, own = network.convert_weights(single), network.state_dict()
    assert list(converted) and set(converted) == set(own)
    for name, weight in converted.items():
        added = 0 if 'scale_attention' in name else 1
        assert torch.equal(weight, own[name] + added), name
    fixed = build(head=dict(fixed_attention=0.5))
    assert set(fixed.convert_weights(own)) == set(fixed.state_dict())


def test_a_run_starts_from_a_checkpoint_of_a_single_scale_network(tmp_path):
    network = build_segmentor(hrda_model())
    network.CLASSES = None
    weights = {
        f'model.{name.replace("decode_head.head.", "decode_head.")}': weight + 1
        for name, weight in network.state_dict().items()
        if 'scale_attention' not in name
    }
    path = tmp_path / 'daformer.pth'
    torch.save({'state_dict': weights}, path)
    expected = {n: w + 1 for n, w in network.state_dict().items() if 'decode_head.head' in n}
    start_from(network, hrda_model(), str(path))
    for name, weight in expected.items():
        assert torch.equal(network.state_dict()[name], weight)
