"""Style hallucination (SHADE) against runs of the published implementation and by its parts."""

from logging import getLogger
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmcv.parallel import DataContainer
from mmcv.runner import get_dist_info

from mmseg.engine.distributed import init_distributed
from mmseg.engine.stop import StopRequest
from mmseg.engine.style_prototypes import StyleImages, StylePrototypes
from mmseg.models.builder import SEGMENTORS, build_backbone, build_segmentor
from mmseg.models.segmentors.hrda_encoder_decoder import HRDAEncoderDecoder
from mmseg.models.style_hallucination import StyleHallucination, farthest_points
from mmseg.models.uda.style_consistency import style_consistency
from mmseg.utils.gradients import Gradients
from mmseg.utils.seeding import Step
from mmseg.utils.user_error import UserError
from tests.golden.fill import array_for, fill
from tests.ranks import Ranks
from tests.test_dacs import batch, build_dacs, random_batch, tiny_model
from tests.test_hrda import assert_near, assert_sums, golden, golden_json, hrda_model
from tests.test_mic import FD

STYLES = dict(concentration_coeff=0.0156, base_style_num=64, style_dim=32)


def array(name, shape):
    return torch.from_numpy(array_for(name, shape))


def shade(network='daformer', weight=10.0, **options):
    """DAFormer-DG or HRDA-DG with the golden prototypes and frozen encoder."""
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


# What is drawn


def test_weights_are_of_the_dirichlet_distribution():
    """Its moments of each order; each seed draws for itself."""
    hallucination = StyleHallucination(32, 0.0156, 64)
    with hallucination.of_images(range(4000)):
        weights = hallucination.draw_weights()
    assert weights.shape == (4000, 64) and (weights >= 0).all()
    assert torch.allclose(weights.sum(dim=1), torch.ones(4000, dtype=torch.double))
    a, total = 0.0156, 64 * 0.0156
    assert (weights.mean(dim=0) - 1 / 64).abs().max() < 0.01
    square = (a + 1) / (total + 1)
    cube = square * (a + 2) / (total + 2)
    assert weights.square().sum(dim=1).mean().item() == pytest.approx(square, abs=0.02)
    assert weights.pow(3).sum(dim=1).mean().item() == pytest.approx(cube, abs=0.02)


def drawn(step, images=2, network='hrda'):
    """The weights that a pass on some images draws, one tensor for each call of the encoder."""
    found, method = [], shade(network, imnet_feature_dist_lambda=0)
    original = StyleHallucination.draw_weights
    data = random_batch(size=128)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            StyleHallucination, 'draw_weights', lambda s: found.append(original(s)) or found[-1]
        )
        losses = method.losses({key: value[:images] for key, value in data.items()}, step)
        next(losses)
    return found


def test_styles_follow_from_seed_iteration_and_image():
    context, detail = drawn(Step(3, 7))
    assert not torch.equal(context, detail)
    assert not torch.equal(context[0], context[1])
    for rank in range(2):
        for whole, part in zip((context, detail), drawn(Step(3, 7, rank), 1), strict=True):
            assert torch.equal(whole[rank], part[0])
    for other in (Step(3, 8), Step(4, 7)):
        assert not torch.equal(context, drawn(other)[0])


@pytest.mark.parametrize('network', ['daformer', pytest.param('hrda', marks=pytest.mark.long)])
def test_two_micro_batches_have_the_gradients_of_one(network):
    """With BatchNorm in eval mode and as many things in each half."""
    gradients = []
    for parts in (1, 2):
        method = shade(network).double()
        method.model.decode_head.eval()
        method.gradients = Gradients(parts)
        optimizer = torch.optim.SGD(method.model.parameters(), lr=0.0)
        data = random_batch(size=dict(daformer=64, hrda=128)[network])
        data['img'] = data['img'].double()
        data['gt_semantic_seg'] = data['gt_semantic_seg'][:1].expand(2, -1, -1, -1)
        method.train_step(data, optimizer, step=Step(5, 2))
        gradients.append([weight.grad for weight in method.model.parameters()])
    for one, two in zip(*gradients, strict=True):
        assert torch.allclose(one, two, rtol=1e-9, atol=1e-12)


# Where styles are hallucinated, and where not


