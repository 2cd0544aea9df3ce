"""``run_experiments.py --exp``: the runs of an experiment, one after the other."""

import json
import os
import os.path as osp

import pytest
import torch

import experiments
import run_experiments
from mmseg.engine.config import parse_options
from mmseg.engine.runs import child_config
from tests.tiny_runs import SMALL

SOURCE_ONLY = 'street_scenes/source_only_mitb0.py'


def tiny_experiment(_):
    """Two runs that differ in their seed; bases are relative to configs/, as in experiments.py."""
    options = parse_options([*SMALL, 'runner.max_iters=2'])
    return [
        {**child_config(SOURCE_ONLY, options), 'name': f'tiny_s{seed}', 'exp': 7, 'seed': seed}
        for seed in (0, 1)
    ]


def runs():
    folder = osp.join('work_dirs', 'local-exp7')
    return {name: osp.join(folder, name) for name in sorted(os.listdir(folder))}


def test_all_runs_are_trained_and_finished_ones_skipped(workplace, monkeypatch, capsys, one_thread):
    monkeypatch.setattr(experiments, 'generate_experiment_cfgs', tiny_experiment)
    run_experiments.main(['--exp', '7'])
    found = runs()
    assert [name.split('_', 2)[2].rsplit('_', 1)[0] for name in found] == ['tiny_s0', 'tiny_s1']
    for name, folder in found.items():
        assert osp.isfile(osp.join(folder, 'iter_2.pth'))
        with open(osp.join('configs/generated/local-exp7', f'{name}.json')) as file:
            assert json.load(file)['work_dir'] == folder
    one, other = (
        torch.load(osp.join(folder, 'latest.pth'), weights_only=True)['state_dict']
        for folder in found.values()
    )
    assert any(not torch.equal(one[name], other[name]) for name in one)

    os.remove(osp.join(list(found.values())[1], 'iter_2.pth'))  # as if it had been interrupted
    capsys.readouterr()
    run_experiments.main(['--exp', '7'])
    shown = capsys.readouterr().out
    assert shown.count('This run is finished') == 1
    assert shown.count('Going on with') == 1
    assert runs().keys() == found.keys()


def test_nothing_starts_when_one_run_cannot(workplace, monkeypatch):
    def second_one_is_broken(experiment):
        good, broken = tiny_experiment(experiment)
        broken['model']['pretrained'] = 'nowhere.pth'
        return [good, broken]

    monkeypatch.setattr(experiments, 'generate_experiment_cfgs', second_one_is_broken)
    with pytest.raises(SystemExit, match=r'nowhere\.pth'):
        run_experiments.main(['--exp', '7'])
    assert not osp.exists('work_dirs') and not osp.exists('configs')


def test_an_unknown_experiment_lists_those_that_exist(workplace):
    with pytest.raises(SystemExit, match=r'experiment 99.*1, 2, 3.*101'):
        run_experiments.main(['--exp', '99'])


@pytest.mark.parametrize('option', [['--seed', '1'], ['--cfg-options', 'a=1']])
def test_options_of_single_runs_do_not_go_with_experiments(option, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_experiments.main(['--exp', '7', *option])
    assert stopped.value.code == 2
    assert 'goes with --config' in capsys.readouterr().err
