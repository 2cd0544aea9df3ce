"""What the image demo writes of a picture or video frame, and into which files."""

import os
import os.path as osp
from collections import Counter
from dataclasses import dataclass

import numpy as np

from demo.legend import with_legend
from mmseg.engine.predictions import origin_of, origin_text, paint
from mmseg.utils.user_error import UserError

# Each is the ending of its file's name, too: NAME_pred.png.
KINDS = ('pred', 'overlay', 'labels', 'confidence', 'label_ids')
_OVERLAY_OPACITY = 0.5


@dataclass(frozen=True)
class Drawing:
    """How pictures are made of predictions.

    Args:
        kinds: which of ``KINDS``.
        classes: name per train id.
        palette: RGB colour per train id.
        opacity: of the colours over the image; by default 1 for ``pred``, 0.5 for ``overlay``.
        legend: draw one below what is coloured.
        legend_of_all: of all classes, as in every frame of a video, or of those in the picture.
    """

    kinds: list[str]
    classes: tuple[str, ...]
    palette: list
    opacity: float | None = None
    legend: bool = False
    legend_of_all: bool = False

    def pictures(self, picture, label, confidence=None):
        """Draw.

        Args:
            picture (np.ndarray): (H, W, 3) BGR uint8.
            label (np.ndarray): Train ids (H, W) uint8.
            confidence (np.ndarray | None): Their probabilities (H, W), for that kind alone.

        Returns:
            dict[str, np.ndarray]: Per kind (H, W, 3) BGR or, for confidence and ids, (H, W) grey,
            uint8.
        """
        drawn = {}
        for kind in self.kinds:
            if kind == 'confidence':
                drawn[kind] = np.round(255 * confidence).astype(np.uint8)
            elif kind == 'label_ids':
                drawn[kind] = label
            else:
                drawn[kind] = self._colored(kind, picture, label)
        return drawn

    def _colored(self, kind, picture, label):
        opacity = 1.0 if kind == 'labels' else self.opacity
        if opacity is None:
            opacity = _OVERLAY_OPACITY if kind == 'overlay' else 1.0
        painted = paint(label, self.palette, picture, opacity)
        if not self.legend:
            return painted
        return with_legend(painted, label, self.classes, self.palette, self.legend_of_all)


def output_paths(inputs, out, kinds):
    """Decide which files are written.

    Args:
        inputs (Inputs): The files to predict.
        out (str | None): A file for a single input, or a folder: one that exists, or a name without
            an ending. None puts outputs beside inputs.
        kinds (list[str]): Of ``KINDS``.

    Returns:
        dict[str, dict[str, str]]: Per input, per kind, the file.

    Raises:
        UserError: ``out`` cannot be that, or an input or the output of another one would be
            overwritten.
    """
    ending = '.mp4' if inputs.is_video else '.png'
    if inputs.folder is None:
        path = inputs.paths[0]
        paths = {path: _of_single(path, out, kinds, ending)}
    else:
        if out is not None and osp.exists(out) and not osp.isdir(out):
            raise UserError(f'--out {out} is a file; several pictures need a folder.')
        stems = _stems(inputs, out)
        paths = {
            path: {kind: f'{stem}_{kind}{ending}' for kind in kinds} for path, stem in stems.items()
        }
    _check(inputs, paths, out)
    return paths


def _of_single(path, out, kinds, ending):
    stem, name = osp.splitext(path)[0], osp.basename(osp.splitext(path)[0])
    if out is None or osp.isdir(out) or not osp.splitext(out)[1]:
        stem = stem if out is None else osp.join(out, name)
        return {kind: f'{stem}_{kind}{ending}' for kind in kinds}
    if len(kinds) == 1:
        return {kinds[0]: out}
    stem, ending = osp.splitext(out)
    # Ids survive in a format without losses alone.
    return {kind: f'{stem}_{kind}{".png" if kind == "label_ids" else ending}' for kind in kinds}


def _stems(inputs, out):
    """Per input its output without kind and ending; that of a.jpg beside a.png is a.jpg."""
    places = {
        path: osp.join(out or inputs.folder, osp.relpath(path, inputs.folder))
        for path in inputs.paths
    }
    alike = Counter(osp.splitext(place)[0] for place in places.values())
    return {
        path: place if alike[osp.splitext(place)[0]] > 1 else osp.splitext(place)[0]
        for path, place in places.items()
    }


def origin_in(file, path):
    """What an output keeps of its input: where that is, seen from the output."""
    return origin_text(osp.relpath(path, osp.dirname(file)))


def _check(inputs, paths, out):
    """Refuse what would overwrite an input or another output, or cannot hold what it should."""
    folder = inputs.folder or osp.dirname(inputs.paths[0]) or '.'
    if out is None and not os.access(folder, os.W_OK):
        raise UserError(
            f'{folder}, where outputs go unless you say otherwise, is read-only: say --out FOLDER.'
        )
    for path, files in paths.items():
        for kind, file in files.items():
            if osp.exists(file) and any(osp.samefile(file, other) for other in inputs.paths):
                raise UserError(f'{path}: its output would replace {file}; choose another --out.')
            # A file that --out names may be replaced; a name that was made of the input's may not.
            if file != out and origin_of(file) not in (None, origin_in(file, path)):
                raise UserError(
                    f'{path}: its output would replace {file}, which is of another input; choose '
                    'another --out.'
                )
            if inputs.is_video and osp.splitext(file)[1].lower() != '.mp4':
                raise UserError(f'--out {file}: videos are written as .mp4.')
            if kind == 'label_ids' and osp.splitext(file)[1].lower() != '.png':
                raise UserError(f'--out {file}: label ids are written as .png, without losses.')
    written = [file for files in paths.values() for file in files.values()]
    for file, count in Counter(written).items():
        if count > 1:
            raise UserError(f'{count} outputs would be {file}; rename their inputs.')
