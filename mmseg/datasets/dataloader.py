"""Data loaders: numbered samples for training, plain tensors on the device for both."""

import atexit
import contextlib
import functools
import multiprocessing
import signal
import time

import cv2
import torch
from mmcv.parallel import DataContainer
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from mmseg.utils.user_error import UserError, shows_traceback

# Linux only forks: a spawned worker spends 15 s on importing mmseg.
_CONTEXT = 'fork' if 'fork' in multiprocessing.get_all_start_methods() else None

_PATIENCE = 120  # seconds; workers that load no sample for so long hang
_SIGNS = ('DataLoader worker (pid', 'DataLoader timed out', 'unable to allocate shared memory')

# A worker that is forked after OpenCV has started threads can hang; workers are the parallelism.
cv2.setNumThreads(0)


class RunBatches(Sampler):
    """The batches of iterations: sample numbers 0, 1, 2, ..., dealt out to the ranks."""

    def __init__(self, start, stop, batch_size, rank=0, world_size=1):
        self.start, self.stop, self.batch_size = start, stop, batch_size
        self.rank, self.world_size = rank, world_size

    def __len__(self):
        return self.stop - self.start

    def __iter__(self):
        for iteration in range(self.start, self.stop):
            first = (iteration * self.world_size + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))


def collate(samples):
    """Batch samples: tensors are stacked, meta dicts listed, lists over augmentations stay so."""
    return {key: _collate_values([sample[key] for sample in samples]) for key in samples[0]}


def _collate_values(values):
    if isinstance(values[0], list):
        return [_collate_values(list(group)) for group in zip(*values, strict=True)]
    values = [value.data if isinstance(value, DataContainer) else value for value in values]
    return torch.stack(values) if isinstance(values[0], torch.Tensor) else values


def to_device(value, device):
    """Move the tensors in nested dicts and lists."""
    return _map_tensors(lambda tensor: tensor.to(device, non_blocking=True), value)


def _map_tensors(function, value):
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: _map_tensors(function, entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_map_tensors(function, entry) for entry in value]
    return value


@atexit.register
def kill_workers():
    """Kill the workers of all loaders of this process, which is about to end."""
    # torch's own handler would call their death an error.
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
            process.join()
    signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)


@contextlib.contextmanager
def dead_workers_are_errors():
    """Raise a :class:`UserError` where a data worker was killed, hangs or finds no memory."""
    try:
        yield
    except BaseException as error:
        kill_workers()
        if not any(sign in str(error) for sign in _SIGNS):
            raise
        # While the run waits for data, torch's own error hides the one that names the signal.
        reason = (str(error.__cause__ or error).strip() or str(error)).splitlines()[-1]
        raise UserError(
            f'{reason.rstrip(".")}. Perhaps the memory or /dev/shm is full, or the disk hangs: set '
            'data.workers_per_gpu lower, or to 0, which waits as long as it takes and needs no '
            'shared memory, or give a container more of it (docker run --shm-size=8g). The same '
            'command resumes an interrupted training.'
        ) from error


class _Samples(Dataset):
    """Gives a sample, or the :class:`UserError` that it raised: the line without a traceback."""

    def __init__(self, dataset):
        self.dataset = dataset
        self.loaded_at = multiprocessing.RawValue('d')  # by any worker, on the monotonic clock

    def __getitem__(self, number):
        try:
            return self.dataset[number]
        except UserError as error:
            if shows_traceback():
                raise
            return error
        finally:
            self.loaded_at.value = time.monotonic()


def _collate_shared(collate_fn, samples):
    """Collate samples, or return the error among them.

    A worker moves the batch to shared memory here. multiprocessing would do so in a thread that
    prints the error and drops the batch, for which the run would then wait for ever.
    """
    for sample in samples:
        if isinstance(sample, UserError):
            return sample
    batch = collate_fn(samples)
    if get_worker_info() is not None:
        _map_tensors(torch.Tensor.share_memory_, batch)
    return batch


class _Loader(DataLoader):
    """Raises the errors that workers hand over; waits as long as any of them loads samples."""

    def __iter__(self):
        batches, asked_at = super().__iter__(), time.monotonic()
        try:
            while True:
                try:
                    batch = next(batches, None)
                except RuntimeError as error:
                    if not str(error).startswith('DataLoader timed out'):
                        raise
                    if time.monotonic() - max(asked_at, self.dataset.loaded_at.value) < _PATIENCE:
                        continue
                    raise RuntimeError(
                        f'DataLoader timed out: no worker loaded a sample for {_PATIENCE} seconds'
                    ) from None
                if batch is None:
                    return
                if isinstance(batch, UserError):
                    raise batch
                yield batch
                asked_at = time.monotonic()
        finally:
            del batches  # which ends the workers; a traceback would keep them


def _start_worker(_):
    # A stop signal to all processes of a job must not kill a worker in mid-iteration: the run ends
    # its workers after the iteration. A second SIGTERM kills them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


def build_loader(dataset, batches, num_workers, device, collate_fn=collate):
    """Build a loader over batches of sample numbers, for a device to which the batches will go.

    Iterating raises a sample's :class:`UserError` when its batch is due.
    """
    return _Loader(
        _Samples(dataset),
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=functools.partial(_collate_shared, collate_fn),
        timeout=_PATIENCE / 12 if num_workers else 0,
        pin_memory=device.type == 'cuda',
        worker_init_fn=_start_worker if num_workers else None,
        multiprocessing_context=_CONTEXT if num_workers else None,
        # Without one of its own the loader would draw from the global generator.
        generator=torch.Generator().manual_seed(0),
    )
