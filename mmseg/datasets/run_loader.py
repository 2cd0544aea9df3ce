"""Data loaders: numbered samples for training, plain tensors on the device for both."""

import atexit
import contextlib
import functools
import multiprocessing
import os
import signal

import cv2
import torch
from mmcv.parallel import DataContainer
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from mmseg.utils.user_error import UserError, shows_traceback

# Linux only forks: a spawned worker spends 15 s on importing mmseg.
_CONTEXT = 'fork' if 'fork' in multiprocessing.get_all_start_methods() else None

# Workers that are alive and have not loaded a single sample for so long hang.
_PATIENCE = 120  # seconds

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
def kill_workers():
    """Kill the workers of all loaders of this process, which is about to end.

    torch waits ten seconds for each that hangs. multiprocessing would send them the one SIGTERM
    that they ignore, and wait for ever.
    """
    # torch's own handler would call their death an error.
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
            process.join()
    signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)


@contextlib.contextmanager
def dead_workers_are_errors():
    """Raise a :class:`UserError` where a data worker was killed; torch notices it anywhere.

    After any error the workers are killed.
    """
    try:
        yield
    except BaseException as error:
        kill_workers()
        if not str(error).startswith('DataLoader worker (pid'):
            raise
        # While the run waits for data, torch's own error hides the one that names the signal.
        reason = str(error.__cause__ or error).strip() or str(error)
        if 'Bus error' in reason:
            raise UserError(_no_shared_memory(reason.split('. ')[0])) from error
        raise UserError(
            f'{reason} Perhaps the memory ran out: set data.workers_per_gpu lower and give the '
            'command again; a run resumes from its last checkpoint.'
        ) from error


def _no_shared_memory(reason):
    return (
        f'a data worker cannot hand over its batch ({reason}): {_shared_memory()} Give a container '
        'more (docker run --shm-size=8g or --ipc=host), or set data.workers_per_gpu=0, which '
        'needs none, and give the command again.'
    )


def _shared_memory():
    try:
        found = os.statvfs('/dev/shm')
    except OSError:  # not on every system
        return ''
    free, size = (count * found.f_frsize / 2**20 for count in (found.f_bavail, found.f_blocks))
    return f'/dev/shm has {free:,.0f} of {size:,.0f} MiB left.'


class _Samples(Dataset):
    """Gives a sample, or the :class:`UserError` that it raised, and counts them.

    Out of a worker an exception comes with its whole traceback as its message; as a value it stays
    the line that it is.

    Attributes:
        loaded (ctypes.c_uint64): Grows with the samples of all workers, as a sign of life.
    """

    def __init__(self, dataset):
        self.dataset = dataset
        self.loaded = multiprocessing.RawValue('Q')

    def __getitem__(self, number):
        try:
            return self.dataset[number]
        except UserError as error:
            if shows_traceback():
                raise
            return error
        finally:
            self.loaded.value += 1


def _collate_shared(collate_fn, samples):
    """Collate; a worker moves the batch to shared memory here, where it can tell if that is full.

    multiprocessing would do so in a thread that prints the error and drops the batch, for which
    the run would then wait for ever.
    """
    batch = collate_fn(samples)
    if get_worker_info() is not None:
        try:
            _share(batch)
        except RuntimeError as error:
            if 'No space left on device' not in str(error):
                raise
            return UserError(_no_shared_memory(error))
    return batch


def _share(value):
    if isinstance(value, torch.Tensor):
        value.share_memory_()
    elif isinstance(value, (dict, list)):
        for entry in value.values() if isinstance(value, dict) else value:
            _share(entry)


class _Loader(DataLoader):
    """Raises the mistakes that workers hand over, in the place of their batch.

    Workers that hang are a mistake, too. Slow ones are not: as long as samples are loaded, however
    few, their batches are waited for.
    """

    def __iter__(self):
        batches = super().__iter__()
        loaded, waited = -1, 0
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if not str(error).startswith('DataLoader timed out'):
                    raise
                waited = waited + self.timeout if self.dataset.loaded.value == loaded else 0
                loaded = self.dataset.loaded.value
                if waited < _PATIENCE - self.timeout:
                    continue
                raise UserError(
                    f'the {self.num_workers} data worker(s) are alive, but have loaded nothing for '
                    f'{_PATIENCE:g} seconds. Look whether the disk or network folder with the data '
                    f'still answers (ls), and for errors of workers above. {_shared_memory()} If '
                    'that is little, give a container more (docker run --shm-size=8g). '
                    'data.workers_per_gpu=0 loads without workers, and waits as long as it takes.'
                ) from None
            waited = 0
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
        DataLoader: Iterating raises a sample's :class:`UserError` when its batch is due, and one
        where workers load nothing for two minutes.
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
