"""The student as methods train it: one call gives losses and features, on one device or many."""

import warnings

from torch import nn
from torch.nn.parallel import DistributedDataParallel


class LossesAndFeatures(nn.Module):
    """All head losses of a segmentor, as its ``forward_train``, and the features behind them.

    Args:
        segmentor (EncoderDecoder): What is trained.
    """

    def __init__(self, segmentor):
        super().__init__()
        self.segmentor = segmentor

    def forward(self, img, img_metas, gt_semantic_seg):
        """Return a dict of losses and a list of feature maps, after the neck if there is one."""
        segmentor = self.segmentor
        features = segmentor.extract_feat(img)
        losses = segmentor._decode_head_forward_train(features, img_metas, gt_semantic_seg)
        if segmentor.with_auxiliary_head:
            losses |= segmentor._auxiliary_head_forward_train(features, img_metas, gt_semantic_seg)
        return losses, features


class Student:
    """Calls :class:`LossesAndFeatures`, past no wrapper that is put around it.

    This is no module, so that names of weights do not depend on the number of processes.
    """

    def __init__(self, segmentor):
        self._network = LossesAndFeatures(segmentor)

    def __call__(self, img, img_metas, gt_semantic_seg):
        return self._network(img, img_metas, gt_semantic_seg)

    def distribute(self, gradients, find_unused_parameters=False):
        """Let the ranks average their gradients, in the last backward pass of an iteration.

        The weights become those of rank 0. Buffers are left alone.

        Args:
            gradients (Gradients): Is told how earlier passes are kept from that.
            find_unused_parameters (bool): As in torch: some weights may have no gradient.
        """
        with warnings.catch_warnings():
            # torch 2.14 wants it to be called forward_sync_buffers, which older ones do not know.
            warnings.filterwarnings('ignore', '`broadcast_buffers` is deprecated', FutureWarning)
            self._network = DistributedDataParallel(
                self._network,
                broadcast_buffers=False,
                find_unused_parameters=find_unused_parameters,
            )
        gradients.no_sync = self._network.no_sync
