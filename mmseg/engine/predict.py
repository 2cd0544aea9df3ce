"""From a network to predictions: for batches of test samples, and for images of any size."""

from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import numpy as np
import torch
from torch.utils.data import Dataset

from mmseg.apis.inference import LoadImage
from mmseg.datasets.dataloader import collate, to_device
from mmseg.datasets.pipelines import Compose
from mmseg.engine.data_sets import first_named
from mmseg.models.windows import MIN_INPUT_SIZE

# MMSegmentation predicts a batch by the meta of its first image.
_EQUAL_IN_A_BATCH = ('ori_shape', 'img_shape', 'pad_shape', 'flip', 'flip_direction')


@torch.no_grad()
def predict_labels(segmentor, img, img_metas):
    """Predict a batch, as MMSegmentation's ``segmentor(return_loss=False, rescale=True)`` does.

    A single view of the images needs no softmax; several (aug-test) are averaged as probabilities.

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
    logits = _logits(segmentor, img[0], img_metas[0])
    if logits.shape[1] == 1:  # HRDA's attention, a grey image
        return (255 * logits[:, 0]).round().to(torch.uint8).cpu().numpy()
    labels = logits.max(dim=1).indices  # on a CPU `argmax` takes three times as long
    return labels.to(torch.uint8).cpu().numpy()


def _logits(segmentor, img, img_metas):
    slide = segmentor.test_cfg.mode == 'slide'
    infer = segmentor.slide_inference if slide else segmentor.whole_inference
    return infer(img, img_metas, rescale=True)


@torch.no_grad()
def predict_with_confidence(segmentor, img, img_metas):
    """Predict as :func:`predict_labels`, and return the probability of the predicted class, too.

    Returns:
        tuple[np.ndarray, Tensor]: Train ids (N, H, W) uint8, and float probabilities (N, H, W) on
        the segmentor's device.
    """
    if len(img) == 1 and not img_metas[0][0]['flip'] and segmentor.out_channels > 1:
        logits = _logits(segmentor, img[0], img_metas[0])
        largest, labels = logits.max(dim=1, keepdim=True)
        # The largest of the softmax, without the others.
        confidence = logits.sub_(largest).exp_().sum(dim=1).reciprocal_()
        return labels[:, 0].to(torch.uint8).cpu().numpy(), confidence
    # One view at a time, as many of them need much memory.
    probabilities = sum(
        segmentor.inference(*view, rescale=True) for view in zip(img, img_metas, strict=True)
    ) / len(img)
    if segmentor.out_channels == 1:  # the probability of class 1
        labels = probabilities[:, 0] > segmentor.decode_head.threshold
        confidence = torch.where(labels, probabilities[:, 0], 1 - probabilities[:, 0])
    else:
        confidence, labels = probabilities.max(dim=1)
    return labels.to(torch.uint8).cpu().numpy(), confidence


def predict_images(segmentor, images, with_confidence=False):
    """Predict (name, image) pairs of any size, while the next ones are read in a thread.

    Yields:
        Name, image (H, W, 3) BGR uint8, train ids (H, W) uint8, and their probabilities or None.
    """
    device = next(segmentor.parameters()).device
    pipeline = first_named(segmentor.cfg.data.test).pipeline
    for name, image, batch in _prefetch(_prepared(images, pipeline)):
        inputs = segmentor, to_device(batch['img'], device), batch['img_metas']
        if with_confidence:
            labels, confidences = predict_with_confidence(*inputs)
        else:
            labels, confidences = predict_labels(*inputs), [None]
        confidence = None if confidences[0] is None else confidences[0].cpu().numpy()
        yield name, image, labels[0], confidence


def _prefetch(iterable):
    """Compute the next item in a thread while the current one is used."""
    iterator = iter(iterable)
    with ThreadPoolExecutor(max_workers=1) as thread:
        upcoming = thread.submit(next, iterator, None)
        while (item := upcoming.result()) is not None:
            upcoming = thread.submit(next, iterator, None)
            yield item


def _prepared(images, pipeline):
    load, *transforms = pipeline
    dtype = np.float32 if load.get('to_float32') else np.uint8
    prepare = Compose([LoadImage(), *transforms])
    for name, image in images:
        sample = prepare(dict(img=image.astype(dtype)))
        sample['img'] = [_pad_small(img) for img in sample['img']]
        yield name, image, collate([sample])


def _pad_small(img):
    """Pad a small network input (3, h, w); MMSegmentation crops predictions to ``img_shape``."""
    below, right = (max(0, MIN_INPUT_SIZE - side) for side in img.shape[-2:])
    return torch.nn.functional.pad(img[None], (0, right, 0, below), mode='replicate')[0]


class TestSamples(Dataset):
    """The samples of a data set in test mode, each with its index and, if wanted, ground truth."""

    __test__ = False  # it is no test of pytest's

    def __init__(self, dataset, with_gt):
        self.dataset = dataset
        self.with_gt = with_gt

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        gt = None
        if self.with_gt:
            gt = self.dataset.get_gt_seg_map_by_idx(index).astype(np.uint8, copy=False)
            if self.dataset.reduce_zero_label:  # 0 wraps around to 255, and both mean no class
                gt = gt - 1
                gt[gt == 254] = 255
        return dict(self.dataset[index], index=index, gt=gt)


def collate_equal(samples):
    """Batch consecutive :class:`TestSamples` of equal sizes: a list of batches, in their order."""

    def sizes(sample):
        return [[meta.data.get(key) for key in _EQUAL_IN_A_BATCH] for meta in sample['img_metas']]

    return [collate(list(group)) for _, group in groupby(samples, sizes)]
