"""Debug images: what the method saw, labelled, mixed and weighted in one iteration."""

import os.path as osp

import mmcv
import numpy as np

from mmseg.utils.drawing import color_label, draw_panels

DEBUG_FOLDER = 'class_mix_debug'  # in the run's
_PANEL_WIDTH = 320


def save_debug_images(step, img_norm_cfg, palette, **tensors):
    """Write ``class_mix_debug/{iteration + 1:06d}_{image}.png`` for each image of the batch.

    ``tensors`` are the batch's, named as in :func:`_panels`. Without ``step.work_dir`` nothing is
    written.
    """
    if step.work_dir is None:
        return
    count = len(tensors['source_img'])
    for i in range(count):
        image = {k: None if v is None else v[i].detach().cpu() for k, v in tensors.items()}
        panels = _panels(image, img_norm_cfg, np.array(palette, np.uint8))
        image = draw_panels([panels[:5], panels[5:]], _PANEL_WIDTH)
        name = f'{step.iteration + 1:06d}_{step.rank * count + i}.png'
        mmcv.imwrite(image, osp.join(step.work_dir, DEBUG_FOLDER, name))


def _panels(image, norm, palette):
    """Ten (title, BGR image) pairs, two rows of five."""

    def photo(name):
        pixels = mmcv.imdenormalize(
            image[name].permute(1, 2, 0).numpy(),
            np.array(norm['mean']),
            np.array(norm['std']),
            to_bgr=norm['to_rgb'],
        )
        return np.clip(pixels, 0, 255).astype(np.uint8)

    def label(name):
        return color_label(image[name][0].numpy(), palette)[..., ::-1]

    def grey(name):
        return np.repeat((255 * image[name].float().numpy().clip(0, 1))[0, ..., None], 3, axis=2)

    height, width = image['weight'].shape[1:]
    empty = np.full((height, width, 3), 255)
    fd = image['fd_label']
    return [
        ('Source image', photo('source_img')),
        ('Source label', label('source_label')),
        ('Mix mask (white = source)', grey('mix_mask')),
        (f'Pseudo-label weight, max {float(image["weight"].max()):.3f}', grey('weight')),
        ('FD label (things count)' if fd is not None else 'FD: off or all positions',
         label('fd_label') if fd is not None else empty),
        ('Target image', photo('target_img')),
        ('Pseudo-label', label('pseudo_label')),
        ('Mixed image', photo('mixed_img')),
        ('Mixed label', label('mixed_label')),
        ('FD mask', grey('fd_mask') if image['fd_mask'] is not None else empty),
    ]  # fmt: skip
