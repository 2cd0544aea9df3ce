"""Debug images: what a method saw, labelled, mixed and weighted in one iteration."""

import os.path as osp

import mmcv
import numpy as np
import torch

from mmseg.utils.drawing import color_label, draw_panels

DEBUG_FOLDER = 'class_mix_debug'  # in the run's
_PANEL_WIDTH = 320


def save_debug_images(step, norm, palette):
    """Write ``class_mix_debug/{iteration + 1:06d}_{image}.png`` for each image of the batch.

    Args:
        step (Step): With what it was given to show, a row of panels each.
        norm (dict): How the images were normalised.
        palette (list): RGB colours of the classes.
    """
    palette = np.array(palette, np.uint8)
    rows = {
        row: {title: tensor.cpu() for title, tensor in shown.items()}
        for row, shown in step.pictures.items()
    }
    count = min(len(tensor) for shown in rows.values() for tensor in shown.values())
    for i in range(count):
        panels = [
            [_panel(f'{row}: {title}', tensor[i], norm, palette) for title, tensor in shown.items()]
            for row, shown in rows.items()
        ]
        path = debug_image(step.work_dir, step.iteration + 1, step.rank * count + i)
        mmcv.imwrite(draw_panels(panels, _PANEL_WIDTH), path)


def debug_image(work_dir, iteration, number):
    """Path of the debug image of an iteration (from 1) and an image of the global batch."""
    return osp.join(work_dir, DEBUG_FOLDER, f'{iteration:06d}_{number}.png')


def _panel(title, tensor, norm, palette):
    """Draw a tensor (C, H, W) as :meth:`Step.show` says; gives the title and a BGR image."""
    if tensor.dtype == torch.int64:
        return title, color_label(tensor[0].numpy(), palette)[..., ::-1]
    tensor = tensor.float().nan_to_num()
    if len(tensor) == 1:
        grey = 255 * tensor.clamp(0, 1)
        return f'{title}, max {tensor.max():.3f}', grey.expand(3, -1, -1).permute(1, 2, 0).numpy()
    mean, std = np.array(norm['mean']), np.array(norm['std'])
    pixels = mmcv.imdenormalize(tensor.permute(1, 2, 0).numpy(), mean, std, norm['to_rgb'])
    return title, pixels.clip(0, 255)
