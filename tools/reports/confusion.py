"""The confusion matrix as a heat map, and its largest entries in words."""

from dataclasses import dataclass

import numpy as np

# More classes leave no room for numbers.
_MOST_NUMBERED = 25
_LEAST_SHARE = 0.01
_MOST_SENTENCES = 8


@dataclass(frozen=True)
class HeatMap:
    """Cells of a row-normalised matrix.

    Args:
        classes: names.
        rows: per true class its cells (see :func:`_cell`), and its share of all pixels.
        iteration: of the evaluation.
        is_numbered: whether there is room for numbers.
    """

    classes: list
    rows: list
    iteration: int
    is_numbered: bool


def heat_map(confusion):
    """Lay out a :class:`tools.reports.records.Confusion`."""
    shares, totals = _shares(confusion)
    classes = confusion.classes
    rows = [
        dict(
            name=name,
            share=totals[i] / max(1, totals.sum()),
            cells=[_cell(confusion, shares, i, j) for j in range(len(classes))],
        )
        for i, name in enumerate(classes)
    ]
    return HeatMap(classes, rows, confusion.iteration, len(classes) <= _MOST_NUMBERED)


def _cell(confusion, shares, i, j):
    true, predicted = confusion.classes[i], confusion.classes[j]
    share = float(shares[i, j])
    verb = 'found as' if i == j else 'taken for'
    title = f'{true} {verb} {predicted}: {share:.1%} ({confusion.pixels[i, j]:,} pixels)'
    number = f'{100 * share:.0f}' if share >= 0.005 else ''
    return dict(share=round(share, 3), number=number, title=title, is_right=i == j)


def top_confusions(confusion):
    """The largest errors, as share of the true class.

    Returns:
        list[dict]: ``text``, such as 'sidewalk taken for road: 31 % of sidewalk', and ``pixels``,
        the share of all pixels; most of the true class first.
    """
    shares, totals = _shares(confusion)
    wrong = shares * (1 - np.eye(len(shares)))
    order = np.argsort(-wrong, axis=None, kind='stable')[:_MOST_SENTENCES]
    sentences = []
    for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if wrong[i, j] >= _LEAST_SHARE:
            true, predicted = confusion.classes[i], confusion.classes[j]
            text = f'{true} taken for {predicted}: {100 * wrong[i, j]:.0f} % of {true}'
            sentences.append(dict(text=text, pixels=confusion.pixels[i, j] / totals.sum()))
    return sentences


def _shares(confusion):
    """Shares of each true class (0 where it does not occur), and pixels per true class."""
    totals = confusion.pixels.sum(1)
    return confusion.pixels / np.maximum(1, totals)[:, None], totals
