"""Curves over iterations as shapes for inline SVG, several runs in one chart."""

import itertools
import math
from dataclasses import dataclass, field

import numpy as np
from matplotlib.ticker import MaxNLocator

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 26, 12, 40
_LABEL_DISTANCE = 13
# Longer curves are drawn as means over neighbours: a screen has no more points.
_MOST_POINTS = 1000
_SMOOTHED_SHARE = 0.05
_ROUND = [1, 2, 2.5, 5, 10]


@dataclass(frozen=True)
class Curve:
    """A run's values, and whether they are drawn smoothed, with marks, and held to the end."""

    run: int
    letter: str
    x: list
    y: list
    smooth: bool = False
    marks: bool = False
    hold: bool = False


@dataclass
class Chart:
    """What the template draws; all coordinates in units of the picture, y downwards.

    Args:
        x_ticks, y_ticks: (position, text) pairs.
        lines: dicts with ``run``, ``style`` ('raw', 'main' or 'hold') and ``points``, the text of
            an SVG polyline.
        marks: dicts with ``run``, ``x``, ``y`` and ``text``.
        letters: dicts with ``run``, ``x``, ``y`` and ``text``, at the ends of the curves.
        cut: the upper end, if values lie above it; else None.
    """

    title: str
    key: str
    unit: str
    width: int
    height: int
    left: int = _LEFT
    top: int = _TOP
    right: int = 0
    bottom: int = 0
    x_ticks: list = field(default_factory=list)
    y_ticks: list = field(default_factory=list)
    lines: list = field(default_factory=list)
    marks: list = field(default_factory=list)
    letters: list = field(default_factory=list)
    cut: str | None = None


def draw_chart(title, key, unit, curves, width=560, height=270):
    """Lay out a chart.

    Args:
        title (str), key (str), unit (str): What it shows, its name in the log, and of the y axis.
        curves (list[Curve]): Those without a finite value are left out.

    Returns:
        Chart | None: None if no curve is left.
    """
    curves = [curve for curve in curves if np.isfinite(_array(curve.y)).any()]
    if not curves:
        return None
    chart = Chart(title, key, unit, width, height, right=width - _RIGHT, bottom=height - _BOTTOM)
    x_end = max(max(curve.x) for curve in curves)
    top, chart.cut = _top_of(np.concatenate([_array(curve.y) for curve in curves]))
    y_values = MaxNLocator(5, steps=_ROUND).tick_values(0, top)
    top = float(y_values[-1])

    def place(x, y):
        return (
            round(chart.left + (chart.right - chart.left) * x / x_end, 1),
            round(chart.bottom - (chart.bottom - chart.top) * y / top, 1),
        )

    chart.y_ticks = [(place(0, y)[1], f'{y:.6g}') for y in y_values]
    x_values = MaxNLocator(6, steps=_ROUND, integer=True).tick_values(0, x_end)
    chart.x_ticks = [(place(x, 0)[0], f'{x:,.0f}') for x in x_values if x <= x_end]
    for curve in curves:
        _draw_curve(chart, curve, place, x_end)
    _spread(chart.letters, chart.bottom)
    return chart


def _array(values):
    return np.array([math.nan if value is None else value for value in values], dtype=float)


def _top_of(values):
    """Where the y axis ends at least; far outliers are cut off, which the chart then says."""
    values = values[np.isfinite(values)]
    highest, usual = values.max(), np.percentile(values, 95)
    if usual > 0 and highest > 3 * usual:
        return 1.5 * usual, f'{highest:.3g}'
    return (highest if highest > 0 else 1.0), None


def _draw_curve(chart, curve, place, x_end):
    x, y = _thinned(_array(curve.x), _array(curve.y))
    smoothed = running_mean(y) if curve.smooth else y
    if curve.smooth:
        _add_lines(chart, curve.run, 'raw', x, y, place)
    _add_lines(chart, curve.run, 'main', x, smoothed, place)
    known = np.flatnonzero(np.isfinite(smoothed))
    if curve.marks or len(known) == 1:
        for i in known:
            at, height = place(x[i], y[i])
            text = f'{curve.letter}: {y[i]:.4g} at iteration {x[i]:,.0f}'
            chart.marks.append(dict(run=curve.run, x=at, y=height, text=text))
    last = known[-1]
    end = x[last]
    if curve.hold and end < x_end:
        _add_lines(chart, curve.run, 'hold', [end, x_end], [smoothed[last]] * 2, place)
        end = x_end
    at, height = place(end, smoothed[last])
    chart.letters.append(
        dict(run=curve.run, x=at + 8, y=max(height, chart.top) + 4, text=curve.letter)
    )


def _add_lines(chart, run, style, x, y, place):
    """Add a polyline per stretch without gaps."""
    for finite, group in itertools.groupby(range(len(x)), lambda i: bool(np.isfinite(y[i]))):
        if finite:
            points = ' '.join('{},{}'.format(*place(x[i], y[i])) for i in group)
            chart.lines.append(dict(run=run, style=style, points=points))


def _thinned(x, y):
    step = math.ceil(len(x) / _MOST_POINTS)
    if step == 1:
        return x, y
    groups = range(0, len(x), step)
    return (
        np.array([x[i : i + step].mean() for i in groups]),
        np.array([y[i : i + step].mean() for i in groups]),
    )


def running_mean(values):
    """Mean over a window around each value, a twentieth of the curve wide, at least 3 values.

    At the ends the window is cut off; values that are not finite do not count.
    """
    half = max(1, round(_SMOOTHED_SHARE * len(values) / 2))
    means = np.full(len(values), np.nan)
    for i in np.flatnonzero(np.isfinite(values)):
        window = values[max(0, i - half) : i + half + 1]
        means[i] = window[np.isfinite(window)].mean()
    return means


def _spread(letters, bottom):
    """Move letters that would lie over each other apart, downwards, or upwards at the bottom."""
    letters.sort(key=lambda letter: letter['y'])
    for above, below in itertools.pairwise(letters):
        if abs(above['x'] - below['x']) < _LABEL_DISTANCE:
            below['y'] = max(below['y'], above['y'] + _LABEL_DISTANCE)
    limit = bottom + 4
    for letter in reversed(letters):
        letter['y'] = round(min(letter['y'], limit), 1)
        limit = letter['y'] - _LABEL_DISTANCE if letter['y'] == limit else limit
