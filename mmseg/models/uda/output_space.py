"""What AdvSeg and MinEnt share: they judge the student's output for target images."""

from mmseg.models.training_pass import check_losses_take_weights
from mmseg.models.uda.masked_consistency import MaskingMethod
from mmseg.models.uda.strong_augmentation import StrongAugmentation
from mmseg.ops import resize
from mmseg.utils.user_error import UserError

LAMBDA = dict(main=0.001, aux=0.0002)  # of both papers; nothing reads ``aux``


class OutputSpaceMethod(MaskingMethod):
    """A method without a teacher, unless images are masked, whose augmentation is as published.

    Args:
        model (dict): Config of the segmentor, without ``auxiliary_head``.
        **kwargs: See :class:`MaskingMethod` (MIC) and :class:`UDAMethod`.
    """

    terms = ('src', 'target')

    def __init__(self, model, **kwargs):
        super().__init__(model, **kwargs)
        if self.model.with_auxiliary_head:
            raise UserError(f'uda.type={type(self).__name__!r} takes no model.auxiliary_head')
        if self.model.out_channels == 1:
            raise UserError(
                f'uda.type={type(self).__name__!r} needs a channel for each class: leave '
                'out_channels=1 out of model.decode_head'
            )
        augment = StrongAugmentation(blur=True, strength=0.2, probability=0.2)
        self.set_up_masking(model, 0.999, 0.968, augment, shares_labels=False)
        if self.mic is not None:
            check_losses_take_weights(self.model)

    def target_pass(self, batch, step):
        """Return the student's logits (N, C, h, w) for the target images, and the views."""
        img, metas = batch['target_img'], batch['target_img_metas']
        _, logits, views, _ = self.student(img, metas, row='target')
        step.show('target', {'prediction': lambda: logits.argmax(dim=1, keepdim=True)})
        return logits, views

    def probabilities(self, logits, views):
        """Return probabilities (N, C, H, W) at the size of the whole image as the encoder sees it.

        In HRDA that is the context's size: ``views`` are those of a pass without labels.
        """
        size, align_corners = views[0].img.shape[2:], self.model.align_corners
        return resize(logits, size, None, 'bilinear', align_corners, warning=False).softmax(dim=1)

    def masked_losses(self, batch, step):
        """Yield the losses of the masked images, if there are any."""
        if self.mic is not None:
            yield self.mic.losses(self.student, batch, step)
