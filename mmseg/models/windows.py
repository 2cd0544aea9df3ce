"""Boxes of an image (y1, y2, x1, x2): windows that cover it, and what is computed in them."""

import torch

MIN_INPUT_SIZE = 32  # pixels of a side; MiT cannot take less


def window_boxes(size, crop_size, stride):
    """List the windows of sliding inference, row by row, as MMSegmentation lays them.

    The last window of a row or column is moved back inside; smaller images are one window.
    """
    rows, columns = (
        [_window(i, step, crop, side) for i in range(max(side - crop + step - 1, 0) // step + 1)]
        for side, crop, step in zip(size, crop_size, stride, strict=True)
    )
    return [(*row, *column) for row in rows for column in columns]


def _window(index, stride, crop, side):
    end = min(index * stride + crop, side)
    return max(end - crop, 0), end


def cut(tensor, box):
    """Return the part of a tensor (..., H, W) in a box."""
    y1, y2, x1, x2 = box
    return tensor[..., y1:y2, x1:x2]


def cut_windows(tensor, boxes):
    """Cut windows out of a batch (N, C, H, W): window 0 of all images, then window 1, …"""
    return torch.cat([cut(tensor, box) for box in boxes])


def scaled(box, divisor):
    """Return a box in coordinates that are smaller by a factor, truncated."""
    return tuple(int(side / divisor) for side in box)


def merge_windows(windows, boxes, size):
    """Average windows (len(boxes) * N, C, h, w) where they overlap; 0 where there are none.

    Returns:
        Tensor: (N, C, H, W) of ``size``.
    """
    # Not chunk(): export would fix the size of the batch.
    windows = windows.unflatten(0, (len(boxes), windows.shape[0] // len(boxes)))
    total = windows[0].new_zeros(*windows[0].shape[:2], *size)
    count = windows[0].new_zeros(size)
    for window, box in zip(windows, boxes, strict=True):
        cut(total, box).add_(window)
        cut(count, box).add_(1)
    return total if len(boxes) == 1 else total / count.clamp(min=1)
