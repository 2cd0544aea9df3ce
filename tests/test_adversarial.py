"""AdvSeg and MinEnt against the published implementation's golden runs, and their own optimizer."""

import json
import math
import os.path as osp
import shutil

import numpy as np
import pytest
import torch
from mmcv import Config

from mmseg.engine.distributed import init_distributed
from mmseg.models.builder import SEGMENTORS
from mmseg.models.segmentors.hrda_encoder_decoder import HRDAEncoderDecoder
from mmseg.models.uda.masked_consistency import BlockMask
from mmseg.utils.gradients import Gradients, NonFiniteError, total_loss
from mmseg.utils.seeding import Step
from mmseg.utils.user_error import UserError
from tests.golden.fill import array_for, fill
from tests.ranks import Ranks
from tests.test_dacs import batch, random_batch, tiny_model
from tests.test_speed import stop_in_step
from tests.tiny_runs import UDA_CONFIG, TrainedRun, assert_same_training, run_experiment

HERE = osp.dirname(__file__)
GOLDEN = osp.join(HERE, 'golden/successors/adversarial_and_entropy')
MASKING = dict(
    mask_mode='separatetrg', mask_pseudo_threshold=0.15, mask_lambda=1,
    mask_generator=dict(type='block', mask_ratio=0.7, mask_block_size=16),
)  # fmt: skip
# Of the two iterations, relative. One thread meets all to 1e-4; double precision is as far as this:
# after a step of these weights ReLUs change sign, and in masked images pseudo-labels flip.
LOSSES, MASKED_LOSSES, GRADIENTS = (2e-5, 2e-2), (1e-3, 2e-2), (5e-3, 0.2)
ITERATIONS = 2


# Whole iterations against the golden ones


def deeplab(detail=None):
    """The config of DeepLabV2 on ResNet-50, as HRDA with detail crops of so many pixels."""
    path = osp.join(HERE, '../configs/_base_/models/deeplabv2red_r50-d8.py')
    model = Config.fromfile(path).model
    model.pretrained = None
    if detail is not None:
        model.update(
            type='HRDAEncoderDecoder', scales=[1, 0.5], hr_crop_size=(detail, detail),
            crop_coord_divisible=8, feature_scale=0.5,
        )  # fmt: skip
        model.decode_head.update(type='HRDAHead', single_scale_head='DLV2Head', hr_loss_weight=0.1)
    return model


@pytest.mark.parametrize('masking', ['None', 'separatetrg'])
@pytest.mark.parametrize(
    'case', ['advseg', 'minent', 'advseg_hrda', pytest.param('minent_hrda', marks=pytest.mark.long)]
)
def test_two_iterations_equal_the_published_implementation(monkeypatch, one_thread, case, masking):
    with open(f'{GOLDEN}.json') as file:
        expected = json.load(file)[f'{case}/{masking}']
    arrays = np.load(f'{GOLDEN}.npz')
    model, side = (deeplab(48), 128) if 'hrda' in case else (deeplab(), 96)
    kind = 'AdvSeg' if 'advseg' in case else 'MinEnt'
    options = MASKING if masking == 'separatetrg' else {}
    method = SEGMENTORS.build(dict(type=kind, model=model, **options))
    fill(method.model)
    method.start_from_student()
    if kind == 'AdvSeg':
        fill(method.model_D)
    optimizer = torch.optim.SGD(
        method.model.parameters(), lr=0.0025, momentum=0.9, weight_decay=5e-4
    )
    method.train()
    for i, iteration in enumerate(expected):
        boxes = iter(iteration['boxes'])
        monkeypatch.setattr(HRDAEncoderDecoder, 'draw_box', lambda *_, boxes=boxes: next(boxes))
        if options:
            uniform = torch.from_numpy(arrays[f'{case}_mask_uniform_{i}'])
            monkeypatch.setattr(
                BlockMask,
                '__call__',
                lambda self, img, step, uniform=uniform: self.of(uniform, img.shape[2:]),
            )
        shape = (2, 3, side, side)
        label = arrays[f'label_{side}x{side}_{i}']
        images = [array_for(f'{domain}_image_{i}', shape) for domain in ('source', 'target')]
        data = batch(images[0], label, images[1])
        step = Step(0, i, max_iters=40000)
        log = method.train_step(data, optimizer, step=step)['log_vars']
        assert next(boxes, None) is None
        for name, value in iteration['losses'].items():
            found = log[name.replace('loss_seg', 'loss_ce')]
            near = (MASKED_LOSSES if 'masked' in name else LOSSES)[i]
            assert found == pytest.approx(value, rel=near), (i, name)
        assert_sums(method.model, iteration['gradients'], GRADIENTS[i])
        if kind == 'AdvSeg':
            assert_sums(method.model_D, iteration['discriminator_gradients'], GRADIENTS[i])
            (group,) = method.optimizers['discriminator'].param_groups
            assert group['lr'] == pytest.approx(iteration['discriminator_lr'], rel=1e-12)


