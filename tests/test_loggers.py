"""Log lines: the time to load data; and wandb."""

import glob
import importlib.util
import os
from types import SimpleNamespace

import pytest
from mmcv.runner.hooks import IterTimerHook, iter_timer

from tests.tiny_runs import UDA_CONFIG, TrainedRun, files_below, run_experiment


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
