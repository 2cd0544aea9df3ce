"""Data workers that die, hang or find no shared memory: one line that says what to do."""

import multiprocessing
import os
import signal
import time

import pytest
import torch

from mmseg.datasets import dataloader
from mmseg.datasets.dataloader import RunBatches, build_loader, dead_workers_are_errors
from mmseg.engine.predict import TestSamples
from mmseg.utils.user_error import UserError
from tools import test

CPU = torch.device('cpu')


class Samples:
    """Numbers as tensors; for some, sample 2 by default, a function is called first."""

    def __init__(self, function=lambda: None, numbers=(2,)):
        self.function, self.numbers = function, numbers

    def __getitem__(self, number):
        if number in self.numbers:
            self.function()
        return dict(number=torch.tensor(number))


def load(samples, workers=1):
    """The numbers in the batches, two in each."""
    with dead_workers_are_errors():
        loader = build_loader(samples, RunBatches(0, 3, 2), workers, CPU)
        return [batch['number'].tolist() for batch in loader]


ALL = [[0, 1], [2, 3], [4, 5]]


def test_full_shared_memory(monkeypatch):
    def full(tensor):
        raise RuntimeError('unable to allocate shared memory(shm): No space left on device (28)')

    monkeypatch.setattr(torch.Tensor, 'share_memory_', full)
    says = r'No space left[^\n]*workers_per_gpu lower, or to 0[^\n]*--shm-size[^\n]*$'
    with pytest.raises(UserError, match=says):
        load(Samples())
    assert load(Samples(), workers=0) == ALL  # the advice works


@pytest.mark.parametrize(
    ('number', 'says'),
    [(signal.SIGBUS, 'Bus error.*--shm-size'), (signal.SIGKILL, 'Killed.*memory')],
)
def test_killed_worker(number, says):
    with pytest.raises(UserError, match=says):
        load(Samples(lambda: os.kill(os.getpid(), number)))


def test_workers_that_hang(monkeypatch):
    monkeypatch.setattr(dataloader, '_PATIENCE', 0.6)
    says = r'no worker loaded a sample for 0\.6 seconds.*workers_per_gpu lower.*--shm-size'
    with pytest.raises(UserError, match=says):
        load(Samples(signal.pause), workers=2)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize('workers', [1, 2])
def test_slow_workers_are_waited_for(monkeypatch, workers):
    monkeypatch.setattr(dataloader, '_PATIENCE', 0.6)
    start = time.monotonic()
    assert load(Samples(lambda: time.sleep(0.4), numbers=(2, 3)), workers) == ALL
    assert time.monotonic() - start > 0.6  # for one batch


def test_batches_that_get_lost(monkeypatch):
    """Samples are loaded, but not handed over: a sign of life that ends with what is prefetched."""
    monkeypatch.setattr(dataloader, '_PATIENCE', 0.6)
    monkeypatch.setattr(dataloader, '_collate_shared', lambda *_: signal.pause())
    with pytest.raises(UserError, match=r'no worker loaded a sample for 0\.6 seconds'):
        load(Samples(), workers=2)


@pytest.mark.usefixtures('one_thread')
def test_killed_worker_of_a_test(trained_run, monkeypatch):
    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(TestSamples, '__getitem__', die)
    options = ['--cfg-options', 'data.workers_per_gpu=1']
    with pytest.raises(SystemExit, match=r'^Error: DataLoader worker .* Killed[^\n]*$'):
        test.main([trained_run.config, trained_run.checkpoint, *options])
