"""Write files whole or not at all, and list those that count."""

import contextlib
import errno
import os
import os.path as osp

from PIL import Image

from mmseg.utils.user_error import UserError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
# What only writing can run into, and what opening a file to read can, too.
ONLY_WRITING = _FULL | {errno.EROFS}
UNWRITABLE = ONLY_WRITING | {
    errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR,
}  # fmt: skip
IMAGE_ENDINGS = (
    '.avif', '.bmp', '.gif', '.jp2', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff',
    '.webp',
)  # fmt: skip
# What Pillow raises for damaged files; a broken PNG is a SyntaxError to it.
DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


@contextlib.contextmanager
def atomic_write(path, mode='wb', **kwargs):
    """Open a file beside ``path`` as ``open`` does; at the end it is flushed and moved there.

    Whoever opens ``path`` sees the old file or the new one, never a part. Missing folders are made.
    """
    folder = osp.dirname(path) or '.'
    beside = osp.join(folder, f'.{osp.basename(path)}.part')
    with reporting_write_errors(path, UNWRITABLE):
        os.makedirs(folder, exist_ok=True)
        try:
            with open(beside, mode, **kwargs) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            if osp.lexists(beside):
                os.remove(beside)


@contextlib.contextmanager
def reporting_write_errors(path, reasons=ONLY_WRITING):
    """Raise a :class:`UserError` that names ``path`` where the system refuses to write to it."""
    try:
        yield
    except OSError as error:
        if error.errno not in reasons:
            raise
        mend = 'Make room there' if error.errno in _FULL else 'Choose a folder that can be written'
        raise UserError(
            f'{path} cannot be written ({error}). {mend}; what was there before is unchanged.'
        ) from error


def remove_parts(folder):
    """Remove what a killed process left half-written in a folder."""
    for name in os.listdir(folder):
        path = osp.join(folder, name)
        if name.startswith('.') and name.endswith('.part') and osp.isfile(path):
            os.remove(path)


def write_text(path, text):
    """Write ``text`` to ``path``, whole or not at all."""
    with atomic_write(path, 'w', encoding='utf-8') as file:
        file.write(text)


def is_hidden(path):
    """Whether a relative path is, or lies in, a hidden file or folder."""
    return any(part.startswith('.') for part in path.split(os.sep))


def visible_files(folder, follow_links=True):
    """List the files of a folder at any depth, except hidden ones: relative paths, sorted."""
    found = []
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=follow_links):
        folders[:] = [name for name in folders if not is_hidden(name)]
        below = osp.relpath(parent, folder)
        found += [osp.normpath(osp.join(below, name)) for name in names if not is_hidden(name)]
    return sorted(found)


def images_below(folder):
    """List the images of a folder at any depth, by their endings: paths, sorted."""
    names = visible_files(folder, follow_links=False)
    return [osp.join(folder, n) for n in names if n.lower().endswith(IMAGE_ENDINGS)]


def _refuse(error):
    raise UserError(f'{error.filename} cannot be listed: {error.strerror}.') from error
