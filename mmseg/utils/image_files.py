"""Which files of a folder count, for data sets and the image demo alike.

Hidden files and folders never do: ``.ipynb_checkpoints``, ``.Trash-1000``, ``.cache``, and the
``._name.png`` that macOS writes beside ``name.png``.
"""

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
    """Whether a file, or a folder that it is in, is hidden.

    Args:
        path (str): Relative to the folder that was asked for, which may be hidden itself.
    """
    return any(part.startswith('.') for part in path.split(os.sep))


def visible_files(folder, follow_links=True):
    """List the files of a folder at any depth, except hidden ones.

    Args:
        folder (str): Where to look.
        follow_links (bool): Whether to look into linked folders.

    Returns:
        list[str]: Relative to ``folder``, sorted.

    Raises:
        UserError: If a folder is missing or may not be read.
    """
    found = []
    for parent, folders, names in os.walk(folder, onerror=_refuse, followlinks=follow_links):
        folders[:] = [name for name in folders if not is_hidden(name)]
        below = osp.relpath(parent, folder)
        found += [
            name if below == osp.curdir else osp.join(below, name)
            for name in names
            if not is_hidden(name)
        ]
    return sorted(found)


def files_in(folder):
    """List the files right in a folder, hidden ones too.

    Raises:
        UserError: If the folder is missing or may not be read.
    """
    return sorted(next(os.walk(folder, onerror=_refuse))[2])


def _refuse(error):
    raise UserError(f'{error.filename} cannot be listed: {error.strerror}.') from error
