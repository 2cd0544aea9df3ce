"""From a data set's own labels to train-id PNGs and the class index: in parallel, resumable."""

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from tools.command_line import exit_with

IGNORE_INDEX = 255


class LabelError(ValueError):
    """A label that cannot be converted."""


def lookup_table(train_ids: dict[int, int]) -> np.ndarray:
    """Make the uint8 table of shape (256,) from label id to train id, 255 for all others."""
    return np.array([train_ids.get(i, IGNORE_INDEX) for i in range(256)], np.uint8)


@contextlib.contextmanager
def opened(path: Path):
    """Open an image; what is wrong with its file is a ``LabelError`` that names it."""
    try:
        with Image.open(path) as image:
            yield image
    except LabelError:
        raise
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise LabelError(f'{path}: cannot be read ({error})') from error


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside ``path`` and move into place; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def as_png(train_ids: np.ndarray) -> bytes:
    # Unfiltered rows are read about three times as fast as OpenCV's default; labels stay as small.
    options = (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE, cv2.IMWRITE_PNG_COMPRESSION, 3)
    return cv2.imencode('.png', train_ids, options)[1].tobytes()


def count_classes(train_ids: np.ndarray) -> dict[int, int]:
    """Count the pixels of each class that occurs in (H, W) uint8 train ids, in order of class."""
    counts = np.bincount(train_ids.ravel(), minlength=IGNORE_INDEX)[:IGNORE_INDEX]
    return {int(train_id): int(counts[train_id]) for train_id in np.flatnonzero(counts)}


def is_finished(source: Path, destination: Path) -> bool:
    """Whether ``destination`` was written after ``source``."""
    return destination.exists() and destination.stat().st_mtime >= source.stat().st_mtime


def convert_label(
    source: Path, read_train_ids: Callable[[Path], np.ndarray], destination_of: Callable
) -> dict[int, int]:
    """Write one label's train ids unless an earlier run has, and return its class counts."""
    destination = destination_of(source)
    if is_finished(source, destination):
        train_ids = cv2.imread(str(destination), cv2.IMREAD_UNCHANGED)
        if train_ids is not None and train_ids.ndim == 2 and train_ids.dtype == np.uint8:
            return count_classes(train_ids)
    train_ids = read_train_ids(source)
    write_atomically(destination, as_png(train_ids))
    return count_classes(train_ids)


def for_all(convert: Callable[[object], object], sources: Sequence, nproc: int) -> list:
    """Return what ``convert`` gives for each label, in order, from ``nproc`` processes."""
    shown = partial(tqdm, total=len(sources), unit='label', disable=None)
    if nproc == 1:
        return list(shown(map(convert, sources)))
    # OpenCV hangs when it is forked after it has used threads
    with ProcessPoolExecutor(nproc, multiprocessing.get_context('spawn')) as pool:
        try:
            return list(shown(pool.map(convert, sources, chunksize=8)))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def visible(folder: Path, pattern: str) -> list[Path]:
    """Return the sorted files that match, without hidden ones and those in hidden folders."""
    return sorted(
        path
        for path in folder.glob(pattern)
        if not any(part.startswith('.') for part in path.relative_to(folder).parts)
    )


def write_class_index(
    root: Path, labels: Sequence[Path], counts: Sequence[dict[int, int]], label_dir: Path | str = ''
) -> None:
    """Write the class index of Rare Class Sampling: which label has how much of which class.

    Paths in it are relative to ``root``, where it goes, or, of labels elsewhere, to ``label_dir``.
    """
    below = root if labels[0].is_relative_to(root) else label_dir
    files = [label.relative_to(below).as_posix() for label in labels]
    stats = dict(zip(files, counts, strict=True))
    samples: dict[int, list] = {}
    for file, count in stats.items():
        for train_id, pixels in count.items():
            samples.setdefault(train_id, []).append([file, pixels])
    contents = {
        'sample_class_stats.json': [{**count, 'file': file} for file, count in stats.items()],
        'sample_class_stats_dict.json': stats,
        'samples_with_class.json': dict(sorted(samples.items())),
    }
    for name, content in contents.items():
        write_atomically(root / name, (json.dumps(content, indent=1) + '\n').encode())


def parse_args(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments of a converter, with ``--nproc`` added."""
    parser.add_argument('--nproc', type=int, default=4, help='number of processes (default: 4)')
    return parser.parse_args(argv)


def convert_dataset(
    argv: Sequence[str] | None, description: str, read_train_ids: Callable[[Path], np.ndarray],
    *, root: str, labels: str, images: str, pattern: str = '*.png', source: str = '',
    ending: str = '.png', extra: Callable[[Path, Path], None] = lambda root, out: None,
) -> None:  # fmt: skip
    """Run the command that converts a published data set: train ids, then the class index.

    ``labels`` and ``images`` are folders below the root; ``source`` is that of the labels that the
    class index is of, which may be missing. ``extra`` writes what else there is.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('root', nargs='?', type=Path, default=Path(root))
    parser.add_argument(
        '--out', type=Path, metavar='DIR',
        help='write labels and class index below DIR instead of root, which may be read-only then',
    )  # fmt: skip
    args = parse_args(parser, argv)
    args.out = args.out or args.root
    found = visible(args.root / labels, pattern)
    sources = [path for path in found if not path.stem.endswith('TrainIds')]  # of earlier runs
    if not sources:
        sys.exit(
            f'{args.root / labels}: no label matches {pattern}. Give the root of the data set as '
            'first argument.'
        )
    destination_of = partial(_train_ids_path, root=args.root, out=args.out, ending=ending)
    convert = partial(convert_label, read_train_ids=read_train_ids, destination_of=destination_of)
    try:
        counts = for_all(convert, sources, args.nproc)
        folder = args.root / (source or labels)
        indexed = [i for i, label in enumerate(sources) if folder in label.parents]
        if indexed:
            made = [destination_of(sources[i]) for i in indexed]
            write_class_index(args.out, made, [counts[i] for i in indexed])
        else:
            print(f'{folder}: no labels, so no class index (only a source needs one).')
        extra(args.root, args.out)
    except LabelError as error:
        exit_with(error)
    except OSError as error:
        exit_with(error, '. Let --out name a folder that can be written: the images stay in place.')
    if args.out != args.root:
        print(
            f'In the config of this data set: data_root={str(args.out)!r}, '
            f'img_dir={str((args.root / images).absolute())!r}; ann_dir is relative to data_root.'
        )


def _train_ids_path(label: Path, root: Path, out: Path, ending: str) -> Path:
    name = label.name.removesuffix(ending) + '_labelTrainIds.png'
    return out / label.relative_to(root).with_name(name)
