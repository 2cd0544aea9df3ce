"""Choosing the device of a run."""

import torch

from mmseg.utils.user_error import UserError


def choose_device(name=None):
    """The device called ``name``; without a name a GPU where there is one, else the CPU.

    Raises:
        UserError: If there is no such device here.
    """
    if name is None:
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(
            f'--device {name}: no such kind of device; use cuda, cuda:N or cpu.'
        ) from error
    if device.type == 'cuda':
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise UserError(f'--device {name}: torch sees {count} GPU(s) here; use --device cpu.')
        torch.cuda.set_device(device)
    return device
