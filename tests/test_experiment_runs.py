"""``run_experiments.py --exp``: the runs of an experiment, one after the other."""

import glob
import json
import os
import os.path as osp
import re
import signal
from pathlib import Path

import pytest
import torch

import run_experiments
from mmseg.engine.config import load_config, parse_options
from mmseg.utils.user_error import UserError
from tests.tiny_runs import CHECKOUT, SMALL, SOURCE_ONLY_CONFIG, UDA_CONFIG, only, run_python
from tools.launch import apply_overrides, train_run

SOURCE_ONLY = 'street_scenes/source_only_mitb0.py'


def tiny_experiment(_):
    """Two runs that differ in their seed; bases are relative to configs/, as in experiments.py."""
    options = parse_options([*SMALL, 'runner.max_iters=2'])
    stated = apply_overrides({'_base_': [SOURCE_ONLY], 'exp': 7}, options)
    return [{**stated, 'name': f'tiny_s{seed}', 'seed': seed} for seed in (0, 1)]


def runs():
    """Name → folder of the experiment's runs."""
    return {osp.basename(path): path for path in sorted(glob.glob('work_dirs/local-exp7/*_*'))}


def test_all_runs_are_trained_and_finished_ones_skipped(workplace, monkeypatch, capsys, one_thread):
    monkeypatch.setattr(run_experiments, 'generate_experiment_cfgs', tiny_experiment)
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
    assert shown.count('Resuming') == 1
    assert runs().keys() == found.keys()

    results = Path('work_dirs/local-exp7/results.txt').read_text()
    assert results in shown
    assert re.search(r'\| tiny +\|( +\d+\.\d\d \|){4}', results)  # two seeds, mean, deviation
    lines = Path('work_dirs/local-exp7/results.csv').read_text().splitlines()
    assert [line.split(',')[:3] for line in lines] == [
        ['configuration', 'seed', 'iteration'],
        ['tiny', '0', '2'],
        ['tiny', '1', '2'],
    ]


def test_nothing_starts_when_one_run_cannot(workplace, monkeypatch):
    def second_one_is_broken(experiment):
        good, broken = tiny_experiment(experiment)
        broken['model']['pretrained'] = 'nowhere.pth'
        return [good, broken]

    monkeypatch.setattr(run_experiments, 'generate_experiment_cfgs', second_one_is_broken)
    with pytest.raises(SystemExit, match=r'nowhere\.pth'):
        run_experiments.main(['--exp', '7'])
    assert not osp.exists('work_dirs') and not osp.exists('configs')


