"""A feature pyramid without parameters, for plain ViTs whose levels all have one stride.

Source: Rein (Wei et al., CVPR 2024, arXiv 2312.04265). With learned upsampling: MMSegmentation's
`Feature2Pyramid`.
"""

from torch import nn

from mmseg.models.builder import NECKS
from mmseg.ops import resize
from mmseg.utils.user_error import UserError


@NECKS.register_module()
class BilinearPyramid(nn.Module):
    """Resizes each level by its factor; from stride 16 to the strides 4, 8, 16 and 32.

    Args:
        rescales (tuple[float]): One for each level. Odd sizes are rounded down.
    """

    def __init__(self, rescales=(4, 2, 1, 0.5)):
        super().__init__()
        self.rescales = tuple(rescales)

    def forward(self, features):
        """Return as many maps, (batch, channels, height * rescale, width * rescale)."""
        if len(features) != len(self.rescales):
            raise UserError(
                f'BilinearPyramid got {len(features)} levels, and rescales={self.rescales}'
            )
        for feature, factor in zip(features, self.rescales, strict=True):
            height, width = feature.shape[2:]
            if min(height, width) * factor < 1:
                raise UserError(
                    f'BilinearPyramid cannot resize a level of {height}×{width} by {factor}: '
                    'enlarge the images, e.g. crop_size in data.train'
                )
        return [
            resize(feature, scale_factor=factor, mode='bilinear', align_corners=False)
            for feature, factor in zip(features, self.rescales, strict=True)
        ]
