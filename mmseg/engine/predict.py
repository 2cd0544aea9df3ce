"""From a network to predictions: for batches of test samples, and for images of any size."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice

import numpy as np
import torch
from torch.utils.data import Dataset

from mmseg.apis.inference import LoadImage
from mmseg.datasets.pipelines import Compose
from mmseg.datasets.run_loader import collate, to_device

# MMSegmentation predicts a batch by the meta of its first image.
_EQUAL_IN_A_BATCH = ('ori_shape', 'img_shape', 'pad_shape', 'flip', 'flip_direction')
_MIN_INPUT_SIZE = 32  # pixels; MiT cannot take less


@torch.no_grad()
def predict_labels(segmentor, img, img_metas):
    """Predict a batch, as MMSegmentation's ``segmentor(return_loss=False, rescale=True)`` does.

    A single view of the images needs no softmax. Where rounding makes two probabilities equal whose
    logits differ, MMSegmentation takes the first class and this the one with the larger logit.
    Several views (aug-test) are averaged as probabilities.

    Args:
        segmentor (EncoderDecoder): In eval mode.
        img (list[Tensor]): Per view of the images (N, 3, h, w), on the segmentor's device.
        img_metas (list[list[dict]]): Per view N of them, with equal shapes.

    Returns:
        np.ndarray: Train ids (N, H, W) uint8 at the images' original size.
    """
    if len(img) > 1 or img_metas[0][0]['flip'] or segmentor.out_channels == 1:
        labels = segmentor(return_loss=False, rescale=True, img=img, img_metas=img_metas)
        return np.stack(labels).astype(np.uint8)
    slide = segmentor.test_cfg.mode == 'slide'
    infer = segmentor.slide_inference if slide else segmentor.whole_inference
    logits = infer(img[0], img_metas[0], rescale=True)
    labels = logits.max(dim=1).indices  # on a CPU `argmax` takes three times as long
    return labels.to(torch.uint8).cpu().numpy()


@torch.no_grad()
def predict_with_confidence(segmentor, img, img_metas):
    """Predict a batch as :func:`predict_labels`, with the probability of the predicted class.

    Returns:
        tuple[np.ndarray, np.ndarray]: Train ids (N, H, W) uint8, and their probabilities, float32.
    """
    views = [segmentor.inference(*view, rescale=True) for view in zip(img, img_metas, strict=True)]
    probabilities = sum(views) / len(views)
    if segmentor.out_channels == 1:  # the probability of class 1
        labels = probabilities[:, 0] > segmentor.decode_head.threshold
        confidence = torch.where(labels, probabilities[:, 0], 1 - probabilities[:, 0])
    else:
        confidence, labels = probabilities.max(dim=1)
    return labels.to(torch.uint8).cpu().numpy(), confidence.cpu().numpy()


def predict_images(
    segmentor,
    images: Iterable[tuple[str, np.ndarray]],
    batch_size: int = 1,
    with_confidence: bool = False,
) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray | None]]:
    """Predict images of any size in their order, while the next ones are read and prepared.

    Batches change the logits in the last bits, so a pixel between two classes may differ.

    Args:
        segmentor (EncoderDecoder): In eval mode, with its config as ``cfg``.
        images: Names and images (H, W, 3) BGR uint8. Iterated in a thread.
        batch_size: Largest number of images at once; only neighbours of equal size are.
        with_confidence: Compute probabilities, too.

    Yields:
        Name, image, train ids (H, W) uint8, and their probabilities (H, W) float32 or None.
    """
    device = next(segmentor.parameters()).device
    for batch in _prefetch(_batches(images, segmentor.cfg.data.test.pipeline, batch_size)):
        inputs = segmentor, to_device(batch['img'], device), batch['img_metas']
        if with_confidence:
            labels, confidences = predict_with_confidence(*inputs)
        else:
            labels, confidences = predict_labels(*inputs), [None] * len(batch['name'])
        yield from zip(batch['name'], batch['image'], labels, confidences, strict=True)


def _prefetch(iterable):
    """Compute the next item in a thread while the current one is used."""
    iterator = iter(iterable)
    with ThreadPoolExecutor(max_workers=1) as thread:
        upcoming = thread.submit(next, iterator, None)
        while (item := upcoming.result()) is not None:
            upcoming = thread.submit(next, iterator, None)
            yield item


def _batches(images, pipeline, batch_size):
    load, *transforms = pipeline
    dtype = np.float32 if load.get('to_float32') else np.uint8
    prepare, images = Compose([LoadImage(), *transforms]), iter(images)
    while group := list(islice(images, batch_size)):
        samples = []
        for name, image in group:
            sample = prepare(dict(img=image.astype(dtype)))
            sample['img'] = [_pad_small(img) for img in sample['img']]
            samples.append(dict(sample, name=name, image=image))
        yield from collate_equal(samples)


def _pad_small(img):
    """Pad a small network input (3, h, w); MMSegmentation crops predictions to ``img_shape``."""
    below, right = (max(0, _MIN_INPUT_SIZE - side) for side in img.shape[-2:])
    return torch.nn.functional.pad(img[None], (0, right, 0, below), mode='replicate')[0]


class TestSamples(Dataset):
    """The samples of a data set in test mode, each with its index and ground truth.

    Args:
        dataset (CustomDataset): With a test pipeline.
        with_truth (bool): Without, ``truth`` is None and no label need exist.
    """

    __test__ = False  # it is no test of pytest's

    def __init__(self, dataset, with_truth):
        self.dataset = dataset
        self.with_truth = with_truth

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        truth = None
        if self.with_truth:
            truth = self.dataset.get_gt_seg_map_by_idx(index).astype(np.uint8, copy=False)
            if self.dataset.reduce_zero_label:  # 0 wraps around to 255, and both mean no class
                truth = truth - 1
                truth[truth == 254] = 255
        return dict(self.dataset[index], index=index, truth=truth)


def collate_equal(samples):
    """Batch consecutive :class:`TestSamples` of equal sizes: a list of batches, in their order."""
    return [collate(list(group)) for _, group in groupby(samples, _sizes)]


def _sizes(sample):
    return [[meta.data.get(key) for key in _EQUAL_IN_A_BATCH] for meta in sample['img_metas']]
