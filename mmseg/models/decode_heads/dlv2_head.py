"""DeepLabV2's classifier (arXiv 1606.00915); earlier work on UDA uses two of its four dilations."""

from mmseg.models.builder import HEADS
from mmseg.models.decode_heads.aspp_head import ASPPModule
from mmseg.models.decode_heads.decode_head import BaseDecodeHead


@HEADS.register_module()
class DLV2Head(BaseDecodeHead):
    """Sum of dilated 3x3 convolutions to the classes; no norm, activation or dropout."""

    def __init__(self, dilations=(6, 12, 18, 24), init_cfg=None, **kwargs):
        normal = {'type': 'Normal', 'std': 0.01, 'override': {'name': 'aspp_modules'}}
        super().__init__(channels=1, dropout_ratio=0, init_cfg=init_cfg or normal, **kwargs)
        self.conv_seg = None  # the dilated convolutions classify themselves
        plain = {'conv_cfg': None, 'norm_cfg': None, 'act_cfg': None}
        self.aspp_modules = ASPPModule(dilations, self.in_channels, self.out_channels, **plain)

    def forward(self, inputs):
        """Return logits (batch, num_classes, height, width) at the size of the chosen features."""
        return sum(self.aspp_modules(self._transform_inputs(inputs)))
