"""What only newer runs leave: evaluations with confusion and pictures, and what RCS drew."""

import glob
import json
import os.path as osp
import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from tools.reports.runs import ReportError

_RARE_CLASS_FILE = osp.join('evaluation', 'rare_class_sampling.json')
_EVALUATION = re.compile(r'iter_(\d+)\.json')
_SAMPLE = re.compile(r'iter_(\d+)_([0-3])\.png')
_MIX = re.compile(r'(\d+)_(\d+)\.png')


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix.

    Args:
        iteration: of the evaluation.
        classes: K names.
        pixels: (K, K) int array; row: true class, column: predicted class.
    """

    iteration: int
    classes: list
    pixels: np.ndarray


@dataclass(frozen=True)
class Drawing:
    """What Rare Class Sampling drew up to an iteration, each a list over ``classes``.

    Args:
        share: of the source's pixels.
        wanted: the probability that a class is drawn.
        drawn: how often it was.
        min_pixels: of a class that an image must have to be drawn for it.
    """

    iteration: int
    classes: list
    share: list
    wanted: list
    drawn: list
    min_pixels: int


def read_confusion(work_dir):
    """The :class:`Confusion` of the last evaluation; None if the run left none."""
    found = _numbered(work_dir, 'evaluation', _EVALUATION)
    if not found:
        return None
    path = found[max(found)]
    content = _read_json(path, ('classes', 'confusion'))
    pixels = _numbers(content['confusion'])
    if pixels is None or pixels.shape != (len(content['classes']),) * 2:
        raise ReportError(
            f'{path} holds no square matrix of its {len(content["classes"])} classes.'
        )
    return Confusion(max(found)[0], content['classes'], pixels)


def read_drawing(work_dir):
    """The :class:`Drawing` that a run recorded; None if it left none."""
    path = osp.join(work_dir, _RARE_CLASS_FILE)
    if not osp.isfile(path):
        return None
    lists = ('classes', 'share', 'wanted', 'drawn')
    content = _read_json(path, ('iter', *lists, 'min_pixels'))
    if len({len(content[key]) for key in lists}) != 1:
        raise ReportError(f'{path} has {", ".join(lists)} of different lengths.')
    return Drawing(content['iter'], *(content[key] for key in lists), content['min_pixels'])


def sample_pictures(work_dir):
    """Files of the sample predictions: iteration, ascending, to {number of the image: path}."""
    return _by_iteration(_numbered(work_dir, 'evaluation', _SAMPLE))


def mix_pictures(work_dir):
    """Files of the class-mix pictures: iteration, ascending, to {number of the image: path}."""
    return _by_iteration(_numbered(work_dir, 'class_mix_debug', _MIX))


def _numbered(work_dir, folder, pattern):
    """Paths of the files whose whole name matches, by the numbers in it."""
    paths = glob.glob(osp.join(glob.escape(work_dir), folder, '*'))
    matches = {path: pattern.fullmatch(osp.basename(path)) for path in paths}
    return {tuple(map(int, found.groups())): path for path, found in matches.items() if found}


def _by_iteration(numbered):
    pictures = defaultdict(dict)
    for (iteration, number), path in sorted(numbered.items()):
        pictures[iteration][number] = path
    return dict(pictures)


def _read_json(path, keys):
    try:
        with open(path, encoding='utf-8') as file:
            content = json.load(file)
        missing = [key for key in keys if key not in content]
    except (OSError, ValueError, TypeError) as error:
        raise ReportError(f'{path} cannot be read: {error}.') from error
    if missing:
        raise ReportError(f'{path} lacks {", ".join(missing)}.')
    return content


def _numbers(rows):
    try:
        return np.array(rows, dtype=np.int64)
    except (ValueError, TypeError):
        return None
