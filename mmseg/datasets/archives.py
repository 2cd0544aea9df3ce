"""Data sets in the zips that their sites deliver: a path leads through a zip as through a folder.

``data/gta.zip/images/1.png`` is in one zip, ``data/gta/*.zip/images/1.png`` in one of several that
are as one folder. What is written for a data set, such as the class index, lies where it would if
the zips were unpacked: in ``data/gta/``.
"""

import errno
import glob
import lzma
import os
import os.path as osp
import re
import struct
import threading
import zipfile
import zlib

import mmcv
from mmcv.fileio import BaseStorageBackend

from mmseg.utils import files
from mmseg.utils.user_error import FileError

BACKEND = 'zip_or_disk'
_END = re.compile(r'\.zip(?=/|$)')
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_DAMAGES = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, struct.error)
_NAMED = 5


def split(path):
    """Split a path into the zip (or pattern) and what follows it; (None, path) without a zip."""
    for end in _END.finditer(path):
        head, below = path[: end.end()], osp.normpath(path[end.end() :].strip('/'))
        if not osp.isdir(head):
            return head, '' if below == '.' else below
    return None, path


def is_archived(path):
    """Whether a path leads through a zip, which need not exist."""
    return split(path)[0] is not None


def is_file(path):
    """Whether there is a file, in a zip or not."""
    if osp.isfile(path):
        return True
    head, name = split(path)
    return head is not None and _zips(head).find(name) is not None


def is_folder(path):
    """Whether there is a folder, in a zip or not; a zip is one itself."""
    head, name = split(path)
    return osp.isdir(path) if head is None else name in _zips(head, look_again=True).folders


def visible_files(folder):
    """List files as :func:`mmseg.utils.files.visible_files` does, of folders in zips as well."""
    head, name = split(folder)
    if head is None:
        return files.visible_files(folder)
    if not is_folder(folder):
        raise FileError(f'{folder} is missing{folders_there(folder)}.')
    return _zips(head).visible_files(name)


def read_bytes(path):
    """Read a file, in a zip or not; an ``OSError`` if that fails."""
    head, name = split(path)
    if head is not None:
        return _zips(head).read(name, path)
    with open(path, 'rb') as file:
        return file.read()


def stamp(path):
    """Return numbers that change when a file does: time and size, in a zip also its checksum."""
    head, name = split(path)
    if head is not None:
        return _zips(head).stamp(name)
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size


def unpacked(path):
    """Return where a path would lead if its zip were unpacked; without a zip it is the same."""
    head, name = split(path)
    if head is None:
        return path
    folder = osp.dirname(head) if _is_pattern(head) else head.removesuffix('.zip')
    return osp.join(folder, name) if name else folder


def locate(root, path):
    """Return the path of a file below ``root``, in its zips or where they would be unpacked."""
    path = osp.join(root, path)
    return path if is_file(path) else unpacked(path)


def folders_there(path):
    """Say which folders there are in place of one that a zip lacks; '' if there is no such zip."""
    head, name = split(path)
    if head is None or not is_folder(head):
        return ''
    folders = _zips(head).folders
    while name not in folders:
        name = osp.dirname(name)
    names = sorted(osp.basename(f) for f in folders if f and osp.dirname(f) == name)
    return f'; {osp.join(head, name).rstrip("/")} has {_some(names) or "no folders"}'


def _some(names):
    more = len(names) - _NAMED
    return ', '.join(names[:_NAMED]) + (f' and {more} more' if more > 0 else '')


@mmcv.FileClient.register_backend(BACKEND)
class ZipBackend(BaseStorageBackend):
    """Lets MMSegmentation list and read files that may lie in zips."""

    def get(self, filepath):
        return read_bytes(str(filepath))

    def get_text(self, filepath, encoding='utf-8'):
        return self.get(filepath).decode(encoding)

    def list_dir_or_file(self, dir_path, list_dir, list_file, suffix, recursive):
        """List as ``CustomDataset`` wants it: all files at any depth that end in ``suffix``."""
        return (name for name in visible_files(dir_path) if name.endswith(suffix))


