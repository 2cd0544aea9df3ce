"""Checkpoint files: written whole or not at all, loaded without running code, weights picked."""

import json
import os
import os.path as osp
import re
import zipfile

import torch
from safetensors import safe_open

from mmseg.utils.files import moved_into_place
from mmseg.utils.user_error import UserError
from mmseg.utils.weight_file import DamagedFileError, loading_errors

_NAME = re.compile(r'(iter|resume)_(\d+)\.pth')


def save_file(content, path):
    """Write a checkpoint of tensors and plain Python, whole or not at all."""
    with moved_into_place(path) as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:
            # torch closes its archive after a failed write, too; that error hides the first one.
            raise (error.__context__ or error) from None


def link_latest(path):
    """Let ``latest.pth`` point to the checkpoint at ``path``, in the same folder."""
    folder, name = osp.split(path)
    beside = osp.join(folder, '.latest.pth.part')
    if osp.lexists(beside):
        os.remove(beside)
    os.symlink(name, beside)
    os.replace(beside, osp.join(folder, 'latest.pth'))


def finish(work_dir, max_iters):
    """Leave a run's folder as a finished run has it: the last checkpoint, without resume state."""
    last = last_checkpoint(work_dir, max_iters)
    if osp.isfile(last):
        link_latest(last)
        for _, path in _resume_states(work_dir):
            os.remove(path)


def is_finished(work_dir, max_iters):
    """Whether :func:`finish` has seen the last checkpoint, and the file is not cut off."""
    last, latest = last_checkpoint(work_dir, max_iters), osp.join(work_dir, 'latest.pth')
    return (
        zipfile.is_zipfile(last)
        and osp.isfile(latest)
        and osp.samefile(last, latest)
        and not _resume_states(work_dir)
    )


def load_file(path):
    """Load a checkpoint to the CPU; no code in it is run.

    Args:
        path (str): What :func:`save_file` writes, or ``.safetensors`` with the meta as JSON under
            ``meta`` of its metadata.

    Raises:
        DamagedFileError: If the file is no checkpoint or a damaged one.
    """
    if not osp.isfile(path):
        raise UserError(f'checkpoint {path} does not exist.')
    with loading_errors(
        f'{path} is no checkpoint, is damaged, or holds more than tensors and plain values; '
        'download or train it again'
    ):
        if path.endswith('.safetensors'):
            content = _load_safetensors(path)
        else:
            content = torch.load(path, map_location='cpu', weights_only=True)
    if not isinstance(content, dict):
        raise DamagedFileError(f'{path} holds a {type(content).__name__}, not a checkpoint')
    return content


def _load_safetensors(path):
    with safe_open(path, framework='pt') as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        meta = json.loads((file.metadata() or {}).get('meta', '{}'))
    return dict(state_dict=weights, meta=meta)


def saved_checkpoints(work_dir):
    """Paths of a run's checkpoints and resume states, the most advanced first."""
    found = []
    for name in os.listdir(work_dir):
        match = _NAME.fullmatch(name)
        if match:
            found.append((int(match[2]), match[1] == 'iter', osp.join(work_dir, name)))
    return [path for _, _, path in sorted(found, reverse=True)]


def last_checkpoint(work_dir, max_iters):
    """Path of the checkpoint that a run ends with."""
    return osp.join(work_dir, f'iter_{max_iters}.pth')


def prune_resume_states(work_dir, iteration, kept):
    """Remove resume states, except for the newest ``kept`` of those up to an iteration.

    Later ones stay: they were damaged or of other code, and must not count among those kept.
    """
    states = [state for state in _resume_states(work_dir) if state[0] <= iteration]
    for _, path in states[kept:]:
        os.remove(path)


def _resume_states(work_dir):
    """Iteration and path of the resume states, the newest first."""
    found = [(_NAME.fullmatch(osp.basename(path)), path) for path in saved_checkpoints(work_dir)]
    return [(int(match[2]), path) for match, path in found if match[1] == 'resume']


def holds_state(content):
    """Whether a checkpoint is one that a run of this code can resume from."""
    return 'optimizer' in content and _is_own(content)


def _is_own(content):
    meta = content.get('meta')
    return isinstance(meta, dict) and {'iter', 'log_window'} <= meta.keys()


def newest_loadable(work_dir, warn):
    """Return path and content of the most advanced checkpoint that a run can resume from, or None.

    Damaged files and those of other code are passed over, with a call of ``warn``. One that cannot
    be read is an error: it may be whole, so nothing older takes its place.
    """
    for path in saved_checkpoints(work_dir):
        try:
            content = load_file(path)
        except DamagedFileError as error:
            warn(f'{error}. Going back to the checkpoint before it.')
            continue
        if holds_state(content):
            return path, content
        # `checkpoint_config.save_optimizer=False` leaves some of ours without.
        if not _is_own(content):
            warn(f'{path} is no checkpoint of this code: it is not resumed from.')
    return None


def segmentor_weights(state_dict, which='student'):
    """Pick the weights of the ``'student'`` or ``'teacher'`` out of a checkpoint's.

    Args:
        state_dict (dict): Of a UDA method (``model.…``, ``ema_model.…``) or of a segmentor alone.
        which (str): Which network.
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
