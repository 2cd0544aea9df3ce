"""Groups of horizontal bars, a group per class."""

import math
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator


@dataclass(frozen=True)
class Bars:
    """What the template draws.

    Args:
        series: dicts with ``name``, ``style`` (a CSS class) and ``run`` (number for the colour, or
            None).
        groups: dicts with ``name``, ``color`` (of the class, or '') and ``bars``: per series a dict
            with ``width`` in percent of the axis, ``text`` and ``title``.
        ticks: (position in percent, text) pairs.
        unit: of the axis.
    """

    series: list
    groups: list
    ticks: list
    unit: str


def iou_bars(comparison, palette):
    """A bar per column of a comparison; paler for means, which have a deviation as text."""
    series = [
        dict(name=f'{column.letters}{" (" + column.note + ")" if column.note else ""}',
             style='mean' if column.deviations else 'run', run=column.run)
        for column in comparison.columns
    ]  # fmt: skip
    values = {
        name: [column.values.get(name, math.nan) for column in comparison.columns]
        for name in comparison.classes
    }
    spreads = {
        name: [comparison.deviation(column, name) for column in comparison.columns]
        for name in comparison.classes
    }
    return _bars(series, values, palette, 100.0, 'IoU (%)', spreads)


def drawing_bars(drawing, palette):
    """Shares in the data, wanted and drawn, in percent; the rarest class first."""
    total = max(1, sum(drawing.drawn))
    series = [
        dict(name='share of the source’s pixels', style='share', run=None),
        dict(name='wanted: probability of being drawn', style='wanted', run=None),
        dict(name='drawn', style='drawn', run=None),
    ]
    rows = zip(drawing.classes, drawing.share, drawing.wanted, drawing.drawn, strict=True)
    values = {
        name: [100 * share, 100 * wanted, 100 * drawn / total]
        for name, share, wanted, drawn in sorted(rows, key=lambda row: row[1])
    }
    top = max(value for row in values.values() for value in row) or 1
    return _bars(series, values, palette, top, '%', {})


def _bars(series, values, palette, top, unit, spreads):
    marks = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(0, top)
    top = float(marks[-1])
    groups = []
    for name, row in values.items():
        deviations = spreads.get(name) or [None] * len(row)
        bars = [_bar(*pair, top) for pair in zip(row, deviations, strict=True)]
        for bar, one in zip(bars, series, strict=True):
            bar['title'] = f'{name}, {one["name"]}: {bar["text"]} %'
        groups.append(dict(name=name, color=css_color(palette.get(name)), bars=bars))
    ticks = [(round(100 * mark / top, 2), f'{mark:g}') for mark in marks]
    return Bars(series, groups, ticks, unit)


def _bar(value, deviation, top):
    if not math.isfinite(value):
        return dict(width=0, text='–')
    spread = '' if deviation is None else f' ± {deviation:.1f}'
    return dict(width=round(100 * value / top, 2), text=f'{value:.1f}{spread}')


def css_color(rgb):
    """'' for None."""
    return '' if rgb is None else 'rgb({}, {}, {})'.format(*map(int, rgb))
