"""Predicting a data set and counting its IoU."""

import glob
import json
import os.path as osp

import numpy as np
import torch
from mmcv.runner import get_dist_info
from mmcv.utils import print_log

from mmseg.datasets.dataloader import build_loader, to_device
from mmseg.datasets.file_errors import EXPLAINED
from mmseg.datasets.synthia import CLASSES_13, CLASSES_16
from mmseg.engine.data_sets import labelled_sets
from mmseg.engine.logs import EVALUATION_FOLDER, evaluated_sets, metric_key
from mmseg.engine.predict import (
    TestSamples,
    collate_equal,
    predict_labels,
    predict_with_confidence,
)
from mmseg.utils.collective import sum_over_ranks
from mmseg.utils.files import write_text
from mmseg.utils.user_error import FileError, UserError


def predict(segmentor, dataset, device, **options):
    """As :func:`predict_with_confidences`, without confidences: index, prediction, ground truth."""
    for index, label, gt, _ in predict_with_confidences(
        segmentor, dataset, device, with_confidences=False, **options
    ):
        yield index, label, gt


def predict_with_confidences(
    segmentor, dataset, device, num_workers=0, batch_size=1, with_gt=False, with_confidences=True
):
    """Predict the images of a data set in order; each rank predicts its part of them.

    Args:
        segmentor (nn.Module): Set to eval mode here.
        dataset (CustomDataset): With a test pipeline.
        batch_size (int): The most images at once; only neighbours of equal size are.

    Yields:
        tuple[int, np.ndarray, np.ndarray | None, Tensor | None]: Index, prediction and ground
        truth: train ids (H, W) uint8 at the image's original size; and the probabilities (H, W) of
        what is predicted, on the device.
    """
    segmentor.eval()
    rank, world_size = get_dist_info()
    own = range(rank, len(dataset), world_size)
    indices = [list(own[i : i + batch_size]) for i in range(0, len(own), batch_size)]
    samples = TestSamples(dataset, with_gt)
    for batches in build_loader(samples, indices, num_workers, device, collate_equal):
        for batch in batches:
            inputs = segmentor, to_device(batch['img'], device), batch['img_metas']
            if with_confidences:
                labels, confidences = predict_with_confidence(*inputs)
            else:
                labels = predict_labels(*inputs)
                confidences = [None] * len(labels)
            yield from zip(batch['index'], labels, batch['gt'], confidences, strict=True)


def loading(cfg, split):
    """Return ``num_workers`` and ``batch_size`` for :func:`predict`, by default one image at once.

    ``data.val_dataloader`` or ``data.test_dataloader`` (``split``) may say more images; the logits
    change in the last bits then.
    """
    given = cfg.data.get(f'{split}_dataloader') or {}
    batch_size = given.get('samples_per_gpu', 1)
    if not (isinstance(batch_size, int) and batch_size > 0):
        raise UserError(
            f'data.{split}_dataloader.samples_per_gpu is {batch_size!r}; give a number from 1.'
        )
    num_workers = given.get('workers_per_gpu', cfg.data.workers_per_gpu)
    return dict(num_workers=num_workers, batch_size=batch_size)


def count_areas(dataset, label, gt, index):
    """Count the pixels of each true class by predicted class; 20 times as fast as ``pre_eval``.

    Args:
        label, gt (np.ndarray): Predicted and true train ids (H, W) uint8.

    Returns:
        Tensor: (K + 1, K + 1) int64, true class by predicted class. The last row and column are of
        ids that are neither a class nor ignored.
    """
    if gt.shape != label.shape:
        info = dataset.img_infos[index]
        raise FileError(
            f'{osp.join(dataset.ann_dir, info["ann"]["seg_map"])} has the shape {gt.shape}, but '
            f'its image {info["filename"]} {label.shape}; {EXPLAINED}.'
        )
    pairs = np.bincount((gt.astype(np.uint16) * 256 + label).ravel(), minlength=256 * 256)
    pairs = pairs.reshape(256, 256)
    pairs[dataset.ignore_index] = 0
    count = len(dataset.CLASSES)
    for table in (pairs, pairs.T):
        table[count] = table[count:].sum(0)
    return torch.from_numpy(pairs[: count + 1, : count + 1].copy())


