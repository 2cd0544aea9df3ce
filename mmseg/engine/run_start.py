"""The start of a run in its folder: holds it against other processes, leaves config and code."""

import contextlib
import errno
import fcntl
import glob
import json
import os
import os.path as osp
import platform
import tarfile

from daformer_runs.run_folder import find_config, read_json
from daformer_runs.same_run import compare_to_resume, describe
from mmseg.engine.checkpoint import is_finished, saved_checkpoints
from mmseg.engine.config import as_dict
from mmseg.engine.distributed import main_process_first
from mmseg.utils import files
from mmseg.utils.user_error import UserError

# The checkout; or where the wheel is installed, beside packages that are not this project's.
_ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
_PACKAGES = ('mmseg/**/*.py', 'daformer_runs/*.py')
_OF_CHECKOUT = ('*.py', 'test.sh', 'requirements.txt', 'tools/**/*.py', 'configs/**/*.py')


@contextlib.contextmanager
def started(cfg):
    """Hold a run's folder, leave config and code there, and yield what differs from last time."""
    changes = ''
    with contextlib.ExitStack() as stack:
        with main_process_first() as is_rank_0:
            if is_rank_0:
                stack.enter_context(locked(cfg.work_dir))
                with files.reporting_write_errors(cfg.work_dir):
                    changes = _prepare(cfg)
        yield changes


@contextlib.contextmanager
def locked(work_dir):
    """Hold a run's folder, which is made where it is missing, against other processes."""
    path = osp.join(work_dir, '.lock')
    with contextlib.ExitStack() as stack:
        with files.reporting_write_errors(path, files.UNWRITABLE):
            os.makedirs(work_dir, exist_ok=True)
            file = stack.enter_context(open(path, 'ab+', buffering=0))
        try:
            # Not flock: data workers would inherit that, and they outlive a kill -9 by seconds.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                file.seek(0)
                holder = file.read().decode()
                raise UserError(f'process {holder} is training in {work_dir}. Wait.') from error
            # Some network file systems have no locks; runs must start there, too.
            print(f'{work_dir} cannot be locked ({error}): start no second run in it.')
        with files.reporting_write_errors(path):
            file.truncate(0)
            file.write(f'{os.getpid()} on {platform.node()}'.encode())
        yield


def _prepare(cfg):
    """Leave config and code in the run's folder; return what differs from its last start."""
    checkpoints = saved_checkpoints(cfg.work_dir)
    there, changes = _config_there(cfg, checkpoints)
    if is_finished(cfg.work_dir, cfg.runner.max_iters):
        return ''
    content = as_dict(cfg)
    if there is not None:
        cfg.name = content['name'] = there['name']
        if checkpoints:  # from the first on, a run keeps its revision and its batch
            content.update({key: there[key] for key in ('git_rev', 'n_gpus') if key in there})
            if 'n_gpus' in there:
                content['data']['samples_per_gpu'] = there['data']['samples_per_gpu']
            cfg.git_rev = content.get('git_rev', '')
    path = osp.join(cfg.work_dir, f'{cfg.name}.json')
    if there is None and osp.exists(path):
        raise UserError(f'{path} is there and no config of a run: choose another --work-dir.')
    files.write_text(path, json.dumps(content, indent=2) + '\n')
    files.remove_parts(cfg.work_dir)
    _archive_code(osp.join(cfg.work_dir, 'code.tar.gz'), again=not checkpoints)
    return changes


def _config_there(cfg, checkpoints):
    """Return the config of the same run in the folder, or None, and what has changed, in words."""
    path = config_of(cfg.work_dir)
    if path is None:
        if checkpoints:
            raise UserError(
                f'{cfg.work_dir} holds {checkpoints[0]}, but not the config of its run, NAME.json: '
                'restore it, or choose another --work-dir.'
            )
        return None, ''
    there = read_json(path)
    differences, changes = compare_to_resume(there, as_dict(cfg))
    if not differences:
        return there, describe(changes)
    if checkpoints or osp.realpath(path) == osp.realpath(cfg.filename or ''):
        raise UserError(
            f'{cfg.work_dir} holds a run with other settings ({path}): {describe(differences)}. '
            'Choose another --work-dir, or delete that run.'
        )
    os.remove(path)  # nothing is lost with it
    return None, ''


def config_of(work_dir):
    """:func:`daformer_runs.run_folder.find_config` for users."""
    try:
        return find_config(work_dir)
    except ValueError as error:
        raise UserError(str(error)) from error


def _archive_code(path, again):
    """Keep the source of the first start that saved anything."""
    if osp.exists(path) and not again:
        return
    with files.atomic_write(path) as file, tarfile.open(fileobj=file, mode='w:gz') as archive:
        is_checkout = osp.isfile(osp.join(_ROOT, 'run_experiments.py'))
        for pattern in _PACKAGES + (_OF_CHECKOUT if is_checkout else ()):
            for name in sorted(glob.glob(pattern, root_dir=_ROOT, recursive=True)):
                archive.add(osp.join(_ROOT, name), arcname=osp.join('code', name))
