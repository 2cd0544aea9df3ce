"""Lets the C library keep memory that was freed, which a training step on a CPU asks for again."""

import ctypes
import sys

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory():
    """Serve large tensors from memory of this process that is free, not from new pages.

    Glibc gets every block above 32 MB from the system and gives it back at once. Its pages are
    cleared and mapped anew each time, which takes a quarter of a training step's time (`python
    tools/benchmark.py step`). Processes that are forked later inherit the setting.

    Does nothing where the C library is another one. GPU memory has torch's own cache.
    """
    if not sys.platform.startswith('linux'):
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'gnu_get_libc_version'):
        for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1)):
            assert libc.mallopt(option, value) == 1
