"""Feature distillation: the student's features must predict those of a foundation model.

Source: Englert et al., VFM-UDA++ (2025).
"""

import torch.nn.functional as F
from torch import nn

from mmseg.models.builder import build_backbone
from mmseg.models.encoder_channels import encoder_channels
from mmseg.models.layer_norm import LayerNorm2d
from mmseg.models.uda.feature_distance import FrozenEncoder
from mmseg.utils.user_error import UserError

SMOOTH_L1, COSINE = 0.1, 0.9  # what each of them contributes


class FeatureDistillation(nn.Module):
    """A frozen encoder, and the head that predicts its last feature map from the student's.

    Args:
        in_channels (int): Of the student's last feature map.
        teacher (dict): Config of the frozen encoder.
        weight (float): Weight of the loss.
    """

    def __init__(self, in_channels, teacher, weight=0.1):
        super().__init__()
        if teacher.get('adapt') or teacher.get('mask_token'):
            raise UserError(
                'uda.feature_distance.teacher is frozen: leave out its adapt and its mask_token'
            )
        self.teacher = FrozenEncoder(build_backbone(teacher))
        self.head = DistillationHead(in_channels, encoder_channels(teacher)[-1])
        self.weight = weight

    def losses(self, student, domain, jittered_img, img_metas, img):
        """Compare the student's last map of jittered images with the frozen one of plain images.

        Args:
            student (Student): Called once, without its heads.
            domain (str): Which the loss is named after.
            jittered_img, img (Tensor): (N, 3, H, W).
        """
        feature = student(jittered_img, img_metas, heads=False).views[0].features[-1]
        expected = self.teacher(img)
        found = F.interpolate(self.head(feature), expected.shape[2:], mode='bilinear')
        return {f'{domain}.loss_distillation': self.weight * distillation_loss(found, expected)}


class DistillationHead(nn.Module):
    """Two 1x1 convolutions, the hidden one four times as wide as the student's map."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        hidden = 4 * in_channels
        self.feat_project = nn.Sequential(
            nn.Conv2d(in_channels, hidden, 1),
            LayerNorm2d(hidden),
            nn.GELU(),
            nn.Conv2d(hidden, out_channels, 1),
        )

    def forward(self, feature):
        """Return a map (N, out_channels, h, w)."""
        return self.feat_project(feature)


def distillation_loss(found, expected):
    """Mean over all places of 0.1 * smooth L1 (mean over channels) + 0.9 * (1 - cosine)."""
    similarity = F.cosine_similarity(found, expected, dim=1)
    return SMOOTH_L1 * F.smooth_l1_loss(found, expected) + COSINE * (1 - similarity).mean()
