"""Listing image files; hidden files and folders such as ``.ipynb_checkpoints`` never count."""

import os
import os.path as osp

from PIL import Image

from mmseg.utils.user_error import UserError

IMAGE_ENDINGS = (
    '.avif', '.bmp', '.gif', '.jp2', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff',
    '.webp',
)  # fmt: skip
# What Pillow raises for damaged files; a broken PNG is a SyntaxError to it.
DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def is_hidden(path):
    """Whether a relative path is, or lies in, a hidden file or folder."""
    return any(part.startswith('.') for part in path.split(os.sep))


def visible_files(folder, follow_links=True):
    """List the files of a folder at any depth, except hidden ones.

    Args:
        folder (str): May be hidden itself.
        follow_links (bool): Whether to look into linked folders.

    Returns:
        list[str]: Relative to ``folder``, sorted.
    """
    found = []
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=follow_links):
        folders[:] = [name for name in folders if not is_hidden(name)]
        below = osp.relpath(parent, folder)
        found += [osp.normpath(osp.join(below, name)) for name in names if not is_hidden(name)]
    return sorted(found)


def files_in(folder):
    """List the files right in a folder, hidden ones too."""
    return sorted(next(os.walk(folder, onerror=_refuse))[2])


def _refuse(error):
    raise UserError(f'{error.filename} cannot be listed: {error.strerror}.') from error
