"""Charts of what a run records, as pictures for TensorBoard, drawn in milliseconds."""

import cv2
import numpy as np

from mmseg.utils.drawing import draw_panels

_CELL, _NAMES, _BAR = 40, 130, 300  # pixels
# BGR.
_BLACK, _WHITE, _GREY = (0, 0, 0), (255, 255, 255), (200, 200, 200)
_BLUE, _ORANGE = (180, 100, 30), (30, 130, 240)


def draw_confusion(confusion, names):
    """The confusion matrix: of each true class, what share was predicted as what.

    Args:
        confusion (list[list[int]]): Pixels of true class i that are predicted as class j.
        names (list[str]): Of the classes.

    Returns:
        np.ndarray: (H, W, 3) BGR uint8. The rows of classes that do not occur are grey.
    """
    pixels = np.array(confusion, np.float64)
    total = pixels.sum(1, keepdims=True)
    share = pixels / np.maximum(total, 1)
    colors = 255 + share[..., None] * (np.array(_BLUE) - 255)
    colors[total[:, 0] == 0] = _GREY
    cells = np.kron(colors, np.ones((_CELL, _CELL, 1))).astype(np.uint8)
    for i, j in np.argwhere(share >= 0.005):
        color = _WHITE if share[i, j] > 0.5 else _BLACK
        _write(cells, f'{100 * share[i, j]:3.0f}', j * _CELL + 5, (i + 0.5) * _CELL, color)
    columns = _column_of_names(names, _CELL)
    above = np.hstack(
        [np.full((_NAMES, _NAMES, 3), 255, np.uint8),
         cv2.rotate(columns, cv2.ROTATE_90_COUNTERCLOCKWISE)]
    )  # fmt: skip
    picture = np.vstack([above, np.hstack([columns, cells])])
    title = 'Rows: true classes, columns: predicted ones, in % of the row'
    return draw_panels([[(title, picture)]], picture.shape[1])


def draw_sampling(names, wanted, drawn):
    """What Rare Class Sampling should draw and drew: two bars for each class.

    Args:
        names (list[str]): Of the classes.
        wanted (list[float]): Probabilities.
        drawn (list[int]): Samples.

    Returns:
        np.ndarray: (H, W, 3) BGR uint8.
    """
    height = _CELL // 2
    count = sum(drawn)
    shares = [share / max(1, count) for share in drawn]
    longest = max(*wanted, *shares)
    bars = np.full((height * len(names), 2 * _BAR, 3), 255, np.uint8)
    for i, pair in enumerate(zip(wanted, shares, strict=True)):
        for k, (share, color) in enumerate(zip(pair, (_BLUE, _ORANGE), strict=True)):
            top, right = i * height + 3 + 7 * k, round(_BAR * share / longest)
            bars[top : top + 7, :right] = color
        text = f'{100 * pair[0]:.1f} %, {100 * pair[1]:.1f} % ({drawn[i]})'
        _write(bars, text, _BAR + 10, (i + 0.5) * height)
    picture = np.hstack([_column_of_names(names, height), bars])
    title = f'Rare Class Sampling of {count} samples: wanted (blue) and drawn (orange)'
    return draw_panels([[(title, picture)]], picture.shape[1])


def _column_of_names(names, height):
    column = np.full((height * len(names), _NAMES, 3), 255, np.uint8)
    for i, name in enumerate(names):
        _write(column, name, 6, (i + 0.5) * height)
    return column


def _write(picture, text, left, middle, color=_BLACK):
    place = (round(left), round(middle) + 5)
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1, cv2.LINE_AA)
