"""Drawing labels: colours, overlays, panels with titles, and a legend."""

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont
from PIL import Image, ImageDraw, ImageFont

_BLACK, _WHITE, _GREY = (0, 0, 0), (255, 255, 255), (128, 128, 128)


def color_label(label, palette):
    """Colour train ids (H, W), those beyond the RGB palette black; gives (H, W, 3) RGB uint8."""
    return _color_table(palette)[label.astype(np.uint8)]


def paint(label, palette, image=None, opacity=1.0):
    """Colour train ids as :func:`color_label`, but BGR, over their image (H, W, 3) BGR if given."""
    painted = color_label(label, palette)[..., ::-1]
    if image is None or opacity == 1:
        return painted
    return cv2.addWeighted(painted, opacity, image, 1 - opacity, 0)


def distinct_palette(count):
    """Choose up to 255 RGB colours, each as far as possible from black, white and those before."""
    levels = np.linspace(0, 255, 7).round()
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing='ij'), axis=-1).reshape(-1, 3)
    colors = []
    nearest = np.minimum(*(np.linalg.norm(cube - taken, axis=1) for taken in (_BLACK, _WHITE)))
    for _ in range(count):
        color = cube[nearest.argmax()]
        colors.append([int(channel) for channel in color])
        nearest = np.minimum(nearest, np.linalg.norm(cube - color, axis=1))
    return colors


def draw_panels(rows, width):
    """Arrange rows of (title, BGR image) in a grid of the first one's aspect ratio."""
    height, first_width = rows[0][0][1].shape[:2]
    size = (width, round(width * height / first_width))
    drawn = [np.hstack([_panel(*panel, size) for panel in row]) for row in rows]
    widest = max(row.shape[1] for row in drawn)
    return np.vstack(
        [
            np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0)), constant_values=255)
            for row in drawn
        ]
    )


def with_legend(image, label, classes, palette, all_classes=False):
    """Add a legend below a BGR image: colour, name and ratio of the pixels of each class.

    Those that occur are listed, the most frequent first, or ``all_classes`` in their order, so that
    the legends of all frames of a video are equally large.
    """
    counts = np.bincount(label.ravel(), minlength=len(classes))
    train_ids = range(len(classes))
    if not all_classes:
        train_ids = [i for i in np.argsort(-counts, kind='stable') if counts[i]]
    colors = [tuple(color) for color in _color_table(palette).tolist()]
    entries = [(classes[i], f'{counts[i] / label.size:.1%}', colors[i]) for i in train_ids]
    legend = _draw_legend(entries, image.shape[1])
    missing = legend.shape[1] - image.shape[1]
    image = np.pad(image, ((0, 0), (0, missing), (0, 0)), constant_values=255)
    return np.concatenate([image, legend[..., ::-1]])


def _color_table(palette):
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = palette
    return colors


def _panel(title, image, size):
    tile = cv2.resize(np.ascontiguousarray(image, np.uint8), size, interpolation=cv2.INTER_NEAREST)
    tile = cv2.copyMakeBorder(tile, 22, 4, 2, 2, cv2.BORDER_CONSTANT, value=_WHITE)
    cv2.putText(tile, title, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _BLACK, 1, cv2.LINE_AA)
    return tile


def _draw_legend(entries, width):
    """Draw (name, ratio, RGB colour) entries in columns, at least ``width`` wide; RGB."""
    size = min(max(round(width / 64), 12), 96)
    font = ImageFont.truetype(findfont('DejaVu Sans'), size)
    gap, line = size // 2, round(1.6 * size)
    name_width = max(round(font.getlength(name)) for name, _, _ in entries)
    entry_width = line + name_width + gap + round(font.getlength('100.0%'))
    column = entry_width + 3 * gap
    columns = min(max(1, (width - gap) // column), len(entries))
    rows = -(-len(entries) // columns)
    canvas = Image.new('RGB', (max(width, gap + column), rows * line + 2 * gap), _WHITE)
    draw = ImageDraw.Draw(canvas)
    for number, (name, ratio, color) in enumerate(entries):
        x, y = gap + number // rows * column, gap + number % rows * line + line // 8
        draw.rectangle((x, y, x + size, y + size), color, _GREY)
        draw.text((x + line, y + size / 2), name, _BLACK, font, anchor='lm')
        draw.text((x + entry_width, y + size / 2), ratio, _BLACK, font, anchor='rm')
    return np.asarray(canvas)


def draw_confusion(confusion, names):
    """Plot pixels of true class i that are predicted as class j, in percent of each true class."""
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


def draw_reliability(bins, title):
    """Plot a reliability diagram: accuracy by confidence, and how many pixels have which.

    ``bins`` has ``pixels``, ``confidence`` and ``accuracy``, a value for each bin of equal width.
    """
    pixels, accuracy = np.array(bins['pixels']), np.array(bins['accuracy'])
    edges = np.linspace(0, 1, len(pixels) + 1)
    figure = Figure((5, 6), layout='constrained')
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.bar(edges[:-1], np.nan_to_num(accuracy), edges[1], align='edge', edgecolor='white')
    upper.plot([0, 1], [0, 1], color='grey', linestyle='--', label='as confident as right')
    upper.plot(bins['confidence'], accuracy, 'o', color='black', label='mean confidence')
    upper.set(ylabel='ratio of right pixels', ylim=(0, 1), title=title)
    upper.legend(loc='upper left')
    ratios = 100 * pixels / max(1, pixels.sum())
    lower.bar(edges[:-1], ratios, edges[1], align='edge', edgecolor='white')
    lower.set(xlabel='confidence', ylabel='pixels (%)', xlim=(0, 1))
    return figure


def as_image(figure):
    """Render a figure as BGR uint8 (H, W, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., 2::-1]
