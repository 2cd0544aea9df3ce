"""Weight files: reading them without running code in them, and the check that all of it fits."""

import contextlib
import errno
import os

import torch
from safetensors.torch import load_file

from mmseg.utils.user_error import UserError


class DamagedFileError(UserError):
    """A file of weights that was read and holds something else, or a part of them."""


def read_weights(path):
    """Returns the {name: tensor} that a weight file holds; no code in the file is run.

    Args:
        path: a local file, `.safetensors` or what `torch.save` writes.

    Raises:
        UserError: the file is missing, damaged, or holds anything but named tensors.
    """
    state = read_file(path)
    if isinstance(state, dict):
        state = state.get('state_dict', state)
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise UserError(f'{path} holds no table of named weights: use the weights of an encoder')
    return {name.removeprefix('module.'): value for name, value in state.items()}


def read_file(path):
    """Returns what a weight file holds, with whatever stands around the weights.

    Raises:
        UserError: the file is missing or damaged, or holds more than tensors and plain values.
    """
    if not os.path.isfile(path):
        raise UserError(
            f'the encoder weights {path} do not exist: download the ImageNet weights and put '
            'them there, or set pretrained=None to start from random weights'
        )
    with loading_errors(
        f'{path} cannot be read as a weight file: remove it, download it again, and check that it '
        'is the file itself and not a web page'
    ):
        if str(path).endswith('.safetensors'):
            return load_file(path)
        return torch.load(path, map_location='cpu', weights_only=True)


@contextlib.contextmanager
def loading_errors(message):
    """Raise a UserError with a message and the reason where a file cannot be loaded.

    Nothing but torch's or safetensors' loading may happen inside: damaged files make them raise
    nearly anything, of which only full memory and what the system refuses are known not to be that.

    Raises:
        DamagedFileError: the file is damaged.
        UserError: it cannot be read.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if 'DefaultCPUAllocator' in str(error):  # torch's MemoryError
            raise
        # Offsets in a damaged archive are an invalid argument to the system.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise UserError(f'{error.filename or message}: {error.strerror}') from error
        reason = str(error).partition('\n')[0] or type(error).__name__
        raise DamagedFileError(f'{message} ({reason})') from error


def require_fit(encoder_name, wanted, given, path):
    """Raises a UserError that names what differs between an encoder's weights and a file's.

    Args:
        encoder_name: for the message.
        wanted: the encoder's {name: tensor}.
        given: the file's {name: tensor}, less what may be left over (a classifier).
        path: of the file, or its address.
    """
    problems = {
        'missing': [name for name in wanted if name not in given],
        'unknown': [name for name in given if name not in wanted],
        'of another shape': [
            f'{name} {tuple(given[name].shape)} instead of {tuple(wanted[name].shape)}'
            for name in wanted
            if name in given and given[name].shape != wanted[name].shape
        ],
    }
    found = [
        f'{len(names)} {what}: {", ".join(names[:3])}{", …" if len(names) > 3 else ""}'
        for what, names in problems.items()
        if names
    ]
    if found:
        raise UserError(
            f'{path} does not fit the encoder {encoder_name} ({"; ".join(found)}): '
            f'set pretrained to the ImageNet weights of {encoder_name}'
        )