class _Zips:
    """Several zips, or one, as one folder.

    Attributes:
        found (list[tuple]): Path, time and size of each.
        folders (set[str]): In them, '' being the zips themselves.
    """

    def __init__(self, found):
        self.found = found
        self.folders = {''} if found else set()
        self._entries = {}  # path → zip, entry
        self._unequal = {}  # path → two zips that hold different files there
        self._times = {}
        self._lock = threading.Lock()
        for path, time, _ in found:
            archive = _opened(path)
            self._times[archive] = time
            for entry in archive.infolist():
                self._add(archive, entry)

    def _add(self, archive, entry):
        name = osp.normpath(entry.filename).lstrip('/')
        folder = name if entry.is_dir() else osp.dirname(name)
        while folder not in self.folders:
            self.folders.add(folder)
            folder = osp.dirname(folder)
        if entry.is_dir():
            return
        other, same = self._entries.setdefault(name, (archive, entry))
        if other is archive:
            self._entries[name] = archive, entry  # the last one counts, as for any program
        elif same.CRC != entry.CRC:
            self._unequal[name] = other.filename, archive.filename

    def find(self, name):
        """Return the zip of a file and its entry, or None."""
        if name in self._unequal:
            one, other = self._unequal[name]
            raise FileError(
                f'{one} and {other} both hold {name}, with different contents: let the config name '
                'one of them, or a pattern without the other.'
            )
        return self._entries.get(name)

    def visible_files(self, folder):
        """List the files of a folder at any depth, except hidden ones: relative paths, sorted."""
        below = f'{folder}/' if folder else ''
        names = [name for name in self._entries if name.startswith(below)]
        return sorted(
            name.removeprefix(below)
            for name in names
            if not files.is_hidden(name.removeprefix(below)) and self.find(name)
        )

    def read(self, name, path):
        """Read a file; ``path`` is its full one, for errors."""
        found = self.find(name)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        archive, entry = found
        try:
            with self._lock:
                return archive.read(entry)
        except _DAMAGES as error:
            damage = f'damaged in {archive.filename} ({error})'
            raise OSError(errno.EIO, damage, path) from error

    def stamp(self, name):
        """Return the time of a file's zip, its size and its checksum."""
        archive, entry = self.find(name)
        return self._times[archive], entry.file_size, entry.CRC


_of_process = {}  # (process, zip or pattern) → _Zips: open files must not be shared by forks


def _zips(head, look_again=False):
    """Return what is in a zip, or those of a pattern, read once for each process.

    ``look_again``: And once more where zips were changed or added.
    """
    key = os.getpid(), head
    if look_again or key not in _of_process:
        found = _look_for(head)
        if key not in _of_process or _of_process[key].found != found:
            _of_process[key] = _Zips(found)
    return _of_process[key]


def _look_for(head):
    paths = [head]
    if _is_pattern(head):
        folder, pattern = osp.split(head)
        paths = sorted(glob.glob(osp.join(glob.escape(folder), pattern)))
    found = [(path, os.stat(path)) for path in paths if osp.isfile(path)]
    return [(path, stat.st_mtime_ns, stat.st_size) for path, stat in found]


def _is_pattern(head):
    return re.search(r'[*?[]', osp.basename(head)) is not None and not osp.isfile(head)


def _opened(path):
    try:
        archive = zipfile.ZipFile(path)
    except (*_DAMAGES, NotImplementedError) as error:
        raise FileError(f'{path} is damaged or no zip ({error}): get it again.') from error
    except OSError as error:
        raise FileError(f'{path} cannot be read: {error.strerror}.') from error
    for entry in archive.infolist():
        problem = None
        if entry.flag_bits & 1:
            problem = 'is encrypted'
        elif entry.compress_type not in _METHODS:
            problem = f'is compressed by a method (number {entry.compress_type}) that is not read'
        if problem is not None:
            raise FileError(f'{path} {problem}: unpack it, and let the config name the folder.')
    return archive
