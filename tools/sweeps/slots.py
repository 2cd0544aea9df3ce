"""Which devices each of N runs at a time gets: GPUs, or a share of the CPU's threads."""

import os

import torch

from mmseg.utils.user_error import UserError
from tools.sweeps.pool import Slot


def slots_for(jobs, n_gpus, device=None):
    """Returns a list of `jobs` slots.

    Args:
        jobs: how many runs at a time.
        n_gpus: how many GPUs each of them takes, where there are GPUs.
        device: as `--device`; None takes GPUs if there are any.

    Raises:
        UserError: There are too few GPUs, or one of them is named.
    """
    count = torch.cuda.device_count()
    if device is None:
        device = 'cuda' if count else 'cpu'
    if device == 'cpu':
        threads = max(1, torch.get_num_threads() // jobs)
        environment = {'OMP_NUM_THREADS': str(threads), 'CUDA_VISIBLE_DEVICES': ''}
        label = 'the CPU, 1 thread' if threads == 1 else f'the CPU, {threads} threads'
        return [Slot(label, environment)] * jobs
    if device != 'cuda':
        raise UserError(f'--device {device} is one device; --jobs goes with cuda and cpu.')
    if jobs * n_gpus > count:
        raise UserError(
            f'--jobs {jobs}: torch sees {count} GPU(s) here and a run takes {n_gpus}, so at most '
            f'{count // n_gpus} run at a time.'
        )
    visible = os.environ.get('CUDA_VISIBLE_DEVICES')
    gpus = visible.split(',') if visible else [str(number) for number in range(count)]
    slots = []
    for number in range(jobs):
        own = ','.join(gpus[number * n_gpus : (number + 1) * n_gpus])
        slots.append(Slot(f'GPU {own}', {'CUDA_VISIBLE_DEVICES': own}))
    return slots
