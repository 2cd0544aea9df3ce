"""Checkpoint files: written whole or not at all, loaded without running code, weights picked."""

import os
import os.path as osp
import re
import time
import zipfile

import torch
from mmcv.runner.hooks import Hook

from mmseg.models.weights import DamagedFileError, load_file
from mmseg.utils.files import atomic_write
from mmseg.utils.user_error import UserError

# A kill loses at most this much of a run, and an evaluation interval if that is shorter.
RESUME_STATE_SECONDS = 10 * 60
_NAME = re.compile(r'(iter|resume)_(\d+)\.pth')
_PREFIXES = {'student': 'model.', 'teacher': 'ema_model.'}


def save_file(content, path):
    """Write a checkpoint of tensors and plain Python, whole or not at all."""
    with atomic_write(path) as file:
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
    meta = content.get('meta')
    is_own = isinstance(meta, dict) and {'iter', 'log_window'} <= meta.keys()
    return is_own and 'optimizer' in content


def check_holds_state(path, content):
    """Refuse to resume from a checkpoint that holds weights alone."""
    if not holds_state(content):
        raise UserError(
            f'{path} holds no state that a run of this code can resume from; start one from its '
            'weights with --load-from.'
        )


def newest_loadable(work_dir, warn):
    """Return path and content of the most advanced checkpoint that a run can resume from, or None.

    Damaged files and those without state are passed over, with a call of ``warn``. One that cannot
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
        warn(f'{path} holds no state of this code that a run can resume from.')
    return None


def segmentor_weights(state_dict, which='student'):
    """Pick the ``'student'`` or ``'teacher'`` of a UDA method's weights, or a segmentor's own."""
    state_dict = {name.removeprefix('module.'): value for name, value in state_dict.items()}
    prefix = _PREFIXES[which]
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


def holds_teacher(path):
    """Whether a checkpoint holds a teacher beside its student."""
    content = load_file(path)
    names = content.get('state_dict', content)
    return any(name.removeprefix('module.').startswith(_PREFIXES['teacher']) for name in names)


class ResumeStateHook(Hook):
    """Writes resume state before every evaluation (if there are any) and every few minutes."""

    def __init__(self, evaluation):
        self.evaluation = evaluation
        self.written = time.monotonic()

    def after_train_iter(self, runner):
        is_late = time.monotonic() - self.written > RESUME_STATE_SECONDS
        if is_late or (self.evaluation and self.evaluation.is_due(runner)):
            runner.save_resume_state(runner.iter + 1)
            self.written = time.monotonic()
