"""Measures the prediction of an image against MMSegmentation's own, and an evaluation's parts."""

import os.path as osp
import statistics
from functools import partial
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from mmcv import Config

from mmseg.datasets import CityscapesDataset
from mmseg.datasets.run_loader import to_device
from mmseg.datasets.test_samples import TestSamples, collate_equal
from mmseg.engine.evaluation import count_areas
from mmseg.engine.predict import predict_labels
from mmseg.models import build_segmentor
from tools.benchmarks.model import BASE_CONFIGS, model_config
from tools.benchmarks.timing import times_faster

INPUT_SIZE = (512, 1024)  # of Cityscapes' images, half as large as they are


def measure_inference(clock, rounds, encoder, size=INPUT_SIZE):
    """Time the prediction of one image from memory; both ways take turns.

    Args:
        clock (Clock): of the device.
        rounds (int): predictions that count, of each.
        encoder (str): ``mit_b0`` to ``mit_b5``.
        size (tuple[int]): height and width of the network's input; the labels are twice as large.

    Returns:
        dict: for JSON; ``ours`` and ``mmsegmentation`` with times, the median of their ratios, and
        the share of the pixels that both predict alike.
    """
    segmentor = _segmentor(encoder, clock.device)
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    shape, enlarged = (*size, 3), (2 * size[0], 2 * size[1], 3)
    meta = dict(ori_shape=enlarged, img_shape=shape, pad_shape=shape, flip=False)
    batch = dict(img=[image.to(clock.device)], img_metas=[[meta]])
    candidates = {
        'ours': partial(predict_labels, segmentor, **batch),
        'mmsegmentation': partial(_mmsegmentations_labels, segmentor, batch),
    }
    labels, others = (predict() for predict in candidates.values())
    timings = clock.take_turns(candidates, rounds)
    return {
        'encoder': encoder,
        'size': list(size),
        **{name: timing.as_dict() for name, timing in timings.items()},
        'times_faster': times_faster(timings['ours'], timings['mmsegmentation']),
        'equal_pixels': float((labels == others).mean()),
    }


def measure_evaluation(clock, rounds, encoder, size=INPUT_SIZE):
    """Time the parts of an evaluation in one process, image by image.

    Args:
        clock (Clock): of the device.
        rounds (int): images that count; one more warms up.
        encoder (str): ``mit_b0`` to ``mit_b5``.
        size (tuple[int]): height and width of the network's input; the files are twice as large.

    Returns:
        dict: for JSON; for each part the median of its ``ms`` per image and its ``share`` of all
        parts, and the milliseconds that MMSegmentation takes to count.
    """
    segmentor = _segmentor(encoder, clock.device)
    with TemporaryDirectory() as folder:
        _write_pictures(folder, rounds + 1, 2 * size[0], 2 * size[1])
        dataset = _dataset(folder, size)
        images = [_parts(clock, segmentor, dataset, i) for i in range(rounds + 1)][1:]
    median = {name: statistics.median(image[name] for image in images) for name in images[0]}
    theirs = median.pop('counting of MMSegmentation')
    total = sum(median.values())
    return {
        'encoder': encoder,
        'size': list(size),
        'parts': {
            name: {'ms': 1e3 * value, 'share': value / total} for name, value in median.items()
        },
        'mmsegmentation_counting_ms': 1e3 * theirs,
    }


def _parts(clock, segmentor, dataset, index):
    """Seconds of the parts of evaluating one image."""
    seconds, values = {}, {}

    def timed(name, work):
        seconds[name] = clock.seconds(lambda: values.update({name: work()}))
        return values[name]

    samples = TestSamples(dataset, with_truth=True)
    (batch,) = timed('loading', lambda: collate_equal([samples[index]]))
    img, metas = (
        timed('to the device', lambda: to_device(batch['img'], clock.device)),
        batch['img_metas'],
    )
    encode_decode = segmentor.encode_decode
    segmentor.encode_decode = lambda *args: timed('network', lambda: encode_decode(*args))
    try:
        label = timed('enlarging and argmax', lambda: predict_labels(segmentor, img, metas))[0]
    finally:
        del segmentor.encode_decode
    seconds['enlarging and argmax'] -= seconds['network']
    truth = batch['truth'][0]
    timed('counting', lambda: count_areas(dataset, label, truth, index))
    # MMSegmentation reads the label in the same step, and its predictions are int64.
    timed('counting of MMSegmentation', lambda: dataset.pre_eval(label.astype(np.int64), index))
    return seconds


@torch.no_grad()
def _mmsegmentations_labels(segmentor, batch):
    return segmentor(return_loss=False, rescale=True, **batch)


def _segmentor(encoder, device):
    """The network in eval mode."""
    torch.manual_seed(0)
    segmentor = build_segmentor(model_config(encoder)).to(device).eval()
    # Logits as far apart as those of a trained network.
    segmentor.decode_head.conv_seg.weight.data.normal_()
    return segmentor


def _write_pictures(folder, count, height, width):
    """Pairs of soft blotches and labels of 19 classes in cells."""
    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = generator.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
        cells = generator.integers(0, 19, (height // 32, width // 32), np.uint8)
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        label = cv2.resize(cells, (width, height), interpolation=cv2.INTER_NEAREST)
        for name, picture in ((f'{number}_image.png', image), (f'{number}_label.png', label)):
            assert cv2.imwrite(osp.join(folder, name), picture)


def _dataset(folder, size):
    """The pictures with Cityscapes' test pipeline."""
    file = osp.join(BASE_CONFIGS, 'datasets', 'uda_gta_to_cityscapes_512x512.py')
    pipeline = Config.fromfile(file).data.test.pipeline
    pipeline[1].img_scale = size[::-1]
    return CityscapesDataset(
        pipeline=pipeline, img_dir=folder, ann_dir=folder, img_suffix='_image.png',
        seg_map_suffix='_label.png', test_mode=True,
    )  # fmt: skip
