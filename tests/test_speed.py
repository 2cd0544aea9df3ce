"""The config's ``speed``: the same training within rounding, and what it changes does happen."""

import copy
import math
import os
import shutil
import signal
from types import SimpleNamespace

import pytest
import torch
from mmcv.runner import LogBuffer
from mmcv.runner.hooks import OptimizerHook
from torch import nn

from mmseg.core import build_optimizer
from mmseg.engine.performance import speed_up
from mmseg.models import build_backbone
from mmseg.models.uda import Supervised
from mmseg.models.uda import feature_distance as distance_module
from mmseg.utils.gradients import Gradients, NonFiniteError
from mmseg.utils.seeding import Step
from mmseg.utils.user_error import UserError
from tests.golden.fill import fill
from tests.test_dacs import assert_golden_steps, build_dacs, random_batch, tiny_model
from tests.tiny_runs import (
    SOURCE_ONLY_CONFIG,
    UDA_CONFIG,
    TrainedRun,
    assert_same_training,
    run_experiment,
)

pytestmark = pytest.mark.usefixtures('one_thread')
CPU = torch.device('cpu')
HAS_COMPILER = shutil.which(os.environ.get('CXX', 'g++')) is not None


@pytest.mark.parametrize(
    ('options', 'tolerance'),
    [
        ({'channels_last': True}, 1e-3),
        # Minutes on a CPU that has no bfloat16.
        pytest.param({'amp': 'bf16'}, 2e-2, marks=pytest.mark.long),
        pytest.param({'compile': 'aot_eager'}, 2e-3, marks=pytest.mark.long),
        pytest.param(
            {'compile': 'inductor'}, 2e-3,
            marks=[
                pytest.mark.long,
                pytest.mark.skipif(not HAS_COMPILER, reason='inductor needs a C++ compiler'),
            ],
        ),
    ],
    ids=str,
)  # fmt: skip
def test_golden_steps(monkeypatch, options, tolerance):
    assert_golden_steps(monkeypatch, tolerance, lambda dacs: speed_up(dacs, CPU, **options))


def small_model():
    """A network with few channels and nothing that couples the images of a batch."""
    model = tiny_model()
    model.decode_head.update(channels=16, norm_cfg=dict(type='GN', num_groups=4))
    model.decode_head.decoder_params.update(embed_dims=16)
    model.decode_head.decoder_params.fusion_cfg.norm_cfg = dict(type='GN', num_groups=4)
    return model


def small_dacs(**options):
    """A method around that network."""
    options = {'debug_img_interval': 0, 'imnet_feature_dist_lambda': 0.005, **options}
    dacs = build_dacs(small_model(), **options)
    fill(dacs.model)
    dacs.start_from_student()
    fill(dacs.imnet_model)
    return dacs.train()


