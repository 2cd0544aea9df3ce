"""Imports yapf, which mmcv needs, so that processes may start together.

yapf keeps its parsed grammars in a cache of the user's and moves each file there before its content
is on disk. A process that starts at that moment, or any one after a crash at that moment, fails
with an EOFError. So one process at a time imports it, and what does not load is removed.
"""

import contextlib
import fcntl
import importlib
import pickle
from pathlib import Path

import platformdirs


def import_yapf():
    """Import yapf with a cache that is whole; other processes of the user wait meanwhile."""
    cache = Path(platformdirs.user_cache_dir('YAPF', 'Google'))
    with contextlib.ExitStack() as stack:
        # Where the lock cannot be written, with a read-only home, yapf writes no cache either.
        with contextlib.suppress(OSError):
            cache.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(cache / 'daformer.lock', 'a', encoding='utf-8'))
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            importlib.import_module('yapf')
        except (EOFError, pickle.UnpicklingError):
            for cached in cache.rglob('*.pickle'):
                cached.unlink()
            importlib.import_module('yapf')
