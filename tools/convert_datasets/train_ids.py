"""From a data set's own labels to train-id PNGs: in parallel, atomically, resumable."""

import argparse
import contextlib
import errno
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from tools.exit_with import exit_with

IGNORE_INDEX = 255
_UNWRITABLE = {
    errno.EACCES, errno.EDQUOT, errno.EEXIST, errno.EISDIR, errno.ENOSPC, errno.ENOTDIR,
    errno.EPERM, errno.EROFS,
}  # fmt: skip
# What Pillow raises for damaged files; a broken PNG is a SyntaxError to it.
DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
# Unfiltered rows are read about three times as fast as OpenCV's default; labels stay as small.
PNG_OPTIONS = (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE, cv2.IMWRITE_PNG_COMPRESSION, 3)


class LabelError(ValueError):
    """A label that cannot be converted; the message names the file and what is wrong with it."""


class UnwritableError(ValueError):
    """A place where nothing can be written, such as a data folder that is mounted read-only."""


def lookup_table(train_id_of: dict[int, int]) -> np.ndarray:
    """Returns the uint8 table of shape (256,) from label id to train id, 255 for all others."""
    table = np.full(256, IGNORE_INDEX, np.uint8)
    for label_id, train_id in train_id_of.items():
        table[label_id] = train_id
    return table


def write_atomically(path: Path, content: bytes) -> None:
    """Writes beside ``path`` and moves into place, so that ``path`` is never seen incomplete.

    Missing folders are made.

    Raises:
        UnwritableError: nothing may be written there, or the disk is full.
    """
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise UnwritableError(f'{path} cannot be written ({error.strerror})') from error


def count_classes(train_ids: np.ndarray) -> dict[int, int]:
    """Counts the pixels of each class that occurs, in order of class; ignored pixels are no class.

    Args:
        train_ids: uint8 array (H, W) of train ids.
    """
    counts = np.bincount(train_ids.ravel(), minlength=IGNORE_INDEX)[:IGNORE_INDEX]
    return {int(train_id): int(counts[train_id]) for train_id in np.flatnonzero(counts)}


def is_finished(source: Path, destination: Path) -> bool:
    """Whether an earlier run has written ``destination`` since ``source`` was changed."""
    return destination.exists() and destination.stat().st_mtime >= source.stat().st_mtime


def _read_finished(source: Path, destination: Path) -> np.ndarray | None:
    """Returns the train ids of an earlier run, or None where ``source`` has to be converted."""
    if not is_finished(source, destination):
        return None
    train_ids = cv2.imread(str(destination), cv2.IMREAD_UNCHANGED)
    if train_ids is None or train_ids.ndim != 2 or train_ids.dtype != np.uint8:
        return None
    return train_ids


def convert_label(
    source: Path, read_train_ids: Callable[[Path], np.ndarray], destination_of: Callable
) -> dict[int, int]:
    """Writes one label's train ids unless an earlier run has, and returns its class counts."""
    destination = destination_of(source)
    train_ids = _read_finished(source, destination)
    if train_ids is None:
        train_ids = read_train_ids(source)
        write_atomically(destination, cv2.imencode('.png', train_ids, PNG_OPTIONS)[1].tobytes())
    return count_classes(train_ids)


def convert_labels(
    sources: Sequence[Path],
    read_train_ids: Callable[[Path], np.ndarray],
    destination_of: Callable[[Path], Path],
    nproc: int,
) -> list[dict[int, int]]:
    """Converts all labels and returns their class counts, in the order of ``sources``.

    Args:
        sources: the data set's own label files.
        read_train_ids: from a file to its uint8 train ids (H, W). A module's function, because it
            travels to other processes.
        destination_of: from a file to the path of its train-id PNG.
        nproc: number of processes; nothing but the speed depends on it.

    Raises:
        LabelError: a label cannot be read. Labels that are already in place are complete.
    """
    convert = partial(convert_label, read_train_ids=read_train_ids, destination_of=destination_of)
    return for_all(convert, sources, nproc)


def for_all(convert: Callable[[object], object], sources: Sequence, nproc: int) -> list:
    """Returns what ``convert`` gives for each label, in order, from ``nproc`` processes."""
    if nproc == 1:
        return _collect(map(convert, sources), len(sources))
    # fresh processes: OpenCV hangs when it is forked after it has used threads
    with ProcessPoolExecutor(nproc, multiprocessing.get_context('spawn')) as pool:
        try:
            return _collect(pool.map(convert, sources, chunksize=8), len(sources))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _collect(results: Iterable, total: int) -> list:
    return list(tqdm(results, total=total, unit='label', disable=None))


def find_labels(folder: Path, pattern: str) -> list[Path]:
    """Returns the sorted label files, without the train-id PNGs that the converters write.

    Hidden files and folders are passed over, as data sets do. Exits with a message where the folder
    is missing or has none.
    """
    if not folder.is_dir():
        sys.exit(f'{folder}: no such folder. Give the root of the data set as the first argument.')
    found = [path for path in visible(folder, pattern) if not path.stem.endswith('TrainIds')]
    if not found:
        sys.exit(f'{folder}: no label matches {pattern}. Is the data set unpacked completely?')
    return found


def visible(folder: Path, pattern: str) -> list[Path]:
    """Returns the sorted files that match; those in hidden folders, and hidden ones, do not."""
    return sorted(
        path
        for path in folder.glob(pattern)
        if not any(part.startswith('.') for part in path.relative_to(folder).parts)
    )


def parse_root(description: str, default_root: str, argv: Sequence[str] | None):
    """Parses the arguments that all converters share: ``root``, ``out`` (Paths) and ``nproc``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('root', nargs='?', type=Path, default=Path(default_root))
    parser.add_argument('--nproc', type=int, default=4, help='number of processes (default: 4)')
    parser.add_argument(
        '--out', type=Path, metavar='DIR',
        help='write labels and class index below DIR instead of root, which may be read-only then',
    )  # fmt: skip
    args = parser.parse_args(argv)
    if args.nproc < 1:
        parser.error('--nproc must be at least 1')
    if not args.root.is_dir():
        sys.exit(f'{args.root}: no such folder. Give the root of the data set as first argument.')
    args.out = args.out or args.root
    return args


def moved(path: Path, root: Path, out: Path, name_of: Callable[[Path], Path]) -> Path:
    """Returns ``name_of(path)`` with ``root`` replaced by ``out``."""
    return out / name_of(path).relative_to(root)


@contextlib.contextmanager
def reporting_errors(args, images: str):
    """Ends a converter with one line where labels cannot be read or train ids not be written.

    At the end it says what a config has to state if they are not beside the data.

    Args:
        args: of ``parse_root``.
        images: folder of the images below the root.
    """
    try:
        yield
    except LabelError as error:
        exit_with(error)
    except UnwritableError as error:
        exit_with(error, '. Let --out name a folder that can be written: the images stay in place.')
    if args.out != args.root:
        print(
            f'In the config of this data set: data_root={str(args.out)!r}, '
            f'img_dir={str((args.root / images).absolute())!r}; ann_dir stays as it is.'
        )
