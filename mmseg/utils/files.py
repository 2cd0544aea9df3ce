"""Writing files whole or not at all."""

import contextlib
import os
import os.path as osp


@contextlib.contextmanager
def moved_into_place(path, mode='wb', **kwargs):
    """Open a file beside ``path`` for writing; at the end it is flushed and moved there.

    Whoever opens ``path`` sees the old file or the new one, never a part; where writing fails,
    nothing is left behind. Missing folders are made.

    Args:
        path (str): The target.
        mode (str), **kwargs: As for ``open``.
    """
    folder = osp.dirname(path) or '.'
    os.makedirs(folder, exist_ok=True)
    beside = osp.join(folder, f'.{osp.basename(path)}.part')
    try:
        with open(beside, mode, **kwargs) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        if osp.exists(beside):
            os.remove(beside)


def write_text(path, text):
    """Write ``text`` to ``path``, whole or not at all."""
    with moved_into_place(path, 'w', encoding='utf-8') as file:
        file.write(text)
