"""Checkpoint files: written whole or not at all, loaded without running code, weights picked."""

import os
import os.path as osp
import pickle
import re

import torch

from mmseg.utils.files import moved_into_place
from mmseg.utils.user_error import UserError

_NAME = re.compile(r'(iter|resume)_(\d+)\.pth')


def save_file(content, path):
    """Write a checkpoint, whole or not at all.

    Args:
        content (dict): Tensors and plain Python only, so that it loads with ``weights_only=True``.
        path (str): The target.
    """
    with moved_into_place(path) as file:
        torch.save(content, file)


def link_latest(path):
    """Let ``latest.pth`` point to the checkpoint at ``path``, in the same folder."""
    folder, name = osp.split(path)
    beside = osp.join(folder, '.latest.pth.part')
    if osp.lexists(beside):
        os.remove(beside)
    os.symlink(name, beside)
    os.replace(beside, osp.join(folder, 'latest.pth'))


def load_file(path):
    """Load a checkpoint to the CPU; no code in it is run.

    Raises:
        UserError: If there is no such file, or it is no checkpoint or a damaged one.
    """
    if not osp.isfile(path):
        raise UserError(f'checkpoint {path} does not exist.')
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f'{path} is no checkpoint, is damaged, or holds more than tensors and plain values '
            f'({reason}). Download or train it again.'
        ) from None
    if not isinstance(content, dict):
        raise UserError(f'{path} holds a {type(content).__name__}, not a checkpoint.')
    return content


def saved_checkpoints(work_dir):
    """Paths of a run's checkpoints and resume states, the most advanced first."""
    found = []
    for name in os.listdir(work_dir):
        match = _NAME.fullmatch(name)
        if match:
            found.append((int(match[2]), match[1] == 'iter', osp.join(work_dir, name)))
    return [path for _, _, path in sorted(found, reverse=True)]


def newest_loadable(work_dir, warn):
    """The most advanced checkpoint of a run that can be read, loaded; None if there is none.

    Args:
        work_dir (str): Of the run.
        warn (callable): Gets a message for each damaged file that is passed over.
    """
    for path in saved_checkpoints(work_dir):
        try:
            return path, load_file(path)
        except UserError as error:
            warn(f'{error} Going back to the checkpoint before it.')
    return None


def segmentor_weights(state_dict, which='student'):
    """Pick one network's weights out of a checkpoint's.

    Args:
        state_dict (dict): Of a UDA method (``model.…``, ``ema_model.…``) or of a segmentor alone.
        which (str): ``'student'`` or ``'teacher'``.

    Raises:
        UserError: If the teacher is asked for and is not in it.
    """
    state_dict = {name.removeprefix('module.'): value for name, value in state_dict.items()}
    prefix = {'student': 'model.', 'teacher': 'ema_model.'}[which]
    picked = {
        name.removeprefix(prefix): value
        for name, value in state_dict.items()
        if name.startswith(prefix)
    }
    if picked:
        return picked
    if which == 'teacher':
        raise UserError('this checkpoint holds no teacher: use --weights student.')
    return state_dict


def load_segmentor(segmentor, weights, path):
    """Load weights into a segmentor, all or none.

    Raises:
        UserError: If names or shapes differ; the message lists the first of them.
    """
    own = segmentor.state_dict()
    problems = [f'{name} is missing' for name in own if name not in weights]
    problems += [f'{name} is not in this network' for name in weights if name not in own]
    problems += [
        f'{name} has shape {tuple(weights[name].shape)}, not {tuple(own[name].shape)}'
        for name in own
        if name in weights and weights[name].shape != own[name].shape
    ]
    if problems:
        shown = '; '.join(problems[:4]) + (f'; and {len(problems) - 4} more' * (len(problems) > 4))
        raise UserError(f'{path} does not fit the configured network: {shown}.')
    segmentor.load_state_dict(weights)