def test_only_the_students_pass_on_source_images_is_doubled(monkeypatch):
    """Pseudo-labels, the mixed and the masked pass, and the frozen encoder see the batch alone."""
    mask = dict(type='block', mask_ratio=0.7, mask_block_size=16)
    method = shade(source_only=False, mask_mode='separatetrg', mask_generator=mask)
    method.start_from_student()
    sizes = []

    def note(encoder, inputs, features):
        name = {id(network): name for name, network in method.named_children()}
        owner = next(n for n in method.networks() if encoder in n.children())
        sizes.append((name[id(owner)], len(inputs[0]), *{len(feature) for feature in features}))

    for network in method.networks():
        network.backbone.register_forward_hook(note)
    optimizer = torch.optim.SGD(method.model.parameters(), lr=0.0)
    found = method.train_step(random_batch(), optimizer, step=Step(0, 0))['log_vars']
    assert sizes == [
        ('model', 2, 4), ('imnet_model', 2, 2), ('ema_model', 2, 2), ('model', 2, 2),
        ('model', 2, 2),
    ]  # fmt: skip
    assert found['style.loss_style_consistency'] > 0
    terms = [value for name, value in found.items() if '.loss' in name]
    assert found['loss'] == pytest.approx(sum(terms))


def test_styles_without_their_consistency():
    found = shade(weight=0).train_step(
        random_batch(), torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.0),
        step=Step(0, 0),
    )['log_vars']  # fmt: skip
    assert found['decode.loss_ce'] > 0 and not any(name.startswith('style') for name in found)


def test_consistency_of_impossible_classes_has_a_gradient():
    logits = torch.zeros(2, 3, 1, 1)
    logits[0, 0], logits[1, 1] = 1e4, 1e4
    logits.requires_grad_()
    loss = style_consistency(logits)
    assert loss.item() == pytest.approx(np.log(2))
    loss.backward()
    assert logits.grad.isfinite().all()


def test_an_encoder_starts_from_a_file_without_prototypes_and_with_others(tmp_path):
    plain = fill(build_backbone(dict(type='mit_b0')))
    path = tmp_path / 'mit_b0.pth'
    torch.save(plain.state_dict(), path)
    config = dict(type='mit_b0', pretrained=str(path), style_hallucination_cfg=STYLES)
    encoder = build_backbone(config)
    encoder.init_weights()
    assert torch.equal(encoder.norm4.weight, plain.norm4.weight)
    torch.save(fill(encoder).state_dict(), path)
    plain = build_backbone(dict(type='mit_b0', pretrained=str(path)))
    plain.init_weights()
    assert torch.equal(encoder.norm4.weight, plain.norm4.weight)


# The prototypes


class Source(list):
    """Images with noise of the global generator, as augmentations have it."""

    def __getitem__(self, index):
        img = super().__getitem__(index)
        return {'img': DataContainer(img + 0.1 * torch.rand(3, 1, 1))}


def source(images=11):
    """Images of as many colours and contrasts."""
    noise = array('source', (images, 3, 128, 128))
    scale, shift = array('scale', (images, 3, 1, 1)).exp(), array('shift', (images, 3, 1, 1))
    return Source(noise * scale + shift)


def runner(model, iteration=0, rank=0, world_size=1):
    return SimpleNamespace(
        model=SimpleNamespace(model=model), iter=iteration, seed=3, rank=rank, logger=getLogger(),
        world_size=world_size, device=torch.device('cpu'),
    )  # fmt: skip


def picked(model, iteration=0, **options):
    """The prototypes that a run picks before an iteration, (4, 2, 32)."""
    options = dict(interval=2, samples_per_gpu=2, workers_per_gpu=0) | options
    hallucination = model.backbone.style_hallucination
    prototypes = StylePrototypes(source(), hallucination, **options)
    assert prototypes.run(runner(model, iteration), StopRequest()) is None
    return torch.stack([hallucination.proto_mean, hallucination.proto_std], dim=1).clone()


def student(network):
    model = hrda_model() if network == 'hrda' else tiny_model()
    model.backbone['style_hallucination_cfg'] = dict(STYLES, base_style_num=4)
    return fill(build_segmentor(model))


