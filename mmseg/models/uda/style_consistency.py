"""Style consistency: one prediction for an image, whatever its style.

Source: Zhao et al., SHADE, ECCV 2022 (arXiv 2204.02548), section 3.3.
"""

import contextlib

import torch
import torch.nn.functional as F

from mmseg.utils.user_error import UserError


class StyleConsistency:
    """Lets the student see images in hallucinated styles, too, where its encoder can do so.

    Args:
        segmentor (BaseSegmentor): The student.
        weight (float): Of the loss; 0 = no loss, but the styles.
    """

    def __init__(self, segmentor, weight):
        self.hallucination = getattr(segmentor.backbone, 'style_hallucination', None)
        self.weight = weight
        if weight > 0 and self.hallucination is None:
            raise UserError(
                f'uda.style_consistency_lambda={weight} needs an encoder mit_b0 to mit_b5 with '
                'model.backbone.style_hallucination_cfg='
                'dict(concentration_coeff=0.0156, base_style_num=64)'
            )

    def hallucinate(self, label, step):
        """Return labels (2N, 1, H, W) for a pass on N images, and a context for that pass.

        In it the batch is cat(images, the same in other styles) behind the encoder's first map.
        Where the encoder hallucinates no styles the labels stay as they are.
        """
        if self.hallucination is None:
            return label, contextlib.nullcontext()
        seeds = step.image_seeds('style', len(label))
        return torch.cat([label, label]), self.hallucination.of_images(seeds)

    def losses(self, logits):
        """Return the loss of the logits (2N, C, h, w) of such a pass, by its name in logs."""
        if not self.weight:
            return {}
        return {'style.loss_style_consistency': self.weight * style_consistency(logits)}


def style_consistency(logits):
    """Jensen-Shannon divergence of the predictions for images and for their copies.

    Args:
        logits (Tensor): (2N, C, h, w), the copies behind the images.

    Returns:
        Tensor: Mean over the positions.
    """
    ours, theirs = logits.log_softmax(dim=1).chunk(2)
    mean = ((ours.exp() + theirs.exp()) / 2).clamp(1e-7, 1).log()
    divergences = [F.kl_div(mean, each, reduction='none', log_target=True)
                   for each in (ours, theirs)]  # fmt: skip
    return sum(divergences).sum(dim=1).mean() / 2
