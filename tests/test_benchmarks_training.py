"""The benchmark of the training step: the plain step is the same step, and figures are right."""

import json

import pytest
import torch
from torch import nn

from mmseg.utils.step import Step
from tools import benchmark
from tools.benchmarks.flops import count_flops
from tools.benchmarks.reference_step import ExplicitAttention, ReferenceStep
from tools.benchmarks.timing import Clock, Timing, times_faster
from tools.benchmarks.training import OurStep
from tools.benchmarks.training_work import build_method, build_optimizer, random_batch

CPU = torch.device('cpu')


def build_sgd(method):
    return torch.optim.SGD(method.model.parameters(), lr=0.05)


def test_the_plain_step_is_our_step():
    method = build_method('mit_b0', CPU)
    drops = [m for m in method.modules() if 'Drop' in type(m).__name__]
    for module in drops:  # they draw from the global generator, in another order
        module.p = module.drop_prob = 0.0
    method.alpha = 0.5
    # AdamW makes large steps of small differences.
    plain, optimizer = ReferenceStep(method, build_sgd), build_sgd(method)
    batch = random_batch(64, CPU)
    for iteration in range(2):
        step = Step(0, iteration)
        ours = method.train_step(batch, optimizer, step=step)['log_vars']
        theirs = plain.step(**batch, step=step)
        for name, value in ours.items():
            if 'loss' in name:
                assert theirs[name] == pytest.approx(value, rel=1e-4), (iteration, name)
    assert ours['src.loss_imnet_feat_dist'] > 0
    for student, teacher in ((method.model, plain.model), (method.ema_model, plain.ema_model)):
        for (name, weight), other in zip(
            student.named_parameters(), teacher.parameters(), strict=True
        ):
            torch.testing.assert_close(weight, other, rtol=1e-4, atol=1e-6, msg=name)


def test_the_plain_step_is_plain():
    plain = ReferenceStep(build_method('mit_b0', CPU), build_optimizer)
    attentions = [m for m in plain.model.modules() if isinstance(m, ExplicitAttention)]
    assert len(attentions) == 8


def test_grouped_convolutions_are_counted_right():
    depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
    feature = torch.randn(2, 16, 8, 8, requires_grad=True)
    forward = 2 * 2 * 16 * 8 * 8 * 9
    assert count_flops(lambda: depthwise(feature)) == forward
    assert count_flops(lambda: depthwise(feature).sum().backward()) == 3 * forward
    dense = nn.Conv2d(16, 4, 3, padding=1)
    assert count_flops(lambda: dense(feature).sum().backward()) == 3 * forward * 4


def test_parts_of_a_step_add_up_and_leave_no_trace():
    step = OurStep(CPU, 'mit_b0', 64)
    own = set(vars(step.method)), set(vars(step.method.imnet_model)), set(vars(step.optimizer))
    parts = step.parts(Clock(CPU), rounds=1)
    assert set(parts) == {
        'EMA', 'source forward', 'frozen encoder', 'source backward', 'teacher', 'mixing',
        'augmentation', 'mixed forward', 'mixed backward', 'optimizer', 'everything else',
    }  # fmt: skip
    assert min(parts.values()) >= 0
    assert own == (
        set(vars(step.method)), set(vars(step.method.imnet_model)), set(vars(step.optimizer))
    )  # fmt: skip


def test_times_are_compared_within_a_round():
    ours, theirs = Timing([1.0, 2.0, 4.0], [0.5, 1.0, 2.0]), Timing([2.0, 6.0, 8.0], [1, 1, 1])
    assert ours.units == 2.0
    assert times_faster(ours, theirs) == 2.0  # of 2, 3 and 2; the medians' ratio would be 3
    assert ours.as_dict()['spread'] == 1.5


def test_candidates_take_turns():
    calls = []
    candidates = {name: lambda name=name: calls.append(name) for name in ('a', 'b')}
    timings = Clock(CPU).take_turns(candidates, rounds=2)
    assert calls == ['a', 'b'] * 3
    assert len(timings['b'].seconds) == len(timings['b'].matmul) == 2


@pytest.mark.parametrize(
    'argv, message',
    [
        (['training', '--encoder', 'mit_b9'], 'there are mit_b0 to mit_b5'),
        (['training', '--size', '100'], 'multiple of 32'),
        (['training', '--rounds', '0'], 'at least 1'),
        (['trainings'], 'invalid choice'),
    ],
)
def test_mistakes(argv, message, capsys):
    with pytest.raises(SystemExit) as stop:
        benchmark.main([*argv, '--device', 'cpu'])
    assert stop.value.code != 0
    assert message in f'{stop.value.code}{capsys.readouterr().err}'


@pytest.mark.long
def test_the_command_measures_a_training_step(tmp_path, capsys):
    path = tmp_path / 'speed.json'
    argv = ['training', '--size', '64', '--rounds', '1', '--device', 'cpu', '--json', str(path)]
    found = benchmark.main(argv)
    assert json.loads(path.read_text()) == found
    assert found['ours']['peak_memory_gb'] > 0.1
    # Two passes forward and backward and one forward through a head of 1.5 GFLOP at this size.
    assert 10 < found['gflop'] < 40
    assert 'times as fast' in capsys.readouterr().out
