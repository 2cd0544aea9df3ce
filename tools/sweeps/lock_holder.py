"""Who trains in a run's folder: asks for the lock of mmseg/engine/lock.py without taking it."""

import fcntl
import os
import os.path as osp
import struct

# struct flock: type, whence, start, length, process; padded to its alignment.
_FLOCK = 'hhqqi0q'


def lock_holder(work_dir):
    """Returns ``'PROCESS on MACHINE'``, or None where nobody trains in the folder."""
    path = osp.join(work_dir, '.lock')
    if not osp.isfile(path):
        return None
    with open(path, encoding='utf-8') as file:
        # Taking it, even for a moment, could keep a run from its start.
        question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, *_ = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, question))
        return None if kind == fcntl.F_UNLCK else file.read()
