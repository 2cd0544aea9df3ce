"""The teacher: an exponential moving average of the student that labels the target images."""

import torch
from mmcv.cnn.bricks import drop as mmcv_drop
from timm.layers import DropPath
from torch.nn.modules.dropout import _DropoutNd

from mmseg.utils.collective import mean_over_ranks

_DROPS = (_DropoutNd, DropPath, mmcv_drop.DropPath)


class Teacher:
    """A network that follows the student by :func:`update_teacher`.

    What is frozen in the student is the same tensors in both, in a checkpoint file, too.
    """

    def __init__(self, network, student, alpha):
        share_frozen(network, student)
        self.network, self.student, self.alpha = network, student, alpha
        self._weights = None

    def start(self):
        """Become a copy of the student, buffers included."""
        self.network.load_state_dict(self.student.state_dict())

    def follow(self, iteration):
        """Move to where an iteration wants it."""
        if self._weights is None:  # all modules are walked through for these
            pairs = zip(self.network.parameters(), self.student.parameters(), strict=True)
            trained = [pair for pair in pairs if pair[1].requires_grad]
            self._weights = [list(weights) for weights in zip(*trained, strict=True)]
        update_teacher(*self._weights, iteration, self.alpha)


def share_frozen(network, other):
    """Let a network have the parameters themselves that are frozen in another of the same kind."""
    for name, module in other.named_modules():
        for key, weight in module.named_parameters(recurse=False):
            if not weight.requires_grad:
                setattr(network.get_submodule(name), key, weight)


def teacher_mode(teacher):
    """BatchNorm on the batch's statistics (training mode), dropout and drop path off."""
    teacher.train()
    for module in teacher.modules():
        if isinstance(module, _DROPS):
            module.eval()


@torch.no_grad()
def update_teacher(teacher, student, iteration, alpha):
    """teacher := a · teacher + (1 - a) · student with a = min(1 - 1/(t + 1), alpha).

    (Section 3.1 of the paper.) At iteration 0 that is a copy, exactly. Only parameters are
    averaged: the teacher's BatchNorm buffers follow its own batches. ``iteration`` is t, the
    zero-based index of the iteration that the teacher labels next.
    """
    decay = min(1 - 1 / (iteration + 1), alpha)
    torch._foreach_lerp_(teacher, student, 1 - decay)


@torch.no_grad()
def pseudo_labels(teacher, img, img_metas, threshold, flip=False):
    """Label target images (N, 3, H, W) with the teacher in :func:`teacher_mode` (section 3.1).

    With ``flip`` the probabilities are the mean of those of the images and of their mirror images.

    Returns:
        tuple[Tensor, Tensor]: Labels (N, 1, H, W) int64, and the ratio of pixels, over the batches
        of all ranks, whose largest probability reaches ``threshold``.
    """
    probabilities = teacher.encode_decode(img, img_metas).softmax(dim=1)
    if flip:
        mirrored = teacher.encode_decode(img.flip(3), img_metas).softmax(dim=1)
        probabilities = (probabilities + mirrored.flip(3)) / 2
    confidence, label = probabilities.max(dim=1, keepdim=True)
    return label, mean_over_ranks((confidence >= threshold).float().mean())


def pseudo_label_weights(label, ratio, ignore_top, ignore_bottom, valid=None):
    """Weight the pixels of a label (N, 1, H, W) by the trusted ratio, and ignored ones by 0.

    These hold the rectification artefacts and the ego car of Cityscapes (section 4.1): rows of the
    crop, and where ``valid`` (N, 1, H, W) is 0.
    """
    weight = ratio.expand(label.shape).clone()
    weight[..., :ignore_top, :] = 0
    if ignore_bottom > 0:
        weight[..., -ignore_bottom:, :] = 0
    return weight if valid is None else weight * valid
