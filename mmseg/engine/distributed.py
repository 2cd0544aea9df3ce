"""The processes of one run: joining them, their devices, and who goes first."""

import contextlib
import os
import sys
from datetime import timedelta

import torch
import torch.distributed as dist
from mmcv.runner import get_dist_info

from mmseg.datasets.dataloader import dead_workers_are_errors
from mmseg.utils.user_error import UserError

# Rank 0 may check data for that long. A process that ends is noticed by the launcher, at once.
_TIMEOUT = timedelta(hours=2)


@contextlib.contextmanager
def init_distributed(device_name=None):
    """Join the processes that torchrun started, if it did; yield the device of this one."""
    with dead_workers_are_errors():
        if not is_launched():
            yield choose_device(device_name)
            return
        device = _launched_device(device_name)
        backend = 'cpu:gloo,cuda:nccl' if device.type == 'cuda' else 'gloo'
        dist.init_process_group(backend, timeout=_TIMEOUT)
        try:
            yield device
        except RuntimeError as error:
            if not isinstance(error, dist.DistError) and 'gloo' not in str(error):
                raise
            raise UserError(
                f'rank {dist.get_rank()} lost the other processes of this run: one was killed or '
                f'failed ({str(error).splitlines()[0]}). The same command resumes.'
            ) from error
        # Not after an error: the other ranks may be anywhere, and this would wait for them.
        dist.destroy_process_group()


def is_launched():
    """Whether a launcher started this process as one of several."""
    return bool(os.environ.get('RANK') or os.environ.get('LOCAL_RANK'))


def check_is_launched(cfg, name):
    """Refuse to train in one process what is configured for several."""
    wanted = cfg.get('n_gpus', 1)
    if wanted > 1 and not is_launched():
        raise UserError(
            f'config {name} says n_gpus={wanted}, and this is one process. Start torchrun '
            f'--nproc_per_node={wanted} tools/train.py {name}, or set --cfg-options n_gpus=1.'
        )


def check_processes(wanted, device_name):
    """Check that this machine has a device for each of the processes to be started on it."""
    if choose_device(device_name).type == 'cpu':
        return
    device_name = device_name or 'cuda'
    count = torch.cuda.device_count() if torch.device(device_name).index is None else 1
    if wanted > count:
        raise UserError(
            f'{wanted} processes, but --device {device_name} has {count} GPU(s) here: start fewer.'
        )


@contextlib.contextmanager
def main_process_first():
    """Let rank 0 go first and yield whether this is it; if it fails, the others exit silently."""
    rank, world_size = get_dist_info()
    if world_size == 1:
        yield True
        return
    succeeded = [False]
    try:
        if rank > 0:
            dist.broadcast_object_list(succeeded, src=0)
            if not succeeded[0]:
                sys.exit(1)
        yield rank == 0
        succeeded = [True]
    finally:
        if rank == 0:
            dist.broadcast_object_list(succeeded, src=0)


def _launched_device(name):
    """Check what the launcher has set; return the device of this process."""
    needed = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')
    missing = [variable for variable in needed if not os.environ.get(variable)]
    if missing:
        raise UserError(f'{", ".join(missing)} is not set: start the processes with torchrun.')
    keeps_store = os.environ.get('TORCHELASTIC_USE_AGENT_STORE') == 'True'
    if keeps_store and int(os.environ.get('TORCHELASTIC_MAX_RESTARTS', 0)) > 0:
        # A restart finds their addresses in the store that it shares, pytorch/pytorch#135712.
        raise UserError(
            'for torchrun --max-restarts set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 everywhere '
            'and --rdzv-backend=c10d: otherwise a restart may wait for dead processes.'
        )
    check_processes(int(os.environ.get('LOCAL_WORLD_SIZE', 1)), name)
    device = choose_device(name)
    if device.type == 'cuda' and device.index is None:
        device = choose_device(f'cuda:{os.environ["LOCAL_RANK"]}')
    return device


def choose_device(name=None):
    """Return the device called ``name``; without a name a GPU if there is one, else the CPU."""
    if name is None:
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f'--device {name}: no such device; use cuda, cuda:N or cpu.') from error
    if device.type == 'cuda':
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise UserError(f'--device {name}: torch sees {count} GPU(s) here; use --device cpu.')
        torch.cuda.set_device(device)
    return device
