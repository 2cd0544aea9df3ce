"""Calibration and failure detection: as scikit-learn and torchmetrics find them."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torchmetrics.functional.classification import multiclass_calibration_error

from mmseg.engine.calibration import LEVELS, ConfidenceCounts, confidence_metrics, reliability
from mmseg.engine.predict import predict_with_confidence
from tests.test_evaluation import CLASSES, SIZES, WHOLE, build, folder, segmentor  # noqa: F401

STEP = 1 / LEVELS


def images(scale, count=3, size=(60, 80), seed=0):
    """Logits of so many images and ground truth that agrees with them more often than not."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(count, 7, *size, generator=generator)
    gt = logits.argmax(1)
    drawn = torch.rand(count, *size, generator=generator)
    is_hard = drawn > logits.softmax(1).amax(1) ** 0.5
    gt[is_hard] = torch.randint(0, 7, (int(is_hard.sum()),), generator=generator)
    gt[:, :5] = 255
    return logits, gt.to(torch.uint8)


def counted(logits, gt):
    counts = ConfidenceCounts()
    for of_image, true in zip(logits, gt, strict=True):
        confidence, label = of_image.softmax(0).max(0)
        counts.add(confidence, label.to(torch.uint8).numpy(), true.numpy(), 255)
    return counts.counts


# The larger the scale, the more pixels share the uppermost steps.
@pytest.mark.parametrize('scale', [0.5, 2.0, 6.0])
def test_metrics_are_those_of_scikit_learn_and_torchmetrics(scale):
    logits, gt = images(scale)
    found = confidence_metrics(counted(logits, gt))

    is_valid = gt != 255
    probabilities = logits.movedim(1, -1)[is_valid].softmax(-1)
    true = gt[is_valid].long()
    confidence, label = (t.numpy() for t in probabilities.max(-1))
    wrong, score = label != true.numpy(), 1 - confidence.astype(np.float64)
    assert 0.05 < wrong.mean() < 0.9
    ece = multiclass_calibration_error(probabilities, true, num_classes=7, n_bins=15)
    alarms, recall, _ = roc_curve(wrong, score, drop_intermediate=False)
    # A pixel at an edge may fall into the next bin: a few of 13,200.
    assert found['ECE'] == pytest.approx(ece.item(), abs=5e-4)
    assert found['AUROC'] == pytest.approx(roc_auc_score(wrong, score), abs=2e-5)
    assert found['AUPR'] == pytest.approx(average_precision_score(wrong, score), abs=2e-4)
    assert found['FPR95'] == pytest.approx(alarms[np.argmax(recall >= 0.95)], abs=1e-3)


def test_metrics_of_16_bits_are_exact():
    """Where confidences are whole steps nothing is lost."""
    generator = np.random.default_rng(0)
    level = generator.integers(0, 200, (40, 50)) * (LEVELS // 200)
    confidence = torch.tensor(level / LEVELS)
    wrong = generator.random(level.shape) > level / LEVELS
    counts = ConfidenceCounts()
    counts.add(confidence, wrong.astype(np.uint8), np.zeros_like(wrong, np.uint8), 255)
    found, score = confidence_metrics(counts.counts), -level.ravel()
    assert found['AUROC'] == pytest.approx(roc_auc_score(wrong.ravel(), score), abs=1e-12)
    assert found['AUPR'] == pytest.approx(average_precision_score(wrong.ravel(), score), abs=1e-12)
    alarms, recall, _ = roc_curve(wrong.ravel(), score, drop_intermediate=False)
    assert found['FPR95'] == alarms[np.argmax(recall >= 0.95)]
    assert counts.counts.sum() == level.size and counts.counts[:, 1].sum() == wrong.sum()


def test_reliability_by_hand():
    counts = ConfidenceCounts()
    confidence = torch.tensor([[0.41, 0.45, 0.9, 1.0, 0.5]])
    label, gt = np.array([[0, 0, 0, 0, 0]], np.uint8), np.array([[0, 1, 0, 0, 255]], np.uint8)
    counts.add(confidence, label, gt, 255)
    pixels, mean, accuracy = reliability(counts.counts)
    expected = np.zeros(15)
    expected[[6, 13, 14]] = 2, 1, 1  # [6/15, 7/15), [13/15, 14/15), [14/15, 1]
    assert pixels.tolist() == expected.tolist()
    assert mean[6] == pytest.approx(0.43, abs=STEP) and accuracy[6] == 0.5
    assert mean[13] == pytest.approx(0.9, abs=STEP) and accuracy[13] == accuracy[14] == 1
    found = confidence_metrics(counts.counts)
    assert found['ECE'] == pytest.approx((2 * 0.07 + 0.1) / 4, abs=STEP)


@pytest.mark.parametrize('label', [0, 1])
def test_nothing_wrong_or_nothing_right_is_no_number(label):
    counts = ConfidenceCounts()
    counts.add(
        torch.full((2, 2), 0.7), np.full((2, 2), label, np.uint8), np.zeros((2, 2), np.uint8), 255
    )
    found = confidence_metrics(counts.counts)
    assert all(np.isnan(found[name]) for name in ('AUROC', 'AUPR', 'FPR95'))
    assert found['ECE'] == pytest.approx(0.3 if label == 0 else 0.7, abs=STEP)
    assert np.isnan(confidence_metrics(ConfidenceCounts().counts)['ECE'])


def test_confidence_is_the_largest_of_the_softmax(segmentor, folder):  # noqa: F811
    from types import SimpleNamespace

    from mmseg.datasets.dataloader import collate
    from mmseg.engine.predict import predict_labels

    segmentor.test_cfg = SimpleNamespace(**WHOLE)
    for aug_test in (False, True):
        inputs = collate([build(folder, aug_test)[0]])
        labels, confidence = predict_with_confidence(segmentor, **inputs)
        with torch.no_grad():
            views = [
                segmentor.inference(*view, rescale=True)
                for view in zip(inputs['img'], inputs['img_metas'], strict=True)
            ]
        expected = torch.stack(views).mean(0).amax(1)
        torch.testing.assert_close(confidence, expected, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(labels, predict_labels(segmentor, **inputs))
