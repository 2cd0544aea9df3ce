"""The student as methods call it, on one device or many."""

import contextlib
import warnings

from torch.nn.parallel import DistributedDataParallel

from mmseg.models.training_pass import TrainingPass


class Student:
    """Calls :class:`TrainingPass`, through DistributedDataParallel where there are ranks.

    This is no module, so that names of weights do not depend on the number of processes.
    """

    def __init__(self, segmentor):
        self._network = TrainingPass(segmentor)
        self._step, self._passes = None, 0

    def begin(self, step):
        """Let what is drawn in forward passes follow from (seed, iteration, pass) from now on."""
        self._step, self._passes = step, 0

    def __call__(self, img, img_metas, gt_semantic_seg=None, weight=None, row=None, heads=True):
        """Run :class:`TrainingPass`; ``row`` of the debug images shows what came in."""
        generator = None
        if self._step is not None:
            generator = self._step.shared_generator(f'pass {self._passes}')
            self._passes += 1
        output = self._network(img, img_metas, gt_semantic_seg, weight, generator, heads)
        if row is not None and self._step is not None:
            given = {'image': img, 'label': gt_semantic_seg, 'weight': weight}
            self._step.show(row, given | output.pictures)
        return output._replace(pictures={})  # which would keep a graph alive

    def no_sync(self):
        """Return a context in which gradients are not averaged over the ranks."""
        if isinstance(self._network, DistributedDataParallel):
            return self._network.no_sync()
        return contextlib.nullcontext()

    def distribute(self, find_unused_parameters=False):
        """Let the ranks average their gradients; the weights become those of rank 0."""
        with warnings.catch_warnings():
            # torch 2.14 wants it to be called forward_sync_buffers, which older ones do not know.
            warnings.filterwarnings('ignore', '`broadcast_buffers` is deprecated', FutureWarning)
            self._network = DistributedDataParallel(
                self._network,
                broadcast_buffers=False,
                find_unused_parameters=find_unused_parameters,
                gradient_as_bucket_view=True,
            )
