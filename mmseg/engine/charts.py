"""Plots of what a run records, for TensorBoard and the report."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def draw_confusion(confusion, names):
    """Plot a confusion matrix in percent of each true class.

    Args:
        confusion (list[list[int]]): Pixels of true class i that are predicted as class j. The rows
            of classes that do not occur are grey.
    """
    pixels = np.array(confusion, np.float64)
    with np.errstate(invalid='ignore'):
        percent = 100 * pixels / pixels.sum(1, keepdims=True)
    side = 2 + 0.4 * len(names)
    figure = Figure(figsize=(side, side), layout='constrained')
    axes = figure.subplots()
    axes.set_facecolor('lightgrey')
    axes.imshow(percent, cmap='Blues', vmin=0, vmax=100)
    for i, j in np.argwhere(percent >= 0.5):
        color = 'white' if percent[i, j] > 60 else 'black'
        axes.text(j, i, f'{percent[i, j]:.0f}', color=color, size=8, ha='center', va='center')
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel='predicted', ylabel='ground truth (each row is 100 %)')
    return figure


def draw_sampling(found):
    """Plot a record of Rare Class Sampling (see ``RareClassRecord``), the rarest class first."""
    order = np.argsort(found['share'], kind='stable')
    series = {
        "ratio of the source's pixels": found['share'],
        'probability of being drawn': found['wanted'],
        'drawn': np.array(found['drawn']) / max(1, sum(found['drawn'])),
    }
    percent = {title: 100 * np.array(values)[order] for title, values in series.items()}
    return draw_bars([found['classes'][i] for i in order], percent, 'classes (%)')


def draw_bars(names, series, label):
    """Plot horizontal bars, a group per class; ``series`` is a dict of a value per class."""
    height = 0.8 / len(series)
    figure = Figure((9, 1.2 + 0.16 * len(names) * (len(series) + 0.5)), layout='constrained')
    axes = figure.subplots()
    for number, (title, values) in enumerate(series.items()):
        places = np.arange(len(names)) + (number + 0.5) * height - 0.4
        bars = axes.barh(places, values, height, label=title)
        axes.bar_label(bars, fmt='%.1f', padding=2, size=7)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(y=0.01)
    axes.set_xlabel(label)
    axes.grid(axis='x', alpha=0.3)
    figure.legend(loc='outside upper center', ncols=3)
    return figure


def as_image(figure):
    """Render a figure as BGR uint8 (H, W, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., 2::-1]
