"""1×1 convolutions as matrix products, which on a CPU takes half the time."""

import torch
from mmcv.cnn import CONV_LAYERS
from torch import nn


@CONV_LAYERS.register_module()
class PointwiseProduct(nn.Conv2d):
    """A convolution that computes its 1×1 case as a matrix product where that is faster.

    torch's convolution reorders the whole map before and after it multiplies. Other sizes, other
    devices and maps in channels_last go its way; weights, names and results are the same.
    """

    def forward(self, feature):
        is_pointwise = (
            self.kernel_size == (1, 1)
            and self.stride == (1, 1)
            and self.padding == (0, 0)
            and self.groups == 1
        )
        if not (is_pointwise and feature.device.type == 'cpu' and feature.is_contiguous()):
            return super().forward(feature)
        weight = self.weight.flatten(1).expand(len(feature), -1, -1)
        product = torch.bmm(weight, feature.flatten(2))
        if self.bias is not None:
            product = product + self.bias[:, None]
        return product.unflatten(2, feature.shape[2:])
