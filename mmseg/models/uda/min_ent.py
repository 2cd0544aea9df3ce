"""MinEnt: the student is to be sure of its output for target images.

Source: Vu et al., ADVENT, CVPR 2019 (arXiv 1811.12833), section 3.1.
"""

import math

from mmseg.models.builder import SEGMENTORS
from mmseg.models.uda.output_space import LAMBDA, OutputSpaceMethod


@SEGMENTORS.register_module()
class MinEnt(OutputSpaceMethod):
    """Minimises the entropy of target predictions.

    Args:
        model (dict): Config of the segmentor.
        lambda_ent (dict): ``main``, the weight of the entropy.
        **kwargs: See :class:`OutputSpaceMethod`.
    """

    def __init__(self, model, lambda_ent=LAMBDA, **kwargs):
        super().__init__(model, **kwargs)
        self.weight = lambda_ent['main']

    def losses(self, batch, step):
        """Yield the losses of the source images, of the target's and, in MIC, of masked ones."""
        img, img_metas, label = batch['img'], batch['img_metas'], batch['gt_semantic_seg']
        yield self.student(img, img_metas, label, row='source').losses

        # Target: the mean entropy, which is 1 where all classes are equally probable.
        logits, views = self.target_pass(batch, step)
        p = self.probabilities(logits, views)
        entropy = -(p * (p + 1e-30).log2()).sum(dim=1) / math.log2(p.shape[1])
        yield {'ent.loss.main': self.weight * entropy.mean()}

        yield from self.masked_losses(batch, step)
