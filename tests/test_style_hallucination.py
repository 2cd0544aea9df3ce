"""Style hallucination (SHADE) against runs of the published implementation and by its parts."""

import numpy as np
import pytest
import torch

from mmseg.models import build_backbone
from mmseg.models.builder import SEGMENTORS
from mmseg.models.segmentors.hrda_encoder_decoder import HRDAEncoderDecoder
from mmseg.models.style_hallucination import (
    StyleHallucination,
    channel_statistics,
    farthest_points,
    image_styles,
)
from mmseg.models.uda.style_consistency import style_consistency
from mmseg.utils.gradients import Gradients
from mmseg.utils.seeding import Step
from mmseg.utils.user_error import UserError
from tests.golden.fill import array_for, fill
from tests.test_dacs import batch, random_batch, tiny_model
from tests.test_hrda import assert_near, assert_sums, golden, golden_json, hrda_model
from tests.test_mic import FD

STYLES = dict(concentration_coeff=0.0156, base_style_num=64, style_dim=32)


def array(name, shape):
    return torch.from_numpy(array_for(name, shape))


def shade(network='daformer', weight=10.0, **options):
    """DAFormer-DG or HRDA-DG with golden prototypes; the frozen encoder is 0.9 times the student's."""
    model = hrda_model(hr_crop_size=(48, 48)) if network == 'hrda' else tiny_model()
    model.backbone['style_hallucination_cfg'] = STYLES
    options = dict(source_only=True, debug_img_interval=0) | FD | options
    method = SEGMENTORS.build(
        dict(type='DACS', model=model, style_consistency_lambda=weight, **options)
    )
    weights = fill(method.model).backbone.state_dict()
    if method.imnet_model is not None:
        method.imnet_model.backbone.load_state_dict({n: 0.9 * w for n, w in weights.items()})
    method.styles.hallucination.proto_mean.copy_(array('proto_mean', (64, 32)))
    method.styles.hallucination.proto_std.copy_(array('proto_std', (64, 32)).abs())
    return method.train()


# Against the published implementation


def test_styles_equal_the_golden_arrays(monkeypatch):
    arrays = golden('dg_pieces')
    hallucination = StyleHallucination(32, 0.0156, 64)
    hallucination.proto_mean.copy_(array('proto_mean', (64, 32)))
    hallucination.proto_std.copy_(array('proto_std', (64, 32)).abs())
    drawn = torch.from_numpy(arrays['combine_weights'])
    monkeypatch.setattr(StyleHallucination, 'draw_weights', lambda self: drawn)
    feature = array('style_input', (2, 32, 12, 20))
    with hallucination.of_images([0, 1]):
        found = hallucination(feature)
    assert torch.equal(found[:2], feature)
    assert_near(found[2:, :, ::2, ::2], arrays['styled'])


def test_farthest_points_equal_the_golden_ones():
    expected = golden('dg_pieces')['farthest_points'].tolist()
    points = array('styles', (200, 64))
    assert farthest_points(points, 64, expected[0]) == expected


def test_consistency_equals_the_golden_loss_and_gradient():
    logits = array('style_logits', (4, 19, 16, 24)).requires_grad_()
    loss = 10 * style_consistency(logits)
    assert loss.item() == pytest.approx(golden_json('dg_pieces')['style_consistency'], rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert_near(gradient[..., ::2, ::2], golden('dg_pieces')['style_consistency_gradient'])


@pytest.mark.parametrize('network', ['daformer', 'hrda'])
def test_three_iterations_equal_the_golden_ones(monkeypatch, network):
    side = dict(daformer=96, hrda=128)[network]
    tag, arrays = f'{network}_dg', golden('dg_3_steps')
    expected = golden_json('dg_3_steps')[tag]
    method = shade(network)
    optimizer = torch.optim.AdamW(method.model.parameters(), lr=5e-4, weight_decay=0.01)
    for i, iteration in enumerate(expected['iterations']):
        draws = iter([arrays[n] for n in arrays if n.startswith(f'{tag}_combine_weights_{i}_')])
        monkeypatch.setattr(
            StyleHallucination, 'draw_weights',
            lambda self, draws=draws: torch.from_numpy(next(draws)),
        )  # fmt: skip
        boxes = iter(iteration['boxes'])
        monkeypatch.setattr(
            HRDAEncoderDecoder, 'draw_box', lambda *_, boxes=boxes: tuple(next(boxes))
        )
        images = array_for(f'source_image_{i}', (2, 3, side, side))
        data = batch(images, arrays[f'{tag}_label_{i}'].reshape(2, 1, side, side), images)
        found = method.train_step(data, optimizer, step=Step(0, i))['log_vars']
        tolerance = (1e-5, 5e-3, 5e-3)[i]
        for name, value in iteration['losses'].items():
            ours = name.replace('loss_seg', 'loss_ce')
            assert found[ours] == pytest.approx(value, rel=tolerance), (i, name)
        assert next(draws, None) is None
        if i == 0:
            gradients = {n: weight.grad for n, weight in method.model.named_parameters()}
            assert_sums(gradients, iteration['gradients'], 5e-3)
    assert_sums(method.model.state_dict(), expected['student'], 5e-3)
