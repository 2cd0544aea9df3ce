"""Taking an iteration back whose losses or gradients turn out not to be finite."""

import sys

import torch

from mmseg.utils.collective import gather_over_ranks
from mmseg.utils.user_error import UserError


class StateBefore:
    """Copies of what an iteration changes before the optimizer's step: not the trained weights.

    These are BatchNorm's buffers and the teacher's weights. The method moves the teacher at the
    start of the iteration, and an average cannot be computed back exactly, so they are copied every
    time. That costs the memory of one network (MiT-B5 and its head: about 340 MB) and one pass
    over it. Resume state on the disk would cost nothing, but is minutes older than the trouble.

    Args:
        model (nn.Module): In the mode in which it is trained. Its parts in eval mode, such as the
            frozen encoder, do not change and are left out.
    """

    def __init__(self, model):
        by_type = {}  # tensors of one type are copied in one call
        for part in model.children():
            for tensor in (*part.parameters(), *part.buffers()) if part.training else ():
                if not tensor.requires_grad:
                    by_type.setdefault(tensor.dtype, []).append(tensor)
        self._pairs = [(tensors, [t.clone() for t in tensors]) for tensors in by_type.values()]

    @property
    def num_bytes(self):
        """Memory of the copies."""
        return sum(copy.nbytes for _, copies in self._pairs for copy in copies)

    @torch.no_grad()
    def copy(self):
        """Note the state, at the start of an iteration."""
        for tensors, copies in self._pairs:
            torch._foreach_copy_(copies, tensors)

    @torch.no_grad()
    def put_back(self):
        """Give the model the state that was noted last."""
        for tensors, copies in self._pairs:
            torch._foreach_copy_(tensors, copies)


def stopped_before(runner, batch, error):
    """Leave the state before an iteration that was taken back, and say what happened.

    Args:
        runner (SeededRunner): In that state.
        batch (dict): Of the iteration.
        error (NonFiniteError): Why it was taken back.

    Returns:
        UserError: To be raised, on rank 0; the others end here without a word.
    """
    lines = [f'Iteration {runner.iter + 1}, the losses: {error.details}']
    for key, images in (('img_metas', 'Images'), ('target_img_metas', 'Target images')):
        if key in batch:
            names = ', '.join(meta['filename'] for meta in batch[key])
            lines.append(f'{images}: {", ".join(gather_over_ranks(names))}')
    path = runner.save_resume_state(runner.iter)
    # Losses are means over the ranks and gradients their sums: all of them are here.
    if runner.rank > 0:
        sys.exit(1)
    runner.logger.error('\n'.join(lines))
    return UserError(
        f'iteration {runner.iter + 1}: {error.what} not finite (losses and files of the batch: '
        f'above and in the log). {path} is the state before it, and the same command repeats it. '
        'Look at those files, or start another run with a lower optimizer.lr or a longer '
        'lr_config.warmup_iters.'
    )
