"""The student as methods train it: one call gives losses and features, on one device or many."""

import contextlib
import warnings

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmseg.models.uda.pixel_weights import pixel_weights


class LossesAndFeatures(nn.Module):
    """All losses of a segmentor and the features behind them.

    A segmentor that needs more than its ``forward_train`` for that, such as several crops per
    image, has a method ``losses_and_features`` with the arguments of :meth:`forward`.

    Args:
        segmentor (BaseSegmentor): What is trained.
    """

    def __init__(self, segmentor):
        super().__init__()
        self.segmentor = segmentor

    def forward(self, img, img_metas, gt_semantic_seg=None, weight=None):
        """Compute losses that the heads weight per pixel, or logits where no label is given.

        Args:
            img (Tensor): (N, 3, H, W), normalised.
            img_metas (list[dict]): One per image.
            gt_semantic_seg (Tensor | None): (N, 1, H, W) int64.
            weight (Tensor | None): (N, 1, H, W) float, of the pixels; None: 1.

        Returns:
            tuple[dict, list[Tensor]]: Losses by name, and the feature maps of the encoder, after
            the neck if there is one. Without a label a Tensor: logits (N, C, H, W).
        """
        segmentor = self.segmentor
        if gt_semantic_seg is None:
            return segmentor.encode_decode(img, img_metas)
        if hasattr(segmentor, 'losses_and_features'):
            return segmentor.losses_and_features(img, img_metas, gt_semantic_seg, weight)
        features = []
        encoder = segmentor.neck if segmentor.with_neck else segmentor.backbone
        hook = encoder.register_forward_hook(lambda _, inputs, output: features.extend(output))
        with hook, pixel_weights(segmentor, weight):
            return segmentor.forward_train(img, img_metas, gt_semantic_seg), features


class Student:
    """Calls :class:`LossesAndFeatures`, through DistributedDataParallel where there are ranks.

    This is no module, so that names of weights do not depend on the number of processes.
    """

    def __init__(self, segmentor):
        self._network = LossesAndFeatures(segmentor)

    def __call__(self, img, img_metas, gt_semantic_seg, weight=None):
        return self._network(img, img_metas, gt_semantic_seg, weight)

    def logits(self, img, img_metas):
        """Return logits (N, C, H, W) at the images' size, for losses without labels."""
        return self._network(img, img_metas)

    def no_sync(self):
        """Return a context in which gradients are not averaged over the ranks."""
        if isinstance(self._network, DistributedDataParallel):
            return self._network.no_sync()
        return contextlib.nullcontext()

    def distribute(self, find_unused_parameters=False):
        """Let the ranks average their gradients; the weights become those of rank 0.

        Args:
            find_unused_parameters (bool): As in torch: some weights may have no gradient.
        """
        with warnings.catch_warnings():
            # torch 2.14 wants it to be called forward_sync_buffers, which older ones do not know.
            warnings.filterwarnings('ignore', '`broadcast_buffers` is deprecated', FutureWarning)
            self._network = DistributedDataParallel(
                self._network,
                broadcast_buffers=False,
                find_unused_parameters=find_unused_parameters,
                gradient_as_bucket_view=True,
            )
