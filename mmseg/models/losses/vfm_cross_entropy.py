"""The cross entropy of VFM-UDA, whose mean depends on what it is of."""

from mmseg.models.builder import LOSSES
from mmseg.models.losses.cross_entropy_loss import CrossEntropyLoss


@LOSSES.register_module()
class VFMCrossEntropyLoss(CrossEntropyLoss):
    """Mean over labelled pixels for ground truth, over all pixels where pixels are weighted.

    MMSegmentation's has one rule for both, `avg_non_ignore`; DAFormer averages over all pixels.
    """

    def forward(self, cls_score, label, weight=None, ignore_index=-100, **kwargs):
        """Return the loss of logits (N, C, H, W), a label (N, H, W) and weights alike."""
        # As a tensor: MMSegmentation's rule for labelled pixels would wait for the device.
        count = (label != ignore_index).sum() if weight is None else None
        return super().forward(
            cls_score, label, weight, avg_factor=count, ignore_index=ignore_index, **kwargs
        )
