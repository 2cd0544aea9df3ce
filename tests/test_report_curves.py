"""The report's curves: smoothing, gaps, outliers, and letters that do not lie over each other."""

import numpy as np

from tools.reports.curves import Curve, draw_chart, running_mean


def test_running_mean_passes_over_what_is_not_finite():
    values = np.array([1.0, 2.0, np.nan, 4.0, np.inf])
    np.testing.assert_allclose(running_mean(values), [1.5, 1.5, np.nan, 4.0, np.nan])


def test_curves_have_gaps_and_outliers_are_cut_off():
    y = [1.0] * 30 + [float('nan')] + [1.0] * 30 + [500.0]
    chart = draw_chart('loss', 'loss', '', [Curve(0, 'A', list(range(len(y))), y)])
    assert len(chart.lines) == 2 and chart.cut == '500'
    assert [text for _, text in chart.y_ticks][-1] in ('1.5', '2')
    assert draw_chart('loss', 'loss', '', [Curve(0, 'A', [1], [float('nan')])]) is None


def test_letters_of_curves_that_end_together_lie_apart():
    curves = [Curve(i, letter, [0, 10], [1, 1 + i / 100]) for i, letter in enumerate('ABC')]
    heights = sorted(letter['y'] for letter in draw_chart('x', 'x', '', curves).letters)
    assert np.diff(heights).min() >= 12


def test_a_single_value_has_a_mark():
    chart = draw_chart('lr', 'lr', '', [Curve(0, 'A', [10], [0.1])])
    assert [mark['text'] for mark in chart.marks] == ['A: 0.1 at iteration 10']


def test_long_curves_are_thinned():
    x = list(range(1, 5001))
    (line,) = draw_chart('x', 'x', '', [Curve(0, 'A', x, x)]).lines
    assert len(line['points'].split()) == 1000