def sum_areas(dataset, counts):
    """Add up what :func:`count_areas` gave, over images and ranks; all ranks must call this."""
    size = len(dataset.CLASSES) + 1
    return sum_over_ranks(sum(counts, torch.zeros(size, size, dtype=torch.int64)))


def areas_of_classes(areas):
    """Return pixels per class of intersection, union, prediction and ground truth, (K,) float64."""
    pixels = areas.double()
    both, true, predicted = (a[:-1] for a in (pixels.diagonal(), pixels.sum(1), pixels.sum(0)))
    return both, true + predicted - both, predicted, true


def frequency_weighted_iou(areas):
    """Mean of the classes' IoU, weighted by their true pixels; absent classes have none."""
    both, union, _, true = areas_of_classes(areas)
    iou = torch.where(true > 0, both / union.clamp(min=1), 0)
    return float((true * iou).sum() / true.sum())


def write_confusion(path, datasets, areas, iteration, **more):
    """Write ``iter``, ``classes`` and ``confusion`` (true class by predicted class) as JSON.

    Also the ``label_table`` of a data set that has one. Named data sets have all but ``iter`` by
    their names, in ``sets``.

    Args:
        datasets (dict[str, CustomDataset]): By name, '' of the only one.
        areas (dict[str, Tensor]): What :func:`sum_areas` gave, by name.
        more (dict): Further entries, beside ``iter``.
    """
    sets = {}
    for name, dataset in datasets.items():
        confusion = areas[name][:-1, :-1].tolist()
        sets[name] = dict(classes=list(dataset.CLASSES), confusion=confusion)
        if hasattr(dataset, 'label_table'):
            sets[name]['label_table'] = dataset.label_table
    content = dict(iter=iteration, **more, **(sets[''] if '' in sets else dict(sets=sets)))
    write_text(path, json.dumps(content) + '\n')


def evaluate(dataset, areas, logger, metric='mIoU', from_synthia=False):
    """Compute, print and return the metrics (name to float in [0, 1]; absent classes are NaN).

    As MMSegmentation's ``evaluate``, from what :func:`sum_areas` gave. ``from_synthia`` adds the
    means over Synthia's 16 and 13 classes.
    """
    if hasattr(dataset, 'label_table'):
        table = f'{type(dataset).__name__}: ground truth by label_table={dataset.label_table!r}'
        print_log(f'{table}; results of other tables are not comparable.', logger)
    found = dataset.evaluate([areas_of_classes(areas)], metric=metric, logger=logger)
    # numpy scalars would make the checkpoint that they are stored in unloadable.
    found = {name: float(value) for name, value in found.items()}
    if from_synthia and 'mIoU' in found:
        for name, classes in (('mIoU16', CLASSES_16), ('mIoU13', CLASSES_13)):
            found[name] = float(np.nanmean([found[f'IoU.{c}'] for c in classes]))
    return found


def join_metrics(found):
    """Join the metrics of data sets, name → metrics, as they are logged: ``acdc/fog/mIoU``.

    ``mIoU``, and every other metric of all classes, is also there as the mean over the data sets.
    """
    joined = {
        metric_key(name, metric): value
        for name, metrics in found.items()
        for metric, value in metrics.items()
    }
    first, *_ = found.values()
    for metric in first:
        if '.' not in metric:
            joined[metric] = float(np.mean([metrics[metric] for metrics in found.values()]))
    return joined


def is_from_synthia(cfg):
    """Whether a config trains on Synthia alone with all its classes, 16 of Cityscapes'."""
    sources = labelled_sets(cfg.data.get('train') or {}).values()
    return bool(sources) and all(
        source.get('type') == 'SynthiaDataset' and source.get('classes') is None
        for source in sources
    )


def found_classes(work_dir, dataset_name=''):
    """Return the names of classes of which any evaluation of a run has found a pixel.

    ``dataset_name`` is of one of several data sets.
    """
    found = set()
    for path in glob.glob(osp.join(glob.escape(work_dir), EVALUATION_FOLDER, 'iter_*.json')):
        with open(path, encoding='utf-8') as file:
            content = evaluated_sets(json.load(file))[dataset_name]
        rows = enumerate(zip(content['classes'], content['confusion'], strict=True))
        found.update(name for number, (name, row) in rows if row[number])
    return found
