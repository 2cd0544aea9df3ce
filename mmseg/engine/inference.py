"""Predicting a single image file as the config's test pipeline would."""

import numpy as np
import torch

from mmseg.datasets.pipelines import Compose
from mmseg.datasets.run_loader import collate, to_device


@torch.no_grad()
def predict_image(segmentor, cfg, path):
    """Segment an image file.

    Args:
        segmentor (EncoderDecoder): In eval mode.
        cfg (mmcv.Config): Its ``data.test.pipeline`` prepares the image.
        path (str): An existing image of any size.

    Returns:
        np.ndarray: Train ids (H, W) uint8 at the image's size.
    """
    pipeline = Compose(cfg.data.test.pipeline)
    sample = pipeline(dict(img_info=dict(filename=path), img_prefix=None))
    batch = to_device(collate([sample]), next(segmentor.parameters()).device)
    return segmentor(return_loss=False, rescale=True, **batch)[0].astype(np.uint8)
