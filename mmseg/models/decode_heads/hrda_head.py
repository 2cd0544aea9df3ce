"""HRDA's decoder: fuses a context and a detail prediction by a learned scale attention.

Source: Hoyer et al., HRDA, ECCV 2022 (arXiv 2204.13132), sections 3.2 to 3.4.
"""

import copy

from mmcv.runner import BaseModule

from mmseg.models.builder import HEADS, build_head
from mmseg.models.training_pass import pixel_weights
from mmseg.models.windows import cut, merge_windows, scaled
from mmseg.ops import resize
from mmseg.utils.user_error import UserError

OUTPUT_STRIDES = {'DAFormerHead': 4, 'DLV2Head': 8, 'VFMHead': 4, 'VFMPyramidHead': 4}
UPSAMPLING = {'VFMHead': 4}  # of the map that a head takes; the others' logits are of its size


@HEADS.register_module(name=['HRDAHead', 'MultiResAttentionWrapper'])  # its name in older configs
class HRDAHead(BaseModule):
    """One decoder for both scales, and a second one that weights them from the context.

    All other keys are those of the single-scale head.

    Args:
        single_scale_head (str): One of ``OUTPUT_STRIDES``.
        scales (tuple[float]): Of context and detail; the segmentor sets them.
        lr_loss_weight, hr_loss_weight (float): Of the context's and the detail's own loss; the
            fused prediction's has the rest to 1.
        attention_classwise (bool): Attention per class, or one for all.
        attention_embed_dim (int): Channels of the attention's decoder, where it is a
            DAFormerHead.
        fixed_attention (float | None): Takes the place of a learned attention.
        debug_output_attention (bool): In eval mode, return the attention in place of logits.
        enable_hr_crop, hr_slide_inference: Stand in configs of published runs and mean nothing.
    """

    def __init__(
        self, single_scale_head, scales=(0.5, 1), lr_loss_weight=0, hr_loss_weight=0,
        attention_classwise=True, attention_embed_dim=256, fixed_attention=None,
        debug_output_attention=False, enable_hr_crop=None, hr_slide_inference=None, init_cfg=None,
        **options,
    ):  # fmt: skip
        super().__init__(init_cfg)
        if single_scale_head not in OUTPUT_STRIDES:
            known = ', '.join(OUTPUT_STRIDES)
            raise UserError(f'single_scale_head is {single_scale_head!r}; it has to be of {known}')
        if min(lr_loss_weight, hr_loss_weight, 1 - lr_loss_weight - hr_loss_weight) < 0:
            raise UserError(
                f'lr_loss_weight={lr_loss_weight} and hr_loss_weight={hr_loss_weight}: they must '
                'not be negative, nor more than 1 together'
            )
        self.output_stride = OUTPUT_STRIDES[single_scale_head]
        self.upsampling = UPSAMPLING.get(single_scale_head, 1)
        self.scales = scales
        self.loss_weights = 1 - lr_loss_weight - hr_loss_weight, lr_loss_weight, hr_loss_weight
        self.fixed_attention = fixed_attention
        self.debug_output_attention = debug_output_attention
        self.head = build_head(dict(type=single_scale_head, **copy.deepcopy(options)))
        if fixed_attention is None:
            attention = _attention_config(single_scale_head, options, attention_embed_dim)
            if not attention_classwise:
                attention.update(num_classes=1, threshold=0.5)
            self.scale_attention = build_head(attention)
        for name in ('num_classes', 'out_channels', 'ignore_index', 'align_corners', 'threshold'):
            setattr(self, name, getattr(self.head, name))

    def forward(self, context, detail, boxes):
        """Predict both scales and fuse them.

        Args:
            context (list[Tensor]): Features of N images at the context's scale.
            detail (list[Tensor]): Features of windows of the same images at the detail's scale,
                window 0 of all images first.
            boxes (list[tuple[int]]): The windows (y1, y2, x1, x2) in pixels at the detail's scale.

        Returns:
            tuple[Tensor]: Logits: fused, of the context as it is weighted in them, and of the
            windows. Then the attention (N, C or 1, H, W), of the size of the first.
        """
        small = self.head(context)
        large = self.head(detail)
        attention = self._attention(context, small)
        if len(boxes) == 1:  # elsewhere there is only the context
            box = scaled(boxes[0], self.output_stride / self.scales[0] * self.scales[1])
            inside = attention.new_ones(1, 1, box[1] - box[0], box[3] - box[2])
            attention = attention * merge_windows(inside, [box], small.shape[2:])
        small = (1 - attention) * small
        upsampled, attention = self._upsample(small), self._upsample(attention)
        merged = merge_windows(
            large, [scaled(box, self.output_stride) for box in boxes], upsampled.shape[2:]
        )
        fused = attention * merged + upsampled
        if self.debug_output_attention and not self.training:
            fused = mean_attention(attention, fused)
        return fused, small, large, attention

    def _attention(self, context, like):
        if self.fixed_attention is None:
            return self.scale_attention(context).sigmoid()
        return like.new_full((1, 1, *like.shape[2:]), self.fixed_attention)

    def _upsample(self, tensor):
        factor = self.scales[1] / self.scales[0]
        size = [int(side * factor) for side in tensor.shape[2:]]
        return resize(tensor, size=size, mode='bilinear', align_corners=False)

    def losses(self, logits, label, weight, box):
        """Compute the losses of what :meth:`forward` returned for one box.

        Args:
            logits (tuple[Tensor]): Fused, of the context, of the detail.
            label (Tensor): (N, 1, H, W) int64, at the detail's scale.
            weight (Tensor | None): (N, 1, H, W) of the pixels.
        """
        inside = cut(label, box), None if weight is None else cut(weight, box)
        targets = (label, weight), (label, weight), inside
        found = {}
        for prefix, share, scores, (gt, w) in zip(
            ('', 'lr.', 'hr.'), self.loss_weights, logits, targets, strict=True
        ):
            if prefix and share == 0:
                continue
            with pixel_weights(self.head, w):
                for name, value in self.head.losses(scores, gt).items():
                    found[prefix + name] = share * value if 'loss' in name else value
        return found


def mean_attention(attention, logits):
    """Average the attention (N, C or 1, H, W) over the classes as they are predicted: (N, 1, H, W).

    Args:
        logits (Tensor): (N, C, H, W), fused.
    """
    return (attention * logits.softmax(dim=1)).sum(dim=1, keepdim=True)


def _attention_config(kind, options, channels):
    """A light decoder for the attention: without context, where the single-scale head has any."""
    config = dict(type=kind, **copy.deepcopy(options))
    if kind == 'DAFormerHead':
        config['channels'] = channels
        params = config['decoder_params']
        params['embed_dims'] = channels
        fusion = params['fusion_cfg']
        if fusion['type'] == 'aspp':
            norm = {'norm_cfg': fusion.get('norm_cfg'), 'act_cfg': {'type': 'ReLU'}}
            params['fusion_cfg'] = dict(type='conv', kernel_size=1, **norm)
    return config
