"""Predicting a data set and counting its IoU."""

import os.path as osp

import numpy as np
import torch

from mmseg.datasets.run_loader import build_loader, to_device
from mmseg.datasets.synthia import CLASSES_13, CLASSES_16
from mmseg.utils.user_error import UserError


def batches_in_order(count, batch_size):
    """Batches of the indices 0 .. count - 1 in order."""
    return [list(range(i, min(i + batch_size, count))) for i in range(0, count, batch_size)]


@torch.no_grad()
def predict(segmentor, dataset, device, num_workers=0):
    """Predict every image of a data set, in order.

    Args:
        segmentor (nn.Module): Set to eval mode here.
        dataset (CustomDataset): With a test pipeline.
        device (torch.device): Of the segmentor.
        num_workers (int): Loading processes.

    Yields:
        tuple[int, np.ndarray]: Index and train ids (H, W) uint8 at the image's original size.
    """
    segmentor.eval()
    batches = batches_in_order(len(dataset), batch_size=1)
    loader = build_loader(dataset, batches, num_workers, device)
    for indices, batch in zip(batches, loader, strict=True):
        labels = segmentor(return_loss=False, rescale=True, **to_device(batch, device))
        for index, label in zip(indices, labels, strict=True):
            yield index, label.astype(np.uint8)


def count_areas(dataset, label, index):
    """Compare a predicted label with the true one, as ``dataset.pre_eval``.

    Args:
        dataset (CustomDataset): Has the true label.
        label (np.ndarray): Predicted train ids (H, W).
        index (int): Of the image.

    Returns:
        list[tuple[Tensor]]: One entry: pixels per class in the intersection, the union, the
        prediction and the true label.

    Raises:
        UserError: If the true label is of another size.
    """
    try:
        return dataset.pre_eval(label, index)
    except IndexError:
        true_shape = dataset.get_gt_seg_map_by_idx(index).shape
        if true_shape == label.shape:
            raise
        info = dataset.img_infos[index]
        raise UserError(
            f'{osp.join(dataset.ann_dir, info["ann"]["seg_map"])} has the shape {true_shape}, but '
            f'its image {info["filename"]} {label.shape}. Replace the one that is wrong.'
        ) from None


def evaluate(dataset, counts, logger, metric='mIoU', from_synthia=False):
    """Compute, print and return the metrics of a data set.

    Args:
        dataset (CustomDataset): Prints its per-class table.
        counts (list): What :func:`count_areas` gave for every image.
        logger (logging.Logger | str): ``'silent'`` prints nothing, None prints.
        metric (str | list[str]): As in MMSegmentation.
        from_synthia (bool): Add the means over Synthia's 16 and 13 classes.

    Returns:
        dict[str, float]: In [0, 1]; classes that do not occur are NaN.
    """
    found = dataset.evaluate(counts, metric=metric, logger=logger)
    # numpy scalars would make the checkpoint that they are stored in unloadable.
    found = {name: float(value) for name, value in found.items()}
    if from_synthia and 'mIoU' in found:
        for name, classes in (('mIoU16', CLASSES_16), ('mIoU13', CLASSES_13)):
            found[name] = float(np.nanmean([found[f'IoU.{c}'] for c in classes]))
    return found


def is_from_synthia(cfg):
    """Whether a config trains on Synthia, which lacks 3 of Cityscapes' classes."""
    train = cfg.data.get('train') or {}
    source = train.get('source', train)
    return source.get('type') == 'SynthiaDataset'
