"""Predicting train ids: of a batch of test samples, or of a single image file."""

import numpy as np
import torch

from mmseg.datasets.pipelines import Compose
from mmseg.datasets.run_loader import collate, to_device


@torch.no_grad()
def predict_labels(segmentor, img, img_metas):
    """Predict a batch, as MMSegmentation's ``segmentor(return_loss=False, rescale=True)`` does.

    Of a single version of the images no softmax is computed: the largest logit is the largest
    probability. Where rounding makes two probabilities equal that are not, MMSegmentation takes the
    first of them and this the larger. Averages over versions (aug-test) are of probabilities.

    Args:
        segmentor (EncoderDecoder): In eval mode. What a subclass makes of ``encode_decode``,
            ``whole_inference`` and ``slide_inference`` is used.
        img (list[Tensor]): Per version of the images (N, 3, h, w), on the segmentor's device.
        img_metas (list[list[dict]]): Per version N of them, with equal shapes.

    Returns:
        np.ndarray: Train ids (N, H, W) uint8 at the images' original size.
    """
    meta = img_metas[0][0]
    if len(img) > 1 or meta['flip'] or segmentor.out_channels == 1:
        labels = segmentor(return_loss=False, rescale=True, img=img, img_metas=img_metas)
        return np.stack(labels).astype(np.uint8)
    slide = segmentor.test_cfg.mode == 'slide'
    infer = segmentor.slide_inference if slide else segmentor.whole_inference
    logits = infer(img[0], img_metas[0], rescale=True)
    # On a CPU `argmax` takes thrice as long.
    return logits.max(dim=1).indices.to(torch.uint8).cpu().numpy()


def predict_image(segmentor, cfg, path):
    """Segment an image file as the config's test pipeline would.

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
    return predict_labels(segmentor, **batch)[0]
