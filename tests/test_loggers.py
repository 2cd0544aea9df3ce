"""Log lines: how long a run will take, what memory it needs; and wandb."""

import glob
import importlib.util
import logging
import os
import re
from types import SimpleNamespace

import pytest
import torch
from mmcv.runner import LogBuffer
from mmcv.runner.hooks import IterTimerHook, iter_timer

from mmseg.engine import logs
from tests.tiny_runs import UDA_CONFIG, TrainedRun, files_below, run_experiment


class Session:
    """A command that trains with iterations of two seconds, on a clock of its own."""

    def __init__(self, patch, folder, start, max_iters):
        self.now = 1000.0
        patch.setattr(logs, 'time', SimpleNamespace(monotonic=lambda: self.now))
        self.text = logs.TextLogger(interval=10, by_epoch=False)
        self.runner = SimpleNamespace(
            iter=start, inner_iter=start, max_iters=max_iters, epoch=0, mode='train', rank=0,
            world_size=1, hooks=[self.text], work_dir=str(folder), timestamp='t', meta=None,
            device=torch.device('cpu'), log_buffer=LogBuffer(), logger=logging.getLogger('test'),
            current_lr=lambda: [0.1], data_loader=range(10**6),
        )  # fmt: skip
        self.text.before_run(self.runner)

    def train(self, stop):
        while self.runner.iter < stop:
            self.now += 2
            self.runner.log_buffer.update(dict(time=2.0, data_time=0.5))
            self.text.after_train_iter(self.runner)
            self.runner.iter += 1


def test_eta_is_of_this_sessions_time(tmp_path, monkeypatch, caplog):
    """Going on in the middle of an interval, with an evaluation of 30 s after iteration 40."""
    caplog.set_level(logging.INFO)
    session = Session(monkeypatch, tmp_path, start=33, max_iters=100)
    session.train(40)
    session.now += 30
    session.train(50)
    lines = [line for line in caplog.messages if line.startswith('Iter')]
    assert re.fullmatch(
        r'Iter \[40/100\]\tlr: 1\.000e-01, eta: 0:02:00, time: 2\.000, data_time: 0\.500, '
        r'peak_resident_mb: [1-9]\d*',
        lines[0],
    )
    # (17 * 2 + 30) s for 17 iterations, 50 to go.
    assert 'Iter [50/100]' in lines[1] and 'eta: 0:03:08' in lines[1]


def test_first_iterations_say_how_long_it_will_take(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    Session(monkeypatch, tmp_path, start=30, max_iters=100).train(38)
    assert caplog.messages == [
        '2.000 s per iteration at first: about 0:02:10 for the 65 that are left, evaluations not '
        'counted. Losses follow every 10 iterations.'
    ]


def test_first_iterations_say_nothing_where_losses_came_before(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    Session(monkeypatch, tmp_path, start=38, max_iters=100).train(45)
    assert len(caplog.messages) == 1 and 'Iter [40/100]' in caplog.messages[0]


def test_evaluation_is_no_loading_of_data(monkeypatch, tmp_path):
    from tests.test_during_training import GOOD, train_one_weight

    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(iter_timer, 'time', SimpleNamespace(time=lambda: clock.now))
    monkeypatch.setattr(
        'mmseg.engine.checkpoint.ResumeStateHook.after_train_iter',
        lambda self, runner: setattr(clock, 'now', clock.now + 30),
    )
    noted = []

    def note(self, runner):
        original(self, runner)
        noted.append(runner.log_buffer.val_history['data_time'][-1])

    original = IterTimerHook.before_iter
    monkeypatch.setattr(IterTimerHook, 'before_iter', note)
    train_one_weight(tmp_path, [GOOD] * 3)
    assert clock.now == 90 and noted == [0, 0, 0]


# wandb


WANDB = (
    "log_config = dict(hooks=[dict(type='TextLoggerHook'), dict(type='WandbLoggerHook', "
    "init_kwargs=dict(mode='offline', project='daformer'))])\n"
)


@pytest.fixture
def leaf(workplace):
    """A config with wandb."""
    (workplace / 'leaf.py').write_text(f'_base_ = [{str(UDA_CONFIG)!r}]\n{WANDB}')
    return 'leaf.py'


def test_missing_wandb_is_one_line(leaf, monkeypatch):
    original = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, 'find_spec', lambda name: None if name == 'wandb' else original(name)
    )
    with pytest.raises(SystemExit) as exit_info:
        run_experiment(leaf)
    assert exit_info.value.code == (
        'Error: log_config.hooks has a WandbLoggerHook, but wandb is not installed: pip install '
        'wandb, or remove the hook.'
    )
    assert not os.path.exists('work_dirs')


@pytest.fixture
def wandb(monkeypatch, tmp_path):
    wandb = pytest.importorskip('wandb', reason='wandb is not installed')
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.delenv('WANDB_CACHE_DIR', raising=False)
    yield wandb
    wandb.teardown()  # ends its process


def untrained(patch):
    """Let runs train nothing, which takes no time."""
    from mmseg.models.uda.dacs import DACS

    def train_step(self, batch, optimizer, *, step):
        return dict(log_vars={'decode.loss_ce': 1.0}, num_samples=2)

    patch.setattr(DACS, 'train_step', train_step)


def test_wandb_has_losses_and_evaluations_in_the_runs_folder(leaf, workplace, monkeypatch, wandb):
    untrained(monkeypatch)
    uploads = []
    monkeypatch.setattr(wandb.Artifact, '__init__', lambda *args, **_: uploads.append(args))
    run_experiment(leaf)
    run = TrainedRun(workplace)
    (path,) = glob.glob(f'{run.work_dir}/wandb/offline-run-*/run-*.wandb')
    with open(path, 'rb') as file:
        recorded = file.read()
    # mmcv would commit the losses of an iteration before its evaluation, which is dropped then.
    assert b'train/decode.loss_ce' in recorded and b'val/mIoU' in recorded
    assert not uploads
    elsewhere = [path for path in files_below('.') if 'wandb' in str(path)]
    assert all(str(path).startswith(run.work_dir) for path in elsewhere)
