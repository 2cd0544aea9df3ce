"""Predictions of pictures in memory: those of the files, whatever size, batch and memory."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from mmseg.datasets.run_loader import collate
from mmseg.engine import inference
from mmseg.engine.config import load_config
from mmseg.engine.inference import predict_image, predict_labels, predict_with_confidence
from mmseg.engine.picture_pipeline import PicturePipeline
from mmseg.engine.picture_stream import predict_pictures
from mmseg.engine.trained import load_trained
from mmseg.utils.background import made_ahead
from mmseg.utils.user_error import UserError
from tests.tiny_runs import only

pytestmark = pytest.mark.usefixtures('one_thread')

CPU = torch.device('cpu')
VAL = 'data/street_scenes/cityscapes/leftImg8bit/val/*/*_00000{}_*.png'


@pytest.fixture
def segmentor(trained_run):
    """Of the shared run; its logits are drawn apart, as those of a longer training are."""
    segmentor = load_trained(None, trained_run.checkpoint, CPU)
    segmentor.decode_head.conv_seg.weight.data.mul_(20)
    return segmentor


def batch_of(segmentor, *pictures):
    pipeline = PicturePipeline(segmentor.cfg)
    return collate([pipeline(picture, 'name') for picture in pictures])


def picture(number, size=(256, 512)):
    return cv2.resize(cv2.imread(only(VAL.format(number))), size[::-1])


def aug_test(segmentor):
    """Let the test pipeline average two scales and mirror images."""
    segmentor.cfg.data.test.pipeline[1].update(img_ratios=[0.5, 1.0], flip=True)


@pytest.mark.parametrize('averaged', [False, True])
def test_confidence_is_the_softmax_of_what_is_predicted(segmentor, averaged):
    if averaged:
        aug_test(segmentor)
    batch = batch_of(segmentor, picture(0), picture(1))
    with torch.no_grad():
        logits = segmentor.aug_test_logits if averaged else segmentor.simple_test_logits
        probabilities = logits(**batch)
    labels, confidence = predict_with_confidence(segmentor, **batch)
    assert labels.dtype == np.uint8 and confidence.dtype == np.float32
    np.testing.assert_array_equal(labels, predict_labels(segmentor, **batch))
    assert len(np.unique(labels)) > 4
    np.testing.assert_allclose(confidence, probabilities.max(1), rtol=1e-5)


def test_confidence_of_a_single_output_is_its_sigmoids(segmentor):
    segmentor.out_channels = 1
    segmentor.decode_head.threshold = 0.3
    segmentor.whole_inference = lambda img, img_metas, rescale: torch.tensor(
        [[[[-2.0, -0.5, 1.0]]]]
    )
    labels, confidence = predict_with_confidence(
        segmentor, [None], [[dict(ori_shape=(1, 3), flip=False)]]
    )
    assert labels.tolist() == [[[0, 1, 1]]]
    expected = 1 / (1 + np.exp([-2.0, 0.5, -1.0]))
    np.testing.assert_allclose(confidence[0, 0], expected, rtol=1e-6)


def test_few_classes_at_a_time_are_all_at_once(segmentor, monkeypatch):
    batch = batch_of(segmentor, picture(0))
    expected = predict_with_confidence(segmentor, **batch)
    sizes = []
    resize = inference.resize

    def noted(part, **options):
        sizes.append(part.shape[1])
        return resize(part, **options)

    monkeypatch.setattr(inference, 'resize', noted)
    monkeypatch.setattr(inference, '_LOGITS_AT_ONCE', 5 * 256 * 512 * 4)
    labels, confidence = predict_with_confidence(segmentor, **batch)
    assert sizes == [5, 5, 5, 4] * 2
    np.testing.assert_array_equal(labels, expected[0])
    np.testing.assert_allclose(confidence, expected[1], rtol=1e-6)
    monkeypatch.setattr(inference, '_LOGITS_AT_ONCE', 1)
    np.testing.assert_array_equal(predict_labels(segmentor, **batch), expected[0])


SLIDE = dict(mode='slide', crop_size=(96, 96), stride=(64, 64))


@pytest.mark.parametrize('mode', [None, SLIDE], ids=['whole', 'slide'])
@pytest.mark.parametrize('size', [(1, 1), (1, 700), (700, 1), (3, 5), (77, 123), (20, 600)])
def test_any_size(segmentor, size, mode):
    if mode:
        segmentor.test_cfg = SimpleNamespace(**mode)
    (found,) = predict_pictures(segmentor, [('name', picture(0, size))], with_confidence=True)
    assert found.label.shape == found.confidence.shape == size
    assert (found.confidence > 1 / 20).all() and (found.confidence <= 1).all()


def test_pictures_that_are_not_resized_may_be_small(segmentor):
    pipeline = segmentor.cfg.data.test.pipeline[1]
    pipeline.update(img_scale=None, img_ratios=[1.0])
    (found,) = predict_pictures(segmentor, [('name', picture(0, (9, 300)))])
    assert found.label.shape == (9, 300)


def test_a_long_picture_is_predicted_as_one_that_goes_on(segmentor):
    stripe = picture(0, (4, 640))
    longer = np.concatenate([stripe, np.repeat(stripe[-1:], 16, axis=0)])
    found, expected = (
        next(predict_pictures(segmentor, [('name', image)])) for image in (stripe, longer)
    )
    np.testing.assert_array_equal(found.label, expected.label[:4])


def test_batches_are_of_equal_size_and_predict_the_same(segmentor, monkeypatch):
    sizes = [(128, 256), (128, 256), (99, 256), (128, 256), (128, 256)]
    images = [(f'{i}', picture(i % 3, size)) for i, size in enumerate(sizes)]
    images.insert(1, ('broken', UserError('broken')))
    expected = [next(predict_pictures(segmentor, [image])) for image in images]
    seen = []
    encode_decode = segmentor.encode_decode
    monkeypatch.setattr(
        segmentor,
        'encode_decode',
        lambda img, metas: seen.append(len(img)) or encode_decode(img, metas),
    )
    found = list(predict_pictures(segmentor, images, batch_size=3))
    assert seen == [2, 1, 2]
    assert [one.name for one in found] == ['broken', '0', '1', '2', '3', '4']
    assert str(found[0].error) == 'broken' and found[0].label is None
    by_name = {one.name: one for one in expected}
    for one in found[1:]:
        assert (one.label != by_name[one.name].label).mean() < 1e-3


def test_files_are_predicted_as_by_the_pipelines_own_loader(segmentor, trained_run):
    from mmseg.datasets.pipelines import Compose

    path = only(VAL.format(1))
    pipeline = load_config(trained_run.config).data.test.pipeline
    sample = Compose(pipeline)(dict(img_info=dict(filename=path), img_prefix=None))
    expected = predict_labels(segmentor, **collate([sample]))[0]
    np.testing.assert_array_equal(predict_image(segmentor, segmentor.cfg, path), expected)


def test_a_pipeline_without_a_colour_loader_is_refused(segmentor):
    segmentor.cfg.data.test.pipeline[0].color_type = 'grayscale'
    with pytest.raises(UserError, match='LoadImageFromFile for colour'):
        PicturePipeline(segmentor.cfg)


def test_items_are_made_ahead_in_order_and_raise_in_their_place():
    made = []

    def items():
        for number in range(3):
            made.append(number)
            yield number
        raise UserError('the fourth')

    with made_ahead(items()) as ready:
        assert [next(ready) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(UserError, match='the fourth'):
            next(ready)
    assert made == [0, 1, 2]
    with made_ahead(iter(int, 1)) as ready:  # endless
        assert next(ready) == 0