def test_an_unknown_experiment_lists_those_that_exist(workplace):
    with pytest.raises(SystemExit, match=r'experiment 99.*1, 2, 3.*101'):
        run_experiments.main(['--exp', '99'])


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['--exp', '7', '--seed', '0'], '--seed goes with --config'),
        (['--exp', '7', '--cfg-options', 'a=1'], '--cfg-options goes with --config'),
        (['--list', '--work-dir', 'x'], '--work-dir goes with --config'),
        (['--config', 'x.py', '--only', 'x'], '--only goes with --exp'),
        (['--config', 'x.py', '--seeds', '1'], '--seeds goes with --exp'),
        (['--exp', '7', '--list'], 'not allowed with'),
    ],
)
def test_options_that_do_not_go_together(arguments, says, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_experiments.main(arguments)
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err


def test_a_failed_run_does_not_keep_the_others(workplace, monkeypatch, capsys, one_thread):
    def train_first_fails(cfg, device):
        if cfg.seed == 0:
            raise UserError('no space is left')
        return train_run(cfg, device)

    monkeypatch.setattr('tools.launch.train_run', train_first_fails)
    monkeypatch.setattr(run_experiments, 'generate_experiment_cfgs', tiny_experiment)
    with pytest.raises(SystemExit, match='Error: 1 of 2 runs failed: tiny_s0'):
        run_experiments.main(['--exp', '7'])
    shown = capsys.readouterr()
    assert 'Error: no space is left' in shown.err
    assert re.search(r'mIoU \(%\) \| seed 1 ', shown.out)


def test_a_signal_stops_the_experiment(workplace, monkeypatch):
    started = []

    def stopped_by_signal(cfg, device):
        started.append(cfg)
        return signal.SIGTERM

    monkeypatch.setattr('tools.launch.train_run', stopped_by_signal)
    monkeypatch.setattr(run_experiments, 'generate_experiment_cfgs', tiny_experiment)
    with pytest.raises(SystemExit) as stopped:
        run_experiments.main(['--exp', '7'])
    assert stopped.value.code == 143 and len(started) == 1


# --list, --dry-run, --only, --seeds, --debug


def test_list_shows_every_run_without_torch():
    code = (
        'import sys, run_experiments; run_experiments.main(["--list"]);'
        'assert not {"torch", "mmcv", "mmseg"} & set(sys.modules)'
    )
    result = run_python('-c', code, cwd=CHECKOUT)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    golden = {}
    for file in ('experiments.json', 'successors/experiments.json'):
        golden |= json.loads((CHECKOUT / 'tests/golden' / file).read_text())
    names = [name for experiment in sorted(golden, key=int) for name in golden[experiment]]
    listed = [line.strip() for line in lines if line.startswith('    ')]
    assert listed[: len(names)] == names  # those of no paper follow
    assert len(listed) == len(names) + 3 * (21 + 7 + 3)
    assert '6: Table 7: decoders; its last row is DAFormer on GTA to Cityscapes (42 runs)' in lines


def test_list_of_a_selection(capsys):
    run_experiments.main(['--list', '--only', 'rcs*_upernet_mit', '--seeds', '0', '2'])
    assert [line.strip() for line in capsys.readouterr().out.splitlines() if line] == [
        '6: Table 7: decoders; its last row is DAFormer on GTA to Cityscapes (2 runs)',
        'gta2cs_dacs_a999_fdthings_rcs001_cpl_upernet_mitb5_poly10warm_s0',
        'gta2cs_dacs_a999_fdthings_rcs001_cpl_upernet_mitb5_poly10warm_s2',
    ]


def test_dry_run_writes_the_configs_that_the_training_then_uses(
    tmp_path, workplace, monkeypatch, capsys, one_thread
):
    monkeypatch.setattr(run_experiments, 'generate_experiment_cfgs', tiny_experiment)
    monkeypatch.setattr('tools.launch.train_run', lambda cfg, device: started.append(cfg.name))
    started = []
    run_experiments.main(['--exp', '7', '--dry-run'])
    written = sorted(glob.glob('configs/generated/local-exp7/*.json'))
    assert len(written) == 2 and not started and not osp.exists('work_dirs')

    run_experiments.main(['--exp', '7', '--dry-run'])
    run_experiments.main(['--exp', '7', '--seeds', '1'])
    assert started == [Path(path).stem for path in written if '_s1_' in path]
    assert sorted(glob.glob('configs/generated/local-exp7/*.json')) == written


def test_dry_run_needs_no_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_experiments.main(['--exp', '7', '--dry-run', '--seeds', '0'])
    run_experiments.main(['--config', str(UDA_CONFIG), '--dry-run'])
    assert len(glob.glob('configs/generated/*/*.json')) == 2


def test_nothing_selected(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match='no run of experiment 6 fits; --list shows'):
        run_experiments.main(['--exp', '6', '--only', 'deeplabv5'])


@pytest.mark.parametrize('what', [['--exp', '7', '--seeds', '0'], ['--config', str(UDA_CONFIG)]])
def test_debug_shortens_the_intervals(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    run_experiments.main([*what, '--dry-run', '--debug'])
    cfg = load_config(only('configs/generated/*/*.json'))
    assert cfg.log_config.interval == 10 and len(cfg.log_config.hooks) == 2
    assert cfg.evaluation == dict(interval=200, metric='mIoU')
    assert cfg.uda.debug_img_interval == 10 and cfg.uda.type == 'DACS'


def test_debug_of_supervised_training_has_no_uda(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_experiments.main(['--config', str(SOURCE_ONLY_CONFIG), '--dry-run', '--debug'])
    cfg = load_config(only('configs/generated/*/*.json'))
    assert cfg.log_config.interval == 10 and 'uda' not in cfg