def assert_sums(network, expected, tolerance):
    """Compare sum and absolute sum of gradients; those that are rounding alone are passed over."""
    for name, (total, absolute) in expected.items():
        if absolute > 1e-4:
            gradient = network.get_parameter(name).grad.double()
            near = tolerance * absolute
            assert gradient.abs().sum().item() == pytest.approx(absolute, abs=near), name
            assert gradient.sum().item() == pytest.approx(total, abs=near), name


# The discriminator's own training


def build(kind='AdvSeg', **options):
    """A method in double precision, without BatchNorm and dropout."""
    model = tiny_model()
    head = model.decode_head
    head.norm_cfg = head.decoder_params.fusion_cfg.norm_cfg = dict(type='GN', num_groups=4)
    head.channels = head.decoder_params.embed_dims = 16
    torch.manual_seed(0)
    method = SEGMENTORS.build(dict(type=kind, model=model, **options))
    method.init_weights()
    return method.double().train()


def double_batch():
    return {k: v.double() if 'img' in k and torch.is_tensor(v) else v
            for k, v in random_batch().items()}  # fmt: skip


def train(method, data, rank=0):
    """The losses of a few steps."""
    optimizer = torch.optim.SGD(method.model.parameters(), lr=0.01)
    steps = [Step(0, i, rank, max_iters=ITERATIONS) for i in range(ITERATIONS)]
    return [method.train_step(data, optimizer, step=step)['log_vars'] for step in steps]


def assert_same(one, other, log, other_log):
    for found, expected in zip(log, other_log, strict=True):
        assert found == pytest.approx(expected, rel=1e-7)
    for name, weight in other.items():
        assert torch.allclose(one[name], weight, atol=1e-9, rtol=0), name


@pytest.mark.parametrize('kind', ['AdvSeg', 'MinEnt'])
def test_scaled_micro_batches_train_as_the_whole_batch(kind):
    whole, divided = build(kind), build(kind)
    # A scale that grows after each step.
    scaler = torch.amp.GradScaler('cpu', init_scale=1024.0, growth_interval=1)
    divided.gradients = Gradients(parts=2, scaler=scaler)
    logs = [train(method, double_batch()) for method in (divided, whole)]
    assert_same(divided.state_dict(), whole.state_dict(), *logs)


def train_rank():
    with init_distributed('cpu'):
        rank = torch.distributed.get_rank()
        method = build()
        method.student.distribute()
        data = {key: values[rank : rank + 1] for key, values in double_batch().items()}
        log = train(method, data, rank)
        torch.save((log, method.state_dict()), f'rank_{rank}.pt')


def test_two_ranks_train_the_discriminator_of_one(tmp_path, one_thread):
    assert Ranks(tmp_path, train_rank).end() == [0, 0]
    alone = build()
    alone_log = train(alone, double_batch())
    networks = []
    for rank in range(2):
        log, weights = torch.load(tmp_path / f'rank_{rank}.pt')
        assert_same(weights, alone.state_dict(), log, alone_log)
        networks.append(weights)
    for name, weight in networks[0].items():
        assert torch.equal(weight, networks[1][name]), name


@pytest.mark.parametrize('discriminator_type', ['LS', 'Vanilla'])
def test_one_backward_pass_gives_each_network_the_gradients_of_its_own_losses(discriminator_type):
    method = build(discriminator_type=discriminator_type, lambda_adv_target=dict(main=1.0))
    _, losses = method.losses(double_batch(), Step(0, 0))
    student, discriminator = list(method.model.parameters()), list(method.model_D.parameters())
    fooling = losses['G_trg.loss.main']
    own = losses['D_src.loss.main'] + losses['D_trg.loss.main']
    student_gradients = torch.autograd.grad(
        fooling, student, retain_graph=True, materialize_grads=True
    )
    own_gradients = torch.autograd.grad(own, discriminator, retain_graph=True)
    total_loss(losses)[0].backward()
    assert max(gradient.abs().max() for gradient in student_gradients) > 0
    for weight, gradient in zip(student, student_gradients, strict=True):
        assert weight.grad is None or torch.equal(weight.grad, gradient)
    for weight, gradient in zip(discriminator, own_gradients, strict=True):
        assert torch.equal(weight.grad, gradient)


