"""The processes of one run: joining them, their devices, and who goes first."""

import contextlib
import os
import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from mmcv.runner import get_dist_info

from mmseg.datasets.run_loader import dead_workers_are_errors
from mmseg.engine.devices import choose_device
from mmseg.engine.meeting import fresh_store
from mmseg.utils.user_error import UserError

# What torchrun sets for each process.
_VARIABLES = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')
# Rank 0 may check data for that long while the others wait. A process that ends is noticed
# at once by the launcher, which ends the others.
_TIMEOUT = timedelta(hours=2)


@contextlib.contextmanager
def joined_processes(device_name=None):
    """Be one of the processes that torchrun started, inside; or the only one, without a launcher.

    Args:
        device_name (str | None): As for ``choose_device``.

    Yields:
        torch.device: Of this process: the GPU with its local rank, or the CPU.

    Raises:
        UserError: More processes than GPUs, a launcher that says too little, or, inside, a data
            worker or another process was killed.
    """
    if not is_launched():
        with dead_workers_are_errors():
            yield choose_device(device_name)
        return
    missing = [name for name in _VARIABLES if not os.environ.get(name)]
    if missing:
        raise UserError(
            f'this is one of several processes, but {", ".join(missing)} is not set: start them '
            'with torchrun --nproc_per_node=N tools/train.py CONFIG, which sets all it takes.'
        )
    device = _own_device(device_name)
    backend = 'cpu:gloo,cuda:nccl' if device.type == 'cuda' else 'gloo'
    store, rank, world_size = next(dist.rendezvous('env://', timeout=_TIMEOUT))
    store = fresh_store(store, rank, world_size)
    dist.init_process_group(
        backend, store=store, rank=rank, world_size=world_size, timeout=_TIMEOUT
    )
    try:
        with dead_workers_are_errors():
            yield device
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        raise UserError(
            f'rank {dist.get_rank()} lost the other processes of this run: one of them was killed '
            f'or failed ({str(error).splitlines()[0]}). The same command goes on from the last '
            'checkpoint.'
        ) from error
    # Not after an error: the other ranks may be anywhere, and this would wait for them.
    dist.destroy_process_group()


def is_launched():
    """Whether a launcher started this process as one of several."""
    return bool(os.environ.get('RANK') or os.environ.get('LOCAL_RANK'))


def check_processes(wanted, device_name):
    """Check that this machine has a device for each of the processes to be started on it.

    Raises:
        UserError: It has fewer GPUs.
    """
    if choose_device(device_name).type == 'cpu':
        return
    if torch.device(device_name or 'cuda').index is not None and wanted > 1:
        raise UserError(
            f'--device {device_name} is one device for {wanted} processes; say --device cuda, or '
            'choose devices with CUDA_VISIBLE_DEVICES.'
        )
    count = torch.cuda.device_count()
    if wanted > count:
        raise UserError(
            f'{wanted} processes, but torch sees {count} GPU(s) here: start at most {count} '
            '(--n-gpus, torchrun --nproc_per_node), or use --device cpu.'
        )


def check_is_launched(cfg, name):
    """Refuse to train alone what is configured for several processes.

    Raises:
        UserError: Says the commands.
    """
    wanted = cfg.get('n_gpus', 1)
    if wanted > 1 and not is_launched():
        raise UserError(
            f'config {name} says n_gpus={wanted}, and this is one process. Start torchrun '
            f'--nproc_per_node={wanted} tools/train.py {name}, or python run_experiments.py '
            f'--config {name}, or set --cfg-options n_gpus=1.'
        )


@contextlib.contextmanager
def rank_0_first():
    """Let rank 0 go through first; where that fails, the others end without a word of their own.

    What is checked inside is so said once.

    Yields:
        bool: Whether this is rank 0.
    """
    rank, world_size = get_dist_info()
    if world_size == 1:
        yield True
        return
    went_well = [False]
    try:
        if rank > 0:
            dist.broadcast_object_list(went_well, src=0)
            if not went_well[0]:
                sys.exit(1)
        yield rank == 0
        went_well = [True]
    finally:
        if rank == 0:
            dist.broadcast_object_list(went_well, src=0)


def _own_device(name):
    check_processes(int(os.environ.get('LOCAL_WORLD_SIZE', 1)), name)
    device = choose_device(name)
    if device.type == 'cuda' and device.index is None:
        device = choose_device(f'cuda:{os.environ["LOCAL_RANK"]}')
    return device


def _is_lost_connection(error):
    return isinstance(error, dist.DistError) or 'gloo' in str(error)
