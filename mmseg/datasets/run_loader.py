"""Data loaders: numbered samples for training, plain tensors on the device for both."""

import atexit
import contextlib
import multiprocessing
import signal

import cv2
import torch
from mmcv.parallel import DataContainer
from torch.utils.data import DataLoader, Dataset, Sampler

from mmseg.utils.user_error import UserError, shows_traceback

# Linux only forks: a spawned worker spends 15 s on importing mmseg.
_CONTEXT = 'fork' if 'fork' in multiprocessing.get_all_start_methods() else None

# A worker that is forked after OpenCV has started threads can hang; workers are the parallelism.
cv2.setNumThreads(0)


class RunBatches(Sampler):
    """The batches of a run: sample numbers 0, 1, 2, ..., dealt out to the ranks.

    Args:
        start, stop (int): Iterations.
        batch_size (int): Of one rank.
        rank, world_size (int): This process among all.
    """

    def __init__(self, start, stop, batch_size, rank=0, world_size=1):
        self.start, self.stop = start, stop
        self.batch_size = batch_size
        self.rank, self.world_size = rank, world_size

    def __len__(self):
        return self.stop - self.start

    def __iter__(self):
        for iteration in range(self.start, self.stop):
            first = (iteration * self.world_size + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))


def collate(samples):
    """Batch samples to plain tensors and lists.

    MMSegmentation wraps them for mmcv's parallel engine, which current torch has no use for.
    Tensors are stacked, meta dicts listed; test samples are lists over augmentations and stay so.
    Of a batch with a mistake that mistake is left.
    """
    for sample in samples:
        if isinstance(sample, UserError):
            return sample
    return {key: _collate_values([sample[key] for sample in samples]) for key in samples[0]}


def _collate_values(values):
    if isinstance(values[0], list):
        return [_collate_values(list(group)) for group in zip(*values, strict=True)]
    values = [value.data if isinstance(value, DataContainer) else value for value in values]
    return torch.stack(values) if isinstance(values[0], torch.Tensor) else values


def to_device(value, device):
    """Move the tensors in nested dicts and lists."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: to_device(entry, device) for key, entry in value.items()}
    if isinstance(value, list):
        return [to_device(entry, device) for entry in value]
    return value


def _start_worker(_):
    # A stop signal to a process group, or to all processes of a job, must not kill a worker in
    # mid-iteration: the run stops by itself after the iteration and ends its workers then. A second
    # SIGTERM ends them: the last resort of whoever started them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))


@atexit.register
def _kill_workers():
    """End the workers of a loader that a failing script still holds at its exit.

    multiprocessing would send them the one SIGTERM that they ignore, and wait for ever.
    """
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


@contextlib.contextmanager
def dead_workers_are_errors():
    """Raise a :class:`UserError` where a data worker was killed; torch notices it anywhere."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith('DataLoader worker (pid'):
            raise
        raise UserError(
            f'{str(error).strip()} Perhaps the memory ran out: set data.workers_per_gpu lower; the '
            'command resumes from the last checkpoint.'
        ) from error


class _HandsOverMistakes(Dataset):
    """Gives a sample, or the :class:`UserError` that it raised.

    Out of a worker an exception comes with its whole traceback as its message; as a value it stays
    the line that it is.
    """

    def __init__(self, dataset):
        self.dataset = dataset

    def __getitem__(self, number):
        try:
            return self.dataset[number]
        except UserError as error:
            if shows_traceback():
                raise
            return error


class _Loader(DataLoader):
    """Raises the mistakes that workers hand over, in the place of their batch."""

    def __iter__(self):
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                raise batch
            yield batch


def build_loader(dataset, batches, num_workers, device, collate_fn=collate):
    """A loader over given batches of sample numbers.

    Args:
        dataset (Dataset): Maps a number to a sample.
        batches (Iterable[list[int]]): A batch sampler.
        num_workers (int): Processes; 0 loads in this one. The samples are the same either way.
        device (torch.device): Where the batches will go (pinned memory for a GPU).
        collate_fn (Callable): Makes a batch of a list of samples, or of :class:`UserError`.

    Returns:
        DataLoader: Iterating raises a sample's :class:`UserError` when its batch is due.
    """
    return _Loader(
        _HandsOverMistakes(dataset),
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=collate_fn,
        pin_memory=device.type == 'cuda',
        worker_init_fn=_start_worker if num_workers else None,
        multiprocessing_context=_CONTEXT if num_workers else None,
        # Without one of its own the loader would draw from the global generator.
        generator=torch.Generator().manual_seed(0),
    )