@pytest.mark.parametrize('network', ['daformer', 'hrda'])
def test_prototypes_are_far_apart_among_the_styles_of_the_source(network):
    model = student(network)
    found = picked(model).double().flatten(1).numpy()

    # All of 10 of the 11 images, by other means.
    images = StyleImages(source(), 3, 0)
    assert sorted(images.order) == list(range(11)) != images.order
    img = torch.stack([images[number]['img'].data for number in range(10)])
    if network == 'hrda':
        img = F.interpolate(img, (64, 64), mode='bilinear', align_corners=False)
    with torch.no_grad():
        pixels = model.backbone(img)[0].flatten(2).double().numpy()
    styles = np.concatenate([pixels.mean(2), pixels.std(2, ddof=1) + 1e-7], axis=1)
    distance = np.linalg.norm(styles[:, None] - styles[None], axis=2)
    chosen = [int(np.linalg.norm(styles - found[0], axis=1).argmin())]
    while len(chosen) < 4:
        chosen.append(int(distance[chosen].min(axis=0).argmax()))
    assert np.allclose(found, styles[chosen], rtol=1e-5, atol=1e-5)


def test_prototypes_follow_from_seed_iteration_and_weights(one_thread):
    model = student('daformer').train()
    first = picked(model)
    assert torch.equal(picked(model), first)
    assert torch.equal(picked(model, workers_per_gpu=2), first)
    assert not torch.equal(picked(model, iteration=2), first)
    assert all(not module.training for module in model.modules())


def test_source_images_are_augmented_anew_each_time():
    noise = []
    for iteration in (0, 2):
        images = StyleImages(source(), 3, iteration)
        plain = list.__getitem__(images.source, images.order[0])
        noise.append(images[0]['img'].data - plain)
    assert not torch.allclose(*noise, atol=1e-3)


def test_too_few_images_for_so_many_prototypes():
    with pytest.raises(UserError, match='picks 4 styles, and the source has 3 images in whole'):
        StylePrototypes(source(5), StyleHallucination(32, 1, 4), 2, 3, 0)


# Several ranks


def pick_and_train(rank=0, world_size=1):
    """Pick prototypes, then train for an iteration on this rank's half of a batch."""
    model = tiny_model()
    model.backbone['style_hallucination_cfg'] = dict(STYLES, base_style_num=4)
    head = model.decode_head  # without BatchNorm
    head.norm_cfg = head.decoder_params.fusion_cfg.norm_cfg = dict(type='GN', num_groups=4)
    method = build_dacs(model, source_only=True, style_consistency_lambda=10)
    fill(method.model.double())
    if world_size > 1:
        method.student.distribute()
    hallucination = method.styles.hallucination
    images = Source(img.double() for img in source())
    prototypes = StylePrototypes(images, hallucination, 1, samples_per_gpu=2, workers_per_gpu=0)
    prototypes.run(runner(method.model, 0, rank, world_size), StopRequest())
    method.train()
    data = {key: value[rank::world_size] for key, value in random_batch().items()}
    data['img'] = data['img'].double()
    optimizer = torch.optim.SGD(method.model.parameters(), lr=0.0)
    log = method.train_step(data, optimizer, step=Step(0, 0, rank))['log_vars']
    gradients = [weight.grad for weight in method.model.parameters()]
    return dict(log=log, gradients=gradients, prototypes=hallucination.state_dict())


def run_rank():
    with init_distributed('cpu'):
        rank, world_size = get_dist_info()
        torch.save(pick_and_train(rank, world_size), f'rank_{rank}.pt')


@pytest.mark.long
def test_two_ranks_have_the_prototypes_losses_and_gradients_of_one(tmp_path, one_thread):
    assert Ranks(tmp_path, run_rank).end() == [0, 0], (tmp_path / 'printed_0.txt').read_text()
    alone = pick_and_train()
    for rank in range(2):  # of the five batches the first one has three
        found = torch.load(tmp_path / f'rank_{rank}.pt')
        for name, value in alone['prototypes'].items():
            assert torch.equal(found['prototypes'][name], value), name
        for name, value in alone['log'].items():
            assert found['log'][name] == pytest.approx(value, rel=1e-6), name
        for one, other in zip(found['gradients'], alone['gradients'], strict=True):
            assert torch.allclose(one, other, atol=1e-9, rtol=0)
