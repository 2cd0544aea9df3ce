"""DeepLabV2's classifier: the sum of dilated 3x3 convolutions from the features to the classes.

Source: Chen et al., DeepLab, TPAMI 2018 (arXiv 1606.00915). Earlier work on UDA uses it with two
of its four dilations (DAFormer, section 4.1).
"""

from mmseg.models.builder import HEADS
from mmseg.models.decode_heads.aspp_head import ASPPModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead


@HEADS.register_module()
class DLV2Head(BaseDecodeHead):
    """Classifies by several dilated convolutions at once; no norm, activation or dropout.

    Args:
        dilations: one 3x3 convolution for each, all above 1.
        init_cfg: mmcv's; None draws from a normal distribution with std 0.01.
        **kwargs: of MMSegmentation's `BaseDecodeHead`, save channels, dropout_ratio, norm_cfg and
            act_cfg, which have no meaning here.
    """

    def __init__(self, dilations=(6, 12, 18, 24), init_cfg=None, **kwargs):
        normal = {'type': 'Normal', 'std': 0.01, 'override': {'name': 'aspp_modules'}}
        super().__init__(channels=1, dropout_ratio=0, init_cfg=init_cfg or normal, **kwargs)
        self.conv_seg = None  # the dilated convolutions classify themselves
        self.aspp_modules = ASPPModule(
            dilations,
            self.in_channels,
            self.out_channels,
            conv_cfg=None,
            norm_cfg=None,
            act_cfg=None,
        )

    def forward(self, inputs):
        """Return logits (batch, num_classes, height, width) at the size of the chosen features."""
        return sum(self.aspp_modules(self._transform_inputs(inputs)))
