"""Lets the C library keep memory that was freed, which a step on a CPU asks for again."""

import ctypes

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory(device):
    """Serve large tensors on a CPU from memory that this process has freed, not from new pages.

    Glibc maps every block above 32 MB anew and unmaps it when it is freed. Clearing and mapping
    its pages takes a quarter of a training step's time (`python tools/benchmark.py training`).
    Glibc reads its own environment variables before Python starts, hence the call. Processes that
    are forked later inherit the setting.

    Does nothing with another C library, nor for a GPU, whose memory torch keeps: what such a run
    frees on the host, a loaded checkpoint for example, goes back to the system.

    Args:
        device (torch.device): Where the network is trained or used.
    """
    if device.type != 'cpu':
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, 'gnu_get_libc_version'):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)
