"""Training on labels alone: source-only, target-only, domain generalisation."""

from mmseg.models.builder import SEGMENTORS
from mmseg.models.uda.base import UDAMethod


@SEGMENTORS.register_module()
class Supervised(UDAMethod):
    """Trains a segmentor on labelled images; its checkpoints are those of the segmentor alone."""

    terms = ('labels',)

    def losses(self, batch, step):
        """Yield the losses of the heads."""
        losses, _ = self.student(batch['img'], batch['img_metas'], batch['gt_semantic_seg'])
        yield losses

    def state_dict(self, *args, **kwargs):
        """Return the segmentor's own, without a prefix."""
        return self.model.state_dict(*args, **kwargs)

    def load_state_dict(self, *args, **kwargs):
        """Load the segmentor's own."""
        return self.model.load_state_dict(*args, **kwargs)
