"""What the training step is measured on: the method of the paper, and a batch of random images."""

import os.path as osp

import torch
from mmcv import Config

from mmseg.models.builder import SEGMENTORS
from tools.benchmarks.model import BASE_CONFIGS, model_config

_NORM = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)


def build_method(encoder, device, with_cp=False):
    """DACS as the paper's last line has it, initialised from seed 0, in training mode."""
    uda = Config.fromfile(osp.join(BASE_CONFIGS, 'uda', 'dacs_a999_fdthings.py')).uda
    uda.debug_img_interval = 0
    torch.manual_seed(0)
    method = SEGMENTORS.build({**uda, 'model': model_config(encoder, with_cp)})
    method.model._dump_init_info = lambda logger_name: None
    method.init_weights()
    return method.to(device).train()


def build_optimizer(method):
    """AdamW over the student, as in the paper."""
    return torch.optim.AdamW(method.model.parameters(), lr=6e-5, weight_decay=0.01)


def random_batch(size, device, batch_size=2):
    """Normalised images of size × size, and a source label in cells of 32 pixels.

    So large cells have a clear majority, and the feature distance finds things.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(2, batch_size, 3, size, size, generator=generator).to(device)
    cells = torch.randint(19, (batch_size, 1, size // 32, size // 32), generator=generator)
    label = cells.repeat_interleave(32, 2).repeat_interleave(32, 3).to(device)
    metas = [dict(img_norm_cfg=_NORM)] * batch_size
    return dict(
        img=images[0],
        img_metas=metas,
        gt_semantic_seg=label,
        target_img=images[1],
        target_img_metas=metas,
    )
