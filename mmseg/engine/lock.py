"""One process at a time on a run's folder."""

import contextlib
import errno
import fcntl
import os
import os.path as osp
import platform

from mmseg.utils.files import UNWRITABLE, refusing_to_write
from mmseg.utils.user_error import UserError


@contextlib.contextmanager
def locked(work_dir):
    """Hold a run's folder, made where it is missing, against other processes.

    The system lets go of it when this process ends, however it ends; the file `.lock` stays.

    Args:
        work_dir (str): Of the run.

    Raises:
        UserError: Another process holds it, or nothing can be written there.
    """
    path = osp.join(work_dir, '.lock')
    with contextlib.ExitStack() as stack:
        with refusing_to_write(path, UNWRITABLE):
            os.makedirs(work_dir, exist_ok=True)
            file = stack.enter_context(open(path, 'ab+', buffering=0))
        _lock(file, work_dir)
        with refusing_to_write(path):
            file.truncate(0)
            file.write(f'{os.getpid()} on {platform.node()}'.encode())
        yield


def _lock(file, work_dir):
    try:
        # Not flock: data workers would inherit that, and they outlive a kill -9 by seconds.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, errno.EACCES):
            # Some network file systems have no locks; runs must start there, too.
            print(f'{work_dir} cannot be locked ({error}): start no second run in it.')
            return
        file.seek(0)
        raise UserError(
            f'process {file.read().decode()} is training in {work_dir}. Wait for it or stop it, or '
            'choose another --work-dir.'
        ) from error
