"""How far a network's confidence can be trusted: calibration and failure detection, streaming.

The confidence of a pixel is the probability of its predicted class, the largest of the softmax.
Right and wrong pixels are counted by their confidence in 16 bits, so nothing is kept of an image,
and metrics differ from those of the exact confidences by what such a step can change.
"""

import numpy as np
import torch

from mmseg.utils.user_error import UserError

LEVELS = 2**16 - 1  # confidences are round(LEVELS * p), as benchmarks take them
BINS = 15  # of equal width, of ECE and the reliability diagram; they are whole numbers of steps
_RECALL = 0.95  # at which FPR95 is


def quantized(confidence):
    """Confidences (a tensor, 0 to 1) as whole numbers from 0 to ``LEVELS``, int32."""
    return (confidence * LEVELS).round_().int()


class ConfidenceCounts:
    """Counts right and wrong pixels by confidence.

    Attributes:
        counts (Tensor): (LEVELS + 1, 2) int64: right and wrong pixels, on the CPU.
    """

    def __init__(self):
        self.counts = torch.zeros(LEVELS + 1, 2, dtype=torch.int64)

    def add(self, confidence, label, gt, ignore_index):
        """Count an image.

        Args:
            confidence (Tensor): (H, W) float, on any device.
            label, gt (np.ndarray): Predicted and true train ids (H, W) uint8.
        """
        if confidence.isnan().any():
            raise UserError('the network predicts NaN: test another checkpoint of its run.')
        # The third column is of ignored pixels.
        column = np.where(gt == ignore_index, np.uint8(2), (label != gt).view(np.uint8))
        place = quantized(confidence).mul_(3).add_(torch.from_numpy(column).to(confidence.device))
        counted = torch.bincount(place.flatten(), minlength=3 * (LEVELS + 1))
        self.counts += counted.view(-1, 3)[:, :2].cpu()


def confidence_metrics(counts):
    """Compute the metrics of right and wrong pixels by confidence.

    - ``ECE``, the expected calibration error: over 15 bins of equal width the mean difference of
      accuracy and confidence, weighted by their pixels (Guo et al. 2017).
    - Of failure detection, whose positives are the wrong pixels and whose score is 1 - confidence:
      ``AUROC``; ``AUPR``, the average precision; and ``FPR95``, the ratio of right pixels above the
      highest threshold that finds at least 95 % of the wrong ones.

    Args:
        counts (Tensor): Of :class:`ConfidenceCounts`, summed over ranks.

    Returns:
        dict[str, float]: In [0, 1]; NaN where there are no wrong (or no right) pixels.
    """
    return dict(ECE=_ece(counts), **_failure_detection(counts))


def reliability(counts):
    """Return pixels, mean confidence and accuracy of each of the 15 bins: (15,) float64 each."""
    right, wrong = counts.double().numpy().T
    level = np.arange(LEVELS + 1)
    bins = np.minimum(level * BINS // LEVELS, BINS - 1)
    pixels, confidence, accurate = (
        np.bincount(bins, weights, BINS)
        for weights in (right + wrong, (right + wrong) * level / LEVELS, right)
    )
    with np.errstate(invalid='ignore'):
        return pixels, confidence / pixels, accurate / pixels


def _ece(counts):
    pixels, confidence, accuracy = reliability(counts)
    if not pixels.sum():
        return float('nan')
    return float(np.nansum(pixels * np.abs(accuracy - confidence)) / pixels.sum())


def _failure_detection(counts):
    # The least confident come first; a step holds pixels that no threshold can tell apart.
    right, wrong = counts.double().numpy().T
    if not (right.sum() and wrong.sum()):
        return dict.fromkeys(('AUROC', 'AUPR', 'FPR95'), float('nan'))
    false, true = right.cumsum(), wrong.cumsum()
    found, alarms = true / true[-1], false / false[-1]
    with np.errstate(invalid='ignore'):
        precision = np.nan_to_num(true / (true + false))
    return dict(
        AUROC=float(np.trapezoid(np.r_[0, found], np.r_[0, alarms])),
        AUPR=float((precision * wrong).sum() / true[-1]),
        FPR95=float(alarms[np.argmax(found >= _RECALL)]),
    )