def test_the_domains_are_labelled_as_the_losses_say():
    """Scores of 0 are least squares 0 from source, 1 from target, and log 2 from both."""
    for kind, values in (
        ('LS', (0, 0, 0.5)),
        ('Vanilla', [math.log(2) * f for f in (1, 0.5, 0.5)]),
    ):
        method = build(discriminator_type=kind, lambda_adv_target=dict(main=1.0))
        torch.nn.init.zeros_(method.model_D['main'].classifier.weight)
        torch.nn.init.zeros_(method.model_D['main'].classifier.bias)
        _, losses = method.losses(double_batch(), Step(0, 0))
        found = [losses[f'{name}.loss.main'].item() for name in ('G_trg', 'D_src', 'D_trg')]
        assert found == pytest.approx(values)


def test_an_iteration_that_is_not_finite_leaves_nothing_in_the_discriminator():
    method, other = build(), build()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    data = double_batch()
    data['target_img'][:] = math.nan
    with pytest.raises(NonFiniteError):
        train(method, data)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert not method.optimizers['discriminator'].state
    logs = [train(each, double_batch()) for each in (method, other)]
    assert logs[0] == logs[1]


def test_a_gradient_of_the_discriminator_that_is_not_finite_changes_nothing():
    method = build()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    weight = method.model_D['main'].classifier.weight
    hook = weight.register_hook(lambda grad: grad * math.inf)
    with pytest.raises(NonFiniteError):
        train(method, double_batch())
    hook.remove()
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert not method.optimizers['discriminator'].state
    train(method, double_batch())


def test_the_discriminators_adam_has_a_learning_rate_that_falls_to_its_minimum():
    method = build(lr_D=0.1, lr_D_power=2, lr_D_min=0.01)
    (group,) = method.optimizers['discriminator'].param_groups
    assert group['betas'] == (0.9, 0.99)
    found = []
    for i in (0, 5, 10):
        for weight in method.model_D.parameters():
            weight.grad = torch.zeros_like(weight)
        method.after_step(Step(0, i, max_iters=10))
        found.append(group['lr'])
    assert found == pytest.approx([0.1, 0.01 + 0.09 / 4, 0.01])


def test_gradient_norms_are_those_of_the_students_losses():
    method = build(print_grad_magnitude=True)
    log = train(method, double_batch())[0]
    norms = {name for name in log if '.grad.' in name}
    assert norms == {'src.grad.decode.loss_ce', 'target.grad.G_trg.loss.main'}


def test_the_discriminator_is_no_segmentor():
    method = build(**MASKING)
    assert method.networks() == [method.model, method.mic.teacher.ema_model]
    names = {name.rpartition('.')[0] for name in method.state_dict() if 'model_D' in name}
    layers = ('conv1', 'conv2', 'conv3', 'conv4', 'classifier')
    assert names == {f'model_D.main.{layer}' for layer in layers}


def test_what_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"'WGAN'.*'LS', 'Vanilla'"):
        build(discriminator_type='WGAN')
    model = tiny_model()
    model.auxiliary_head = dict(
        type='FCNHead', in_channels=32, in_index=0, channels=4, num_classes=19
    )
    with pytest.raises(UserError, match=r"'MinEnt' takes no model.auxiliary_head"):
        SEGMENTORS.build(dict(type='MinEnt', model=model))
    model = tiny_model()
    model.decode_head.update(num_classes=2, out_channels=1, threshold=0.5)
    model.decode_head.loss_decode = dict(type='CrossEntropyLoss', use_sigmoid=True)
    with pytest.raises(UserError, match='needs a channel for each class'):
        SEGMENTORS.build(dict(type='MinEnt', model=model))
    model = tiny_model()
    model.decode_head.loss_decode = dict(type='LovaszLoss', per_image=True)
    with pytest.raises(UserError, match='LovaszLoss'):
        SEGMENTORS.build(dict(type='MinEnt', model=model, **MASKING))


# A whole run


@pytest.mark.long
def test_a_resumed_run_is_the_same_with_the_discriminators_moments(workplace, monkeypatch):
    config = workplace / 'advseg.py'
    masking = {**MASKING, 'mask_mode': 'separatetrgaug'}
    config.write_text(
        f"_base_ = ['{UDA_CONFIG}']\nuda = dict(_delete_=True, type='AdvSeg', **{masking})\n"
    )
    options = ['runner.max_iters=3', 'evaluation=None', 'data.samples_per_gpu=1']
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
    one, other = (run.load()['method_optimizers']['discriminator'] for run in (whole, stopped))
    assert one['param_groups'] == other['param_groups']
    for number, state in one['state'].items():
        assert state['step'] == 3
        for name, value in state.items():
            assert torch.equal(value, other['state'][number][name])
