"""Imports yapf, which mmcv needs, so that processes may start together.

yapf keeps its parsed grammars in a cache of the user's and moves each file there before its content
is on disk. A process that starts at that moment, or any one after a crash at that moment, fails
with an EOFError. So one process at a time imports it, and what does not load is removed.
"""

import fcntl
import importlib
import os
import pickle
import tempfile
from pathlib import Path

import platformdirs


def import_yapf():
    """Import yapf with a cache that is whole; other processes of the user wait meanwhile."""
    lock = Path(tempfile.gettempdir()) / f'daformer-yapf-{os.getuid()}.lock'
    with open(lock, 'w', encoding='utf-8') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            importlib.import_module('yapf')
        except (EOFError, pickle.UnpicklingError):
            for cached in Path(platformdirs.user_cache_dir('YAPF', 'Google')).rglob('*.pickle'):
                cached.unlink()
            importlib.import_module('yapf')
