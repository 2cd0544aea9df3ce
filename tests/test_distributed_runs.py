"""Runs of two processes: one log, one checkpoint, and the same end after every kind of stop."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmcv.runner import get_dist_info

from mmseg.engine.run_start import config_of
from mmseg.engine.runner import SeededRunner
from mmseg.models.uda.dacs import DACS
from tests.killable_runs import SignalIn, SignalInEvaluation
from tests.ranks import Ranks
from tests.tiny_runs import (
    CHECKOUT,
    FEATURE_DISTANCE,
    SMALL,
    SMALL_UDA,
    SOURCE_ONLY_CONFIG,
    UDA_CONFIG,
    assert_same_training,
    files_below,
    only,
    records_in,
    run_experiment,
)
from tools import test, train


class NaNIn:
    """Makes the images of an iteration NaN."""

    def __init__(self, iteration):
        self.iteration = iteration

    def install(self):
        original = DACS.train_step

        def train_step(model, batch, optimizer, *, step):
            if step.iteration == self.iteration:
                batch['img'].fill_(float('nan'))
            return original(model, batch, optimizer, step=step)

        DACS.train_step = train_step


class SaveNetworks:
    """Saves every rank's networks as they are at the end."""

    def install(self):
        original = SeededRunner.run

        def run(runner, loader):
            original(runner, loader)
            torch.save(runner.model.state_dict(), f'networks_{get_dist_info()[0]}.pt')

        SeededRunner.run = run


def train_rank(config, options, plan=None, planned_rank=None):
    """Train on one of several ranks; of them one has a plan, or all of them."""
    if plan is not None and planned_rank in (None, int(os.environ['RANK'])):
        plan.install()
    torch.set_num_threads(1)
    train.main([str(config), '--work-dir', 'run', '--device', 'cpu', '--cfg-options', *options])


def uda_ranks(folder, plan=None, planned_rank=None, options=()):
    options = (*SMALL_UDA, *FEATURE_DISTANCE, 'data.samples_per_gpu=1', 'n_gpus=2', *options)
    return Ranks(folder, train_rank, UDA_CONFIG, options, plan, planned_rank)


class Run:
    """What a run in a folder has left."""

    def __init__(self, folder):
        self.folder = folder

    def load(self):
        return torch.load(self.folder / 'run/latest.pth', weights_only=True)

    def log(self):
        return open(only(self.folder / 'run/*.log')).read()

    def printed(self, rank):
        return (self.folder / f'printed_{rank}.txt').read_text()


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory, street_scenes):
    folder = tmp_path_factory.mktemp('ranks')
    (folder / 'data').mkdir()
    (folder / 'data' / 'street_scenes').symlink_to(street_scenes)
    run = Run(folder)
    assert uda_ranks(folder, SaveNetworks()).end() == [0, 0], run.printed(0) + run.printed(1)
    return run


def test_ranks_end_with_equal_networks_and_one_set_of_files(uninterrupted):
    one, other = (torch.load(uninterrupted.folder / f'networks_{rank}.pt') for rank in range(2))
    saved = uninterrupted.load()['state_dict']
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
        assert torch.equal(value, saved[name]), name
    names = [path.name for path in files_below(uninterrupted.folder / 'run')]
    assert len([name for name in names if name.endswith('.log')]) == 1
    assert len([name for name in names if name.startswith('events.')]) == 1
    assert [name for name in names if name.endswith('.png')] == [
        '000001_0.png', '000001_1.png', '000003_0.png', '000003_1.png',
        *(f'iter_00000{i}_{image}.png' for i in (2, 4) for image in (0, 1, 2)),
    ]  # fmt: skip
    assert re.findall(r'Iter \[(\d)/4\]', uninterrupted.log()) == ['2', '4']
    assert 'optimizer.lr=0.004 is taken as it is' in uninterrupted.log()
    assert 'n_gpus' not in uninterrupted.log().split('Training on')[1]
    assert not re.findall('Error|Traceback', uninterrupted.printed(0) + uninterrupted.printed(1))