def data_of(images, size=64):
    """Images all of which have the same 19 classes."""
    generator = torch.Generator().manual_seed(0)
    each = [random_batch(size=size) for _ in range(images // 2)]
    data = {k: torch.cat([one[k] for one in each]) for k in ('img', 'target_img')}
    data = {k: torch.randn(v.shape, generator=generator) for k, v in data.items()}
    label = torch.arange(size * size).reshape(1, 1, size, size) % 19
    metas = each[0]['img_metas'] * (images // 2)
    return {
        **data,
        'gt_semantic_seg': torch.cat([label.roll(7 * i, 2) for i in range(images)]),
        'img_metas': metas,
        'target_img_metas': metas,
    }


def gradients_of(dacs, data, iteration=0):
    """The gradients and logs of an iteration."""
    optimizer = torch.optim.SGD(dacs.model.parameters(), lr=0.0)
    log = dacs.train_step(data, optimizer, step=Step(1, iteration))['log_vars']
    return {n: p.grad for n, p in dacs.model.named_parameters()}, log


def assert_near(found, expected, tolerance):
    largest = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():
        scale = max(gradient.abs().max(), 1e-4 * largest)
        assert (found[name] - gradient).abs().max() <= tolerance * scale, name


# Precision


def test_bf16_is_in_the_networks_alone(monkeypatch):
    dacs, seen = small_dacs(), {}
    speed_up(dacs, CPU, amp='bf16')
    weights = [dacs.model, dacs.ema_model, dacs.imnet_model]
    for which, network in zip(('student', 'teacher', 'frozen'), weights, strict=True):
        network.backbone.block1[0].mlp.fc1.register_forward_hook(
            lambda _, inputs, output, which=which: seen.update({which: output.dtype})
        )

    def note(name, place, attribute):
        original = getattr(place, attribute)

        def noting(*arguments, **options):
            seen[name] = {a.dtype for a in arguments if torch.is_tensor(a)} - {
                torch.int64, torch.bool,
            }  # fmt: skip
            return original(*arguments, **options)

        monkeypatch.setattr(place, attribute, noting)

    note('losses', dacs.model.decode_head, 'losses')
    note('distance', distance_module, 'feature_distance')
    note('softmax', torch.Tensor, 'softmax')
    gradients, _ = gradients_of(dacs, data_of(2))
    assert {which: seen[which] for which in ('student', 'teacher', 'frozen')} == dict.fromkeys(
        ('student', 'teacher', 'frozen'), torch.bfloat16
    )
    assert seen['losses'] == seen['distance'] == seen['softmax'] == {torch.float32}
    assert {g.dtype for g in gradients.values()} == {torch.float32}
    assert {w.dtype for w in dacs.state_dict().values()} == {torch.float32}


def test_bf16_is_refused_where_a_gpu_has_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation: False)
    with pytest.raises(UserError, match=r"this GPU cannot .* use 'fp16'"):
        speed_up(nn.Module(), torch.device('cuda'), amp='bf16')


def test_fp16_gradients_are_scaled_back():
    data, dacs = data_of(2, size=32), small_dacs()
    expected, _ = gradients_of(copy.deepcopy(dacs), data)
    speed_up(dacs, CPU, amp='fp16')
    found, _ = gradients_of(dacs, data)
    assert_near(found, expected, 0.1)
    assert dacs.gradients.scaler.get_scale() == 65536


@pytest.mark.parametrize('fused', [False, True])
def test_a_step_that_overflows_is_left_out(fused):
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=fused)
    gradients = Gradients(scaler=torch.amp.GradScaler('cpu', init_scale=2.0**127))
    gradients.add((weight * 8).sum())
    assert not weight.grad.isfinite().all()
    gradients.step(optimizer, [{}])
    assert weight.tolist() == [1, 1]
    assert gradients.scaler.get_scale() == 2.0**126
    gradients.scaler.update(1024.0)
    optimizer.zero_grad()
    gradients.add((weight * 8).sum())
    gradients.step(optimizer, [{}])
    assert weight.tolist() == pytest.approx([0.9, 0.9], abs=2e-3)


def test_gradients_that_always_overflow_end_the_training():
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    gradients = Gradients(scaler=torch.amp.GradScaler('cpu', init_scale=4.0))
    with pytest.raises(NonFiniteError):
        for _ in range(4):
            gradients.add((weight * math.inf).sum())
            gradients.step(optimizer, [{}])
    assert gradients.scaler.get_scale() == 1


# Parts of a batch


@pytest.mark.parametrize('parts', [2, 4])
def test_parts_have_the_gradient_of_the_whole_batch(parts):
    # With all classes in each image and all pseudo-labels trusted a part draws what a batch does.
    options = dict(pseudo_threshold=0.0, color_jitter_probability=0.0, blur=True)
    # In double precision: in single precision the argmax of an untrained teacher can depend on how
    # many images it sees at once.
    data, dacs = data_of(4), small_dacs(**options).double()
    data['img'], data['target_img'] = data['img'].double(), data['target_img'].double()
    expected, expected_log = gradients_of(copy.deepcopy(dacs), data, iteration=3)
    batches = []
    dacs.model.backbone.register_forward_hook(lambda _, inputs, __: batches.append(len(inputs[0])))
    speed_up(dacs, CPU, accumulate=parts)
    found, log = gradients_of(dacs, data, iteration=3)
    assert batches == [4 // parts] * 2 * parts
    assert_near(found, expected, 1e-5)
    assert log == pytest.approx(expected_log, rel=1e-5)


@pytest.mark.parametrize('grad_clip', [None, {'max_norm': 0.1}])
def test_micro_batches_and_scaled_losses_without_uda(grad_clip):
    """A step in two micro-batches equals mmcv's of the whole batch."""
    data = {k: v for k, v in data_of(4).items() if 'target' not in k}
    whole, method = small_dacs().model, Supervised(small_model())
    method.model.load_state_dict(whole.state_dict())
    optimizer = torch.optim.SGD(whole.parameters(), lr=0.1)
    runner = SimpleNamespace(model=whole, optimizer=optimizer, log_buffer=LogBuffer())
    runner.outputs = whole.train_step(data, optimizer)
    OptimizerHook(grad_clip).after_train_iter(runner)
    norm = runner.log_buffer.val_history.get('grad_norm')
    optimizer = torch.optim.SGD(method.model.parameters(), lr=0.1)
    method.gradients = Gradients(2, torch.amp.GradScaler('cpu'), grad_clip)
    log = method.train().train_step(data, optimizer, step=Step(0, 0))['log_vars']
    assert norm is None or log['grad_norm'] == pytest.approx(norm[0], rel=1e-5)
    assert log['loss'] == pytest.approx(runner.outputs['log_vars']['loss'], rel=1e-5)
    assert list(method.state_dict()) == list(whole.state_dict())
    for name, weight in whole.state_dict().items():
        assert torch.allclose(weight, method.state_dict()[name], rtol=1e-5, atol=1e-6), name
    assert not torch.equal(small_dacs().model.decode_head.conv_seg.weight, weight_of(whole))


def weight_of(segmentor):
    return segmentor.decode_head.conv_seg.weight


# Clipping


def steps_of(dacs, data, grad_clip, **speed):
    """How far a step of plain SGD moves each weight of the student, its gradients, and the log."""
    speed_up(dacs, CPU, grad_clip, **speed)
    before = {name: weight.clone() for name, weight in dacs.model.named_parameters()}
    optimizer = torch.optim.SGD(dacs.model.parameters(), lr=1.0)
    log = dacs.train_step(data, optimizer, step=Step(1, 3))['log_vars']
    weights = dict(dacs.model.named_parameters())
    moved = {name: (before[name] - weight).detach().double() for name, weight in weights.items()}
    return moved, {name: weight.grad for name, weight in weights.items()}, log


@pytest.mark.parametrize('norm_type', [2.0, math.inf])
@pytest.mark.parametrize(
    'speed', [{}, {'accumulate': 2}, {'amp': 'fp16', 'accumulate': 2}], ids=str
)
def test_clipped_steps_of_uda(speed, norm_type):
    data, dacs = data_of(2, size=32), small_dacs().double()
    data['img'], data['target_img'] = data['img'].double(), data['target_img'].double()
    if 'amp' in speed:
        data, dacs = data_of(2, size=32), small_dacs()
    dacs.model.backbone.patch_embed1.requires_grad_(False)
    _, gradients, log = steps_of(copy.deepcopy(dacs), data, None, **speed)
    trained = {name: g.double() for name, g in gradients.items() if g is not None}
    everything = torch.cat([gradient.flatten() for gradient in trained.values()])
    norm = everything.norm(norm_type).item()

    clip = dict(max_norm=0.01 * norm, norm_type=norm_type)
    moved, _, log = steps_of(copy.deepcopy(dacs), data, clip, **speed)
    assert log['grad_norm'] == pytest.approx(norm, rel=1e-6)
    for name, step in moved.items():
        expected = (
            trained.get(name, torch.zeros((), dtype=torch.float64))
            * clip['max_norm']
            / (norm + 1e-6)
        )
        # A weight of about 1 in single precision moves by multiples of 6e-8.
        tolerance = 1e-12 if 'amp' not in speed else 2e-7
        assert torch.allclose(step, expected.expand_as(step), rtol=1e-5, atol=tolerance), name


@pytest.mark.parametrize('speed', [{}, {'amp': 'fp16', 'accumulate': 2}], ids=str)
def test_a_norm_that_is_not_reached_changes_nothing(speed):
    data, dacs = data_of(2, size=32), small_dacs()
    expected, _, _ = steps_of(copy.deepcopy(dacs), data, None, **speed)
    found, _, _ = steps_of(dacs, data, dict(max_norm=1e9), **speed)
    assert any(step.abs().max() > 0 for step in expected.values())
    for name, step in expected.items():
        assert torch.equal(found[name], step), name


@pytest.mark.parametrize('value', [math.nan, math.inf, 1e30])
def test_clipping_hides_no_gradient_that_is_not_finite(value):
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    gradients = Gradients(grad_clip=dict(max_norm=1.0))
    gradients.add((weight * value).sum())
    with pytest.raises(NonFiniteError):
        gradients.step(optimizer, [{}])
    assert weight.tolist() == [1, 1]


@pytest.mark.parametrize('fused', [False, True])
def test_an_overflow_is_left_out_and_not_logged_when_clipping(fused):
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler('cpu', init_scale=2.0**127)
    gradients = Gradients(scaler=scaler, grad_clip=dict(max_norm=1.0))
    gradients.add((weight * 8).sum())
    assert gradients.step(optimizer, [{}]) == {}
    assert weight.tolist() == [1, 1] and scaler.get_scale() == 2.0**126
    scaler.update(1024.0)
    optimizer.zero_grad()
    gradients.add((weight * torch.tensor([3.0, 4.0])).sum())
    assert gradients.step(optimizer, [{}]) == {'grad_norm': pytest.approx(5)}
    assert weight.tolist() == pytest.approx([1 - 0.06, 1 - 0.08])


@pytest.mark.parametrize('config', [UDA_CONFIG, SOURCE_ONLY_CONFIG], ids=['uda', 'source_only'])
def test_clipping_by_the_config(workplace, config):
    options = ['runner.max_iters=1', 'optimizer_config.grad_clip.max_norm=0.5']
    run_experiment(config, *options, 'log_config.interval=1')
    (entry,) = TrainedRun(workplace).log('train')
    assert entry['grad_norm'] > 0.5


# Compiler, memory format, optimizer, checkpointing


def test_networks_are_compiled_once_and_keep_their_names(monkeypatch):
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    method, img = Supervised(small_model()), data_of(2)['img']
    network = method.model
    names, expected = list(network.state_dict()), network.encode_decode(img, None)
    speed_up(method, CPU, compile=backend)
    for _ in range(2):
        torch.testing.assert_close(network.encode_decode(img, None), expected)
    assert list(network.state_dict()) == names
    assert len(compiled) == 2  # encoder and head


def test_channels_last_reaches_weights_and_inputs():
    dacs, seen = small_dacs(), []
    speed_up(dacs, CPU, channels_last=True)
    for network in (dacs.model, dacs.ema_model, dacs.imnet_model):
        network.backbone.patch_embed1.proj.register_forward_pre_hook(
            lambda conv, inputs: seen.append((inputs[0], conv.weight))
        )
    gradients_of(dacs, data_of(2))
    assert len(seen) == 4
    for tensors in seen:
        assert all(t.is_contiguous(memory_format=torch.channels_last) for t in tensors)


@pytest.mark.parametrize(
    'encoder',
    [
        {'type': 'mit_b0', 'drop_path_rate': 0.5},
        {'type': 'TimmEncoder', 'model_name': 'convnext_atto', 'drop_path_rate': 0.5},
    ],
    ids=lambda encoder: encoder['type'],
)
def test_checkpointed_encoders_have_the_same_gradients(encoder):
    found, runs = [], []
    for with_cp in (False, True):
        network = fill(build_backbone({**encoder, 'with_cp': with_cp})).train()
        counted = []
        inner = next(m for n, m in network.named_modules() if n.endswith('mlp.fc1'))
        inner.register_forward_hook(lambda *_, counted=counted: counted.append(1))
        torch.manual_seed(3)
        features = network(torch.linspace(-1, 1, 2 * 3 * 64 * 64).reshape(2, 3, 64, 64))
        sum(feature.square().sum() for feature in features).backward()
        found.append([p.grad for p in network.parameters() if p.grad is not None])
        runs.append(len(counted))
    assert runs == [1, 2]
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def test_fused_adamw_makes_the_same_steps():
    weights = []
    for fused in (False, True):
        segmentor = small_dacs().model
        optimizer = build_optimizer(segmentor, dict(type='AdamW', lr=1e-3, fused=fused))
        assert optimizer.defaults['fused'] is fused
        for _ in range(3):
            optimizer.zero_grad()
            for i, weight in enumerate(segmentor.parameters()):
                weight.grad = torch.linspace(-1, i, weight.numel()).view_as(weight)
            optimizer.step()
        weights.append(list(segmentor.parameters()))
    for one, other in zip(*weights, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


# Whole runs


@pytest.mark.parametrize(
    ('config', 'options'),
    [
        (UDA_CONFIG, ['speed.amp=bf16', 'speed.accumulate=2', 'optimizer.fused=True']),
        (SOURCE_ONLY_CONFIG, ['speed.amp=fp16', 'speed.accumulate=2', 'speed.channels_last=True']),
    ],
    ids=['uda', 'source-only'],
)
def test_resumed_run_is_the_same(workplace, monkeypatch, config, options):
    options = [*options, 'model.backbone.with_cp=True', 'runner.max_iters=2', 'evaluation=None']
    run_experiment(config, *options, arguments=['--work-dir', 'work_dirs/local/whole'])
    whole = TrainedRun(workplace)
    shutil.move('work_dirs', 'others')
    arguments = ['--work-dir', 'work_dirs/local/stopped']
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        stop_in_step(patch)
        run_experiment(config, *options, arguments=arguments)
    run_experiment(config, *options, arguments=arguments)
    stopped = TrainedRun(workplace)
    shutil.move('work_dirs', 'stopped')
    whole.checkpoint = 'others/local/whole/latest.pth'
    stopped.checkpoint = 'stopped/local/stopped/latest.pth'
    assert_same_training(whole, stopped)
    assert whole.load()['loss_scaler'] == stopped.load()['loss_scaler']
    assert bool(whole.load()['loss_scaler']) == ('speed.amp=fp16' in options)
    assert {w.dtype for w in whole.load()['state_dict'].values()} <= {torch.float32, torch.int64}


def stop_in_step(patch):
    """Let this process get SIGTERM in an optimizer step."""
    original = Gradients.step

    def step(self, *arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *arguments)

    patch.setattr(Gradients, 'step', step)
