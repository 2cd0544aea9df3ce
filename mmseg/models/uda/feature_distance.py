"""Thing-class ImageNet feature distance: keep the student's features near the frozen encoder's."""

import torch
import torch.nn.functional as F
from mmcv.runner import get_dist_info
from torch import nn

from mmseg.utils.collective import sum_over_ranks


class FrozenEncoder(nn.Module):
    """The ImageNet encoder, and neck if there is one, that the student is compared with."""

    def __init__(self, backbone, neck=None):
        super().__init__()
        self.backbone = backbone
        self.neck = neck
        self.requires_grad_(False)

    def train(self, mode=True):
        """Stay in eval mode whatever the method around it does."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, img):
        """Return the last feature map (N, C, h, w)."""
        features = self.backbone(img)
        return (features if self.neck is None else self.neck(features))[-1]


def distance_of_views(frozen, views, head, classes=None, min_ratio=None):
    """Sum the distances of the views of a forward pass.

    Args:
        frozen (FrozenEncoder): Sees the images that the student's encoder saw.
        views (list[View]): Of the student's pass; their labels may be larger than the images.
        head (nn.Module): A decode head, for its number of classes and its ``ignore_index``.
        classes (Tensor | None): Train ids of the things; None: all positions.
        min_ratio (float | None): See :func:`downscale_label`.

    Returns:
        tuple[Tensor]: The distance; of the last view the downscaled label and the mask of things,
        None without ``classes``.
    """
    total, small, things = 0, None, None
    for view in views:
        feature = view.features[-1]
        if classes is not None:
            size = feature.shape[-2:]
            small = downscale_label(
                view.label, size, min_ratio, head.num_classes, head.ignore_index
            )
            things = torch.isin(small, classes)
        # Behind the images there may be their copies in other styles.
        imagenet = frozen(view.img).repeat(len(feature) // len(view.img), 1, 1, 1)
        total = total + feature_distance(feature, imagenet, things)
    return total, small, things


def downscale_label(label, size, min_ratio, num_classes, ignore_index=255):
    """Bring a label to the features' size: the majority class of each cell, section 3.3.

    Args:
        label (Tensor): (N, 1, H, W) int64, train ids and ``ignore_index``.
        size (tuple[int]): (h, w) of the features. Where they do not divide H and W, cells overlap
            by a pixel, as in adaptive average pooling.
        min_ratio (float): The majority must hold this ratio of the cell, or the cell is ignored.
        num_classes (int): Ignored pixels count as one class more.

    Returns:
        Tensor: (N, 1, h, w) int64.
    """
    ids = torch.arange(num_classes + 1, device=label.device).view(1, -1, 1, 1)
    one_hot = (label.masked_fill(label == ignore_index, num_classes) == ids).float()
    ratio, majority = F.adaptive_avg_pool2d(one_hot, size).max(dim=1, keepdim=True)
    unclear = (ratio < min_ratio) | (majority == num_classes)
    return majority.masked_fill(unclear, ignore_index)


def feature_distance(student, imagenet, mask=None):
    """Mean L2 distance of two feature maps over the positions of a mask (section 3.3).

    Args:
        student, imagenet (Tensor): (N, C, h, w).
        mask (Tensor | None): (N, 1, h, w) bool; None: all positions.

    Returns:
        Tensor: Scalar, whose mean over the ranks is that over their positions; 0 if there are none.
    """
    distance = torch.linalg.vector_norm(student - imagenet, dim=1, keepdim=True)
    if mask is None:
        return distance.mean()
    count = sum_over_ranks(mask.sum()).clamp(min=1) / get_dist_info()[1]
    return (distance * mask).sum() / count