def test_ranks_evaluate_together(uninterrupted, monkeypatch):
    monkeypatch.chdir(uninterrupted.folder)
    with open(only('run/*.log.json')) as file:
        logged = [json.loads(line) for line in file][-1]
    arguments = ['--device', 'cpu', '--confusion', 'confusion.json']
    found = test.main([config_of('run'), 'run/latest.pth', *arguments])
    records = records_in('run')
    confusion = json.loads(Path('confusion.json').read_text())
    assert confusion.pop('tested')['networks'] == ['student']
    assert json.loads(records['iter_000004.json']) == confusion
    drawn = json.loads(records['rare_class_sampling.json'])['drawn']
    assert sum(drawn) == 4 * 2  # samples of both ranks
    assert logged['mode'] == 'val' and logged['mIoU'] == pytest.approx(found['mIoU'], abs=1e-4)


@pytest.mark.long
def test_the_same_after_a_signal_a_nan_and_a_kill_of_one_rank(workplace, uninterrupted):
    run = Run(workplace)

    assert uda_ranks(workplace, SignalIn(0, signal.SIGTERM), 1).end() == [143, 143]
    assert os.readlink('run/latest.pth') == 'resume_1.pth'

    stop = SignalInEvaluation(0, 'count_areas', signal.SIGTERM)
    assert uda_ranks(workplace, stop, 1).end() == [143, 143]
    assert os.readlink('run/latest.pth') == 'resume_2.pth'
    assert not os.path.exists('run/evaluation/iter_000002.json')

    assert uda_ranks(workplace, NaNIn(2), 1).end() == [1, 1]
    assert os.readlink('run/latest.pth') == 'resume_2.pth'
    assert len(re.findall('^Error: iteration 3: decode.loss_ce', run.printed(0), re.M)) == 1
    assert 'Error' not in run.printed(1)
    assert len(re.findall(r'\nImages: .*\.png, .*\.png\n', run.log())) == 1  # of both ranks

    assert uda_ranks(workplace, SignalIn(3, signal.SIGKILL), 1).end() == [1, -signal.SIGKILL]
    assert 'Error: rank 0 lost the other processes of this run' in run.printed(0).splitlines()[-1]

    assert uda_ranks(workplace, stop, 0).end() == [143, 143]
    assert os.readlink('run/latest.pth') == 'resume_4.pth'

    assert uda_ranks(workplace).end() == [0, 0]
    assert os.readlink('run/latest.pth') == 'iter_4.pth'
    assert_same_training(run, uninterrupted)
    assert records_in('run') == records_in(uninterrupted.folder / 'run')
    assert 'will not be bit-identical' not in run.log()


def test_source_only_training_and_another_number_of_processes(workplace):
    run = Run(workplace)
    clip = 'optimizer_config.grad_clip.max_norm=1.0'
    options = (*SMALL, 'scale_lr=True', 'speed.accumulate=2', clip)
    stop = StopAfter(1)
    assert Ranks(workplace, train_rank, SOURCE_ONLY_CONFIG, options, stop).end() == [143, 143]
    assert 'is multiplied by 2 (scale_lr)' in run.log()
    lr = run.load()['optimizer']['param_groups'][0]['initial_lr']
    alone = Ranks(workplace, train_rank, SOURCE_ONLY_CONFIG, options, count=1)
    assert alone.end() == [0], run.printed(0)
    assert "'processes': 2} and resumes under" in run.log()
    assert run.load()['optimizer']['param_groups'][0]['initial_lr'] == lr == 2 * 0.004
    assert 'grad_norm: ' in run.log()


class StopAfter:
    """Asks this rank to stop in a run without a method."""

    def __init__(self, iteration):
        self.iteration = iteration

    def install(self):
        original = SeededRunner._train_iteration

        def train_iteration(runner, batch):
            if runner.iter == self.iteration:
                os.kill(os.getpid(), signal.SIGTERM)
            original(runner, batch)

        SeededRunner._train_iteration = train_iteration


def test_a_mistake_is_said_once(workplace):
    assert uda_ranks(workplace, options=['uda.alpha=no']).end() == [1, 1]
    run = Run(workplace)
    assert re.search('^Error: .*uda.alpha', run.printed(0), re.M)
    assert 'Error' not in run.printed(1)


KILLED_SCRIPT = """
import os, signal, sys
sys.path.insert(0, {checkout!r})
from tests.killable_runs import SignalIn
from tools import train
if os.environ['RANK'] == '1' and not os.path.exists('killed'):
    open('killed', 'w').close()
    SignalIn(3, signal.SIGKILL).install()
train.main()
"""


