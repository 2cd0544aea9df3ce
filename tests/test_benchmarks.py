"""The benchmark: what is measured against computes the same, and figures are right."""

import json
from types import SimpleNamespace

import pytest
import torch

from mmseg.utils.seeding import Step
from tools import benchmark
from tools.benchmarks import take_turns
from tools.benchmarks.published import PublishedStep, explicit_attention
from tools.benchmarks.training import build_method, random_batch

CPU = torch.device('cpu')
ARGUMENTS = SimpleNamespace(rounds=2, encoder='mit_b0')


def build_sgd(method):
    return torch.optim.SGD(method.model.parameters(), lr=0.05)


def test_the_published_step_is_our_step():
    method = build_method('mit_b0', CPU)
    drops = [m for m in method.modules() if 'Drop' in type(m).__name__]
    for module in drops:  # they draw from the global generator, in another order
        module.p = module.drop_prob = 0.0
    method.alpha = 0.5
    # AdamW makes large steps of small differences.
    published, optimizer = PublishedStep(method, build_sgd), build_sgd(method)
    for network in (published.model, published.ema_model, published.imnet_model):
        attentions = [getattr(m, 'attention', None) for m in network.modules()]
        assert attentions.count(explicit_attention) == 8
    batch = random_batch(64, CPU)
    for iteration in range(2):
        step = Step(0, iteration)
        if iteration == 1:  # the published teacher moves at the start of an iteration
            method.after_step = lambda step: None
        ours = method.train_step(batch, optimizer, step=step)['log_vars']
        theirs = published.train_step(batch, step)
        for name in ('decode.loss_ce', 'src.loss_imnet_feat_dist', 'mix.decode.loss_ce'):
            assert theirs[name] == pytest.approx(ours[name], rel=1e-4), (iteration, name)
    assert ours['src.loss_imnet_feat_dist'] > 0
    for one, other in ((method.model, published.model), (method.ema_model, published.ema_model)):
        pairs = zip(one.named_parameters(), other.parameters(), strict=True)
        for (name, weight), theirs in pairs:
            torch.testing.assert_close(weight, theirs, rtol=1e-4, atol=1e-6, msg=name)


def test_ways_take_turns_and_are_compared_within_a_round():
    ours, theirs = iter([9.0, 1.0, 2.0, 4.0]), iter([9.0, 2.0, 6.0, 8.0])
    found = take_turns({'ours': lambda: next(ours), 'theirs': lambda: next(theirs)}, 3)
    assert found['ours'] == dict(median_s=2.0, min_s=1.0, max_s=4.0)
    assert found['times_faster'] == 2.0  # of 2, 3 and 2; the medians' ratio would be 3


def test_inference_is_measured_beside_mmsegmentation(one_thread):
    found = benchmark.measure_inference(ARGUMENTS, CPU, (64, 128))
    assert found['ours']['median_s'] > 0 and found['times_faster'] > 0


@pytest.mark.parametrize(
    'argv, message',
    [
        (['training', '--encoder', 'mit_b9'], 'invalid choice'),
        (['training', '--size', '100'], 'multiple of 32'),
        (['training', '--rounds', '0'], 'at least 1'),
        (['trainings'], 'invalid choice'),
    ],
)
def test_mistakes(argv, message, capsys):
    with pytest.raises(SystemExit):
        benchmark.main([*argv, '--device', 'cpu'])
    assert message in capsys.readouterr().err


@pytest.mark.long
def test_the_command_measures_a_training_step(tmp_path, capsys):
    path = tmp_path / 'speed.json'
    argv = ['training', '--size', '64', '--rounds', '1', '--device', 'cpu', '--json', str(path)]
    found = benchmark.main(argv)
    assert json.loads(path.read_text()) == found
    assert found['ours']['peak_memory_gb'] > 0.1
    assert 'times as fast' in capsys.readouterr().out
