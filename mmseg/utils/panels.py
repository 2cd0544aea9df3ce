"""One picture of several panels, each under its title."""

import cv2
import numpy as np

_TITLE_HEIGHT = 22


def draw_panels(rows, width):
    """Put pictures beside and below each other.

    Args:
        rows (list[list[tuple[str, np.ndarray]]]): Title and BGR picture (H, W, 3) of each panel; as
            many in each row. All become as high as the first would.
        width (int): Of a panel, in pixels, without its border of 2 on each side.

    Returns:
        np.ndarray: BGR uint8.
    """
    first = rows[0][0][1]
    size = (width, round(width * first.shape[0] / first.shape[1]))
    return np.vstack([np.hstack([_panel(*panel, size) for panel in row]) for row in rows])


def _panel(title, picture, size):
    tile = np.ascontiguousarray(picture, dtype=np.uint8)
    tile = cv2.resize(tile, size, interpolation=cv2.INTER_NEAREST)
    tile = cv2.copyMakeBorder(
        tile, _TITLE_HEIGHT, 4, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255)
    )
    cv2.putText(tile, title, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return tile
