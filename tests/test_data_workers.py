"""Data workers that die, hang or find no shared memory: one line that says what to do."""

import multiprocessing
import os
import signal

import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from mmseg.datasets import run_loader
from mmseg.datasets.run_loader import RunBatches, build_loader, dead_workers_are_errors
from mmseg.engine.predict import TestSamples
from mmseg.utils.user_error import UserError
from tools import test

CPU = torch.device('cpu')


class Samples:
    """Numbers as tensors; for sample 2 a function is called first."""

    def __init__(self, at_2=lambda: None):
        self.at_2 = at_2

    def __getitem__(self, number):
        if number == 2:
            self.at_2()
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
    says = r'No space left.*/dev/shm has [\d,]+ of [\d,]+ MiB left\. .*--shm-size.*_per_gpu=0'
    with pytest.raises(UserError, match=says):
        load(Samples())
    assert load(Samples(), workers=0) == ALL  # the advice works


@pytest.mark.parametrize(
    ('number', 'says'),
    [(signal.SIGBUS, 'Bus error.*/dev/shm.*--shm-size'), (signal.SIGKILL, 'Killed.*memory')],
)
def test_killed_worker(number, says):
    with pytest.raises(UserError, match=says):
        load(Samples(lambda: os.kill(os.getpid(), number)))


def test_workers_that_hang(monkeypatch):
    monkeypatch.setattr(run_loader, '_PATIENCE', 0.6)
    says = r'2 data worker\(s\) .*nothing for 0\.6 seconds.*/dev/shm.*--shm-size.*_per_gpu=0'
    with pytest.raises(UserError, match=says):
        load(Samples(signal.pause), workers=2)
    assert not multiprocessing.active_children()


def test_batch_that_comes_late(monkeypatch):
    """It is loaded only when the first wait for it is over."""
    monkeypatch.setattr(run_loader, '_PATIENCE', 2)
    waits, tells = os.pipe()
    get = _MultiProcessingDataLoaderIter._get_data

    def tell_after_a_wait(batches):
        try:
            return get(batches)
        except RuntimeError:
            os.write(tells, b'.')
            raise

    monkeypatch.setattr(_MultiProcessingDataLoaderIter, '_get_data', tell_after_a_wait)
    assert load(Samples(lambda: os.read(waits, 1))) == ALL


def test_slow_workers_are_waited_for(monkeypatch):
    """In each wait of two minutes one sample is loaded; then none."""

    class Slow:
        waits = 0

        def __next__(self):
            self.waits += 1
            if self.waits == 5:
                return 'batch'
            if self.waits < 9:
                loader.dataset.loaded.value += 1
            raise RuntimeError('DataLoader timed out after 120 seconds')

    monkeypatch.setattr(DataLoader, '__iter__', lambda loader: Slow())
    loader = build_loader(Samples(), RunBatches(0, 3, 2), 1, CPU)
    assert loader.timeout == 120
    batches = iter(loader)
    assert next(batches) == 'batch'
    with pytest.raises(UserError, match='nothing for 120 seconds'):
        next(batches)


@pytest.mark.usefixtures('one_thread')
def test_killed_worker_of_a_test(trained_run, monkeypatch):
    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(TestSamples, '__getitem__', die)
    options = ['--cfg-options', 'data.workers_per_gpu=1']
    with pytest.raises(SystemExit, match=r'^Error: DataLoader worker .* Killed[^\n]*$'):
        test.main([trained_run.config, trained_run.checkpoint, *options])
