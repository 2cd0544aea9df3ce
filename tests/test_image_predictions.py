"""Predictions of images in memory: those of the files, whatever their size and batch."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from mmseg.datasets.dataloader import collate
from mmseg.datasets.pipelines import Compose
from mmseg.engine.predict import predict_images, predict_labels
from mmseg.engine.trained import load_trained
from mmseg.utils.user_error import UserError
from tests.tiny_runs import only, predict_image

pytestmark = pytest.mark.usefixtures('one_thread')

CPU = torch.device('cpu')
VAL = 'data/street_scenes/cityscapes/leftImg8bit/val/*/*_00000{}_*.png'


@pytest.fixture
def segmentor(trained_run):
    """Of the shared run; its logits are drawn apart, as those of a longer training are."""
    segmentor = load_trained(None, trained_run.checkpoint, CPU)
    segmentor.decode_head.conv_seg.weight.data.mul_(20)
    return segmentor


def batch_of(segmentor, *numbers):
    pipeline = Compose(segmentor.cfg.data.test.pipeline)
    files = [only(VAL.format(number)) for number in numbers]
    return collate([pipeline(dict(img_info=dict(filename=f), img_prefix=None)) for f in files])


def picture(number, size=(256, 512)):
    return cv2.resize(cv2.imread(only(VAL.format(number))), size[::-1])


def aug_test(segmentor):
    """Let the test pipeline average two scales and mirror images."""
    segmentor.cfg.data.test.pipeline[1].update(img_ratios=[0.5, 1.0], flip=True)


@pytest.mark.parametrize('averaged', [False, True])
def test_labels_are_of_the_largest_probability(segmentor, averaged):
    if averaged:
        aug_test(segmentor)
    batch = batch_of(segmentor, 0, 1)
    with torch.no_grad():
        logits = segmentor.aug_test_logits if averaged else segmentor.simple_test_logits
        probabilities = logits(**batch)
    labels = predict_labels(segmentor, **batch)
    np.testing.assert_array_equal(labels, probabilities.argmax(1))
    assert len(np.unique(labels)) > 4


SLIDE = dict(mode='slide', crop_size=(96, 96), stride=(64, 64))


@pytest.mark.parametrize('mode', [None, SLIDE], ids=['whole', 'slide'])
@pytest.mark.parametrize('size', [(1, 1), (1, 400), (400, 1), (3, 5), (77, 123), (20, 600)])
def test_any_size(segmentor, size, mode):
    if mode:
        segmentor.test_cfg = SimpleNamespace(**mode)
    image = picture(0, size)
    ((_, _, label, _),) = predict_images(segmentor, [('', image)])
    assert label.shape == size


def test_images_that_are_not_resized_may_be_small(segmentor):
    pipeline = segmentor.cfg.data.test.pipeline[1]
    pipeline.update(img_scale=None, img_ratios=[1.0])
    ((_, _, label, _),) = predict_images(segmentor, [('name', picture(0, (9, 300)))])
    assert label.shape == (9, 300)


def test_files_are_predicted_as_by_the_whole_pipeline(segmentor):
    path = only(VAL.format(1))
    ((_, _, label, _),) = predict_images(segmentor, [('name', cv2.imread(path))])
    np.testing.assert_array_equal(label, predict_image(segmentor, segmentor.cfg, path))


def test_images_are_read_ahead_and_errors_raised_in_their_place(segmentor):
    read = []

    def images():
        for number in range(3):
            read.append(number)
            yield number, picture(number, (32, 64))
        raise UserError('the fourth')

    predictions = predict_images(segmentor, images())
    assert next(predictions)[0] == 0
    assert [name for name, *_ in (next(predictions), next(predictions))] == [1, 2]
    assert read == [0, 1, 2]
    with pytest.raises(UserError, match='the fourth'):
        next(predictions)
    predictions = predict_images(segmentor, ((0, picture(0, (32, 64))) for _ in iter(int, 1)))
    assert next(predictions)[0] == 0
    predictions.close()  # of endlessly many
