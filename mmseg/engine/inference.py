"""Predicting train ids of a batch of test samples, with their confidence where it is asked for."""

import numpy as np
import torch

from mmseg.datasets.readable import read_image
from mmseg.datasets.run_loader import collate, to_device
from mmseg.engine.picture_pipeline import PicturePipeline
from mmseg.ops import resize

# Logits at the images' size are made for as many classes at once as fit into this: all 19 up to 14
# megapixels. More of them would take 3.6 GB for an image of 8000×6000.
_LOGITS_AT_ONCE = 2**30  # bytes


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
    if _has_versions(segmentor, img, img_metas):
        labels = segmentor(return_loss=False, rescale=True, img=img, img_metas=img_metas)
        return np.stack(labels).astype(np.uint8)
    logits = _logits(segmentor, img[0], img_metas[0])
    return _largest(segmentor, logits, img_metas[0][0])[1].cpu().numpy()


@torch.no_grad()
def predict_with_confidence(segmentor, img, img_metas):
    """Predict a batch as :func:`predict_labels`, with the probability of what is predicted.

    Args:
        segmentor, img, img_metas: As there.

    Returns:
        tuple[np.ndarray, np.ndarray]: Train ids (N, H, W) uint8, and their softmax probabilities
        (N, H, W) float32 in (0, 1]; with a single output channel those of its sigmoid.
    """
    if _has_versions(segmentor, img, img_metas):
        if len(img) > 1:
            probabilities = segmentor.aug_test_logits(img, img_metas)
        else:
            probabilities = segmentor.simple_test_logits(img, img_metas)
        if segmentor.out_channels == 1:
            labels = (probabilities > segmentor.decode_head.threshold)[:, 0]
            certain = np.where(labels, probabilities[:, 0], 1 - probabilities[:, 0])
            return labels.astype(np.uint8), certain
        return probabilities.argmax(1).astype(np.uint8), probabilities.max(1)
    logits, meta = _logits(segmentor, img[0], img_metas[0]), img_metas[0][0]
    largest, labels = _largest(segmentor, logits, meta)
    total = torch.zeros_like(largest)
    for _, part in _at_original_size(segmentor, logits, meta):
        total += part.sub_(largest.unsqueeze(1)).exp_().sum(dim=1)
        del part  # before the next is made
    return labels.cpu().numpy(), total.reciprocal_().cpu().numpy()


def predict_image(segmentor, cfg, path):
    """Segment an image file as the config's test pipeline would.

    Args:
        segmentor (EncoderDecoder): In eval mode.
        cfg (mmcv.Config): Its ``data.test.pipeline`` prepares the image.
        path (str): An existing image of any size and kind.

    Returns:
        np.ndarray: Train ids (H, W) uint8 at the image's size.
    """
    pipeline = PicturePipeline(cfg)
    picture = read_image(path, pipeline.load)
    sample = pipeline(picture, path)
    batch = to_device(collate([sample]), next(segmentor.parameters()).device)
    height, width = picture.shape[:2]
    return predict_labels(segmentor, **batch)[0, :height, :width]


def _has_versions(segmentor, img, img_metas):
    """Whether other things decide than the logits of one version of the images."""
    return len(img) > 1 or img_metas[0][0]['flip'] or segmentor.out_channels == 1


def _logits(segmentor, img, img_metas):
    """Logits (N, C, h, w) at the network's input size, without its padding."""
    slide = segmentor.test_cfg.mode == 'slide'
    infer = segmentor.slide_inference if slide else segmentor.whole_inference
    height, width = img_metas[0]['img_shape'][:2]
    return infer(img, img_metas, rescale=False)[:, :, :height, :width]


def _at_original_size(segmentor, logits, meta):
    """Enlarge logits as ``rescale=True`` does, a few classes at a time if they are too large.

    Yields:
        tuple[int, Tensor]: The first class, and its and some following ones' logits (N, c, H, W).
    """
    size = meta['ori_shape'][:2]
    class_bytes = len(logits) * size[0] * size[1] * logits.element_size()
    count = max(1, _LOGITS_AT_ONCE // class_bytes)
    for first in range(0, logits.shape[1], count):
        part = logits[:, first : first + count]
        yield (
            first,
            resize(
                part, size=size, mode='bilinear', align_corners=segmentor.align_corners,
                warning=False,
            ),
        )  # fmt: skip


def _largest(segmentor, logits, meta):
    """The largest logit of each pixel at the original size, (N, H, W), and its class, uint8."""
    largest = labels = None
    for first, part in _at_original_size(segmentor, logits, meta):
        # On a CPU `argmax` takes thrice as long.
        values, indices = part.max(dim=1)
        indices = indices.to(torch.uint8) + first
        if largest is None:
            largest, labels = values, indices
        else:
            labels = torch.where(values > largest, indices, labels)
            largest = torch.maximum(largest, values)
        del part, values, indices  # before the next are made
    return largest, labels