@pytest.mark.long
@pytest.mark.parametrize('machines', [1, 2])
def test_torchrun_starts_again_after_a_kill(workplace, uninterrupted, machines):
    (workplace / 'killed.py').write_text(KILLED_SCRIPT.format(checkout=str(CHECKOUT)))
    options = (*SMALL_UDA, *FEATURE_DISTANCE, 'data.samples_per_gpu=1', 'n_gpus=2')
    where = ['--standalone']
    if machines > 1:
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            where = ['--rdzv-backend=c10d', f'--rdzv-endpoint=localhost:{free.getsockname()[1]}']
    command = [
        sys.executable, '-m', 'torch.distributed.run', *where, f'--nnodes={machines}',
        f'--nproc_per_node={2 // machines}', '--max-restarts=1', 'killed.py', UDA_CONFIG,
        '--work-dir', 'run', '--device', 'cpu', '--cfg-options', *options,
    ]  # fmt: skip
    environment = {
        **os.environ, 'OMP_NUM_THREADS': '1', 'TORCH_DISABLE_SHARE_RDZV_TCP_STORE': '1',
    }  # fmt: skip
    with open('printed.txt', 'wb') as file:
        launchers = [
            subprocess.Popen(command, env=environment, stdout=file, stderr=file)
            for _ in range(machines)
        ]
        codes = [launcher.wait() for launcher in launchers]
    printed = (workplace / 'printed.txt').read_text()
    assert codes == [0] * machines, printed
    run = Run(workplace)
    assert 'Resumed after iteration 2' in run.log()
    assert_same_training(run, uninterrupted)


@pytest.mark.long
def test_run_experiments_starts_and_stops_processes(workplace):
    command = ['run_experiments.py', '--config', UDA_CONFIG, '--n-gpus', '2', '--device', 'cpu']
    options = (*SMALL_UDA, 'data.samples_per_gpu=1', 'runner.max_iters=1000')
    options = (*options, 'evaluation.interval=999')
    process = subprocess.Popen(
        [sys.executable, CHECKOUT / command[0], *command[1:], '--cfg-options', *options],
        env={**os.environ, 'OMP_NUM_THREADS': '1'}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    printed = []
    for line in process.stdout:
        printed.append(line)
        if 'Iter [4/' in line:
            process.send_signal(signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM, ''.join(printed)
    assert 'Stopped by signal 15' in ''.join(printed)
    state = os.readlink(only('work_dirs/*/*/latest.pth'))
    assert int(re.fullmatch(r'resume_(\d+).pth', state)[1]) >= 4


# What cannot be, said in one line before anything is written.


@pytest.fixture
def error_of(workplace, capsys):
    def call(function, *arguments):
        with pytest.raises(SystemExit) as stop:
            function(*arguments)
        assert not (workplace / 'run').exists()
        return str(stop.value)

    return call


def test_several_processes_need_a_launcher_that_says_where_they_meet(error_of, monkeypatch):
    error = error_of(train.main, [str(UDA_CONFIG), '--cfg-options', 'n_gpus=4'])
    assert 'torchrun --nproc_per_node=4 tools/train.py' in error and '--n-gpus' not in error
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('WORLD_SIZE', '2')
    error = error_of(train.main, [str(UDA_CONFIG)])
    assert 'LOCAL_RANK, MASTER_ADDR, MASTER_PORT is not set' in error
    error = error_of(run_experiment, UDA_CONFIG)
    assert 'run_experiments.py starts its processes itself' in error


def test_restarts_need_a_store_for_each_attempt(error_of, monkeypatch):
    for name in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.setenv(name, '1')
    monkeypatch.setenv('TORCHELASTIC_MAX_RESTARTS', '3')
    monkeypatch.setenv('TORCHELASTIC_USE_AGENT_STORE', 'True')
    error = error_of(train.main, [str(UDA_CONFIG)])
    assert 'set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1' in error


def test_more_processes_than_gpus(error_of, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 1)
    monkeypatch.setattr(torch.cuda, 'set_device', lambda device: None)

    def start(*arguments):
        run_experiment(UDA_CONFIG, arguments=['--n-gpus', '4', *arguments])

    assert '4 processes, but --device cuda has 1 GPU(s)' in error_of(start)
    assert '4 processes, but --device cuda:0 has 1 GPU(s)' in error_of(start, '--device', 'cuda:0')
    assert 'n_gpus' in error_of(run_experiment, UDA_CONFIG, 'n_gpus=0')
