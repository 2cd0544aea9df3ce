"""HRDA: looks at an image twice, at a context crop of low and a detail crop of high resolution.

Source: Hoyer et al., HRDA, ECCV 2022 (arXiv 2204.13132), section 3.
"""

import copy
import math
from fractions import Fraction

import torch
import torch.nn.functional as F

from mmseg.core import add_prefix
from mmseg.models.backbones.timm_vit import TimmViT
from mmseg.models.builder import SEGMENTORS
from mmseg.models.decode_heads.hrda_head import mean_attention
from mmseg.models.segmentors.encoder_decoder import EncoderDecoder
from mmseg.models.training_pass import PassOutput, View
from mmseg.models.windows import MIN_INPUT_SIZE, cut, cut_windows, merge_windows, window_boxes
from mmseg.ops import resize
from mmseg.utils.user_error import UserError


@SEGMENTORS.register_module(
    name=['HRDAEncoderDecoder', 'MultiResEncoderDecoder']  # its name in older configs
)
class HRDAEncoderDecoder(EncoderDecoder):
    """An encoder and an ``HRDAHead``, both shared by the two scales.

    Args:
        scales (list[float]): Of context and detail, the larger of which is 1.
        hr_crop_size (tuple[int] | None): (height, width) of the detail crop; None: the whole image.
        crop_coord_divisible (int | None): Its corner is a multiple of this; None: of ``divisor``.
        feature_scale (float | str): The scale whose features the feature distance is taken on;
            ``'all'``: on both.
        hr_slide_inference (bool): In inference the detail comes from windows of the crop's size,
            or from the whole image.
        hr_slide_overlapping (bool): Those windows overlap by half.
        blur_hr_crop (bool): Take the detail's resolution away (an ablation).
        **kwargs: Of ``EncoderDecoder``.
    """

    def __init__(
        self, backbone, decode_head, scales=(1,), hr_crop_size=None, crop_coord_divisible=None,
        feature_scale=1, hr_slide_inference=True, hr_slide_overlapping=True, blur_hr_crop=False,
        auxiliary_head=None, **kwargs,
    ):  # fmt: skip
        self.scales = sorted(scales)
        if len(self.scales) != 2 or self.scales[1] != 1:
            raise UserError(f'scales={list(scales)}: HRDA has two, the larger of which is 1')
        if feature_scale != 'all' and feature_scale not in self.scales:
            raise UserError(f"feature_scale={feature_scale!r} is neither 'all' nor in scales")
        if auxiliary_head is not None:
            raise UserError('HRDAEncoderDecoder takes no auxiliary_head')
        decode_head = dict(copy.deepcopy(decode_head), scales=self.scales)
        super().__init__(backbone, decode_head, **kwargs)
        unit = stride = self.decode_head.output_stride
        if self.decode_head.upsampling > 1 and not isinstance(self.backbone, TimmViT):
            raise UserError(
                "HRDA takes single_scale_head='VFMHead' with model.backbone.type='TimmViT' alone: "
                "use 'DAFormerHead'"
            )
        if isinstance(self.backbone, TimmViT):
            unit = self.backbone.stride  # it takes whole patches
            stride = self.decode_head.output_stride = self._stride_on(self.backbone)
        # Half of a crop is the step of windows that overlap.
        if hr_crop_size is not None and any(side % (2 * unit) for side in hr_crop_size):
            sizes = f'multiples of {2 * unit}'
            raise UserError(f'hr_crop_size={tuple(hr_crop_size)}: {sizes} are needed')
        # Of such sides the maps of both scales are of the same size.
        self.divisor = unit * Fraction(self.scales[0]).limit_denominator(64).denominator
        self.crop_coord_divisible = crop_coord_divisible or self.divisor
        if self.crop_coord_divisible % stride:
            raise UserError(
                f'crop_coord_divisible={crop_coord_divisible} is no multiple of the stride of the '
                f'head, {stride:g}: details would be pasted beside their place'
            )
        self.hr_crop_size = hr_crop_size
        self.feature_scale = feature_scale
        self.hr_slide_inference = hr_slide_inference
        self.hr_slide_overlapping = hr_slide_overlapping
        self.blur_hr_crop = blur_hr_crop

    def _stride_on(self, vit):
        """Return the stride of the head's logits on a plain ViT and perhaps a neck."""
        if vit.inside_scale is not None:
            raise UserError(
                'HRDA needs model.backbone.inside_scale=None: details are pasted by their pixels'
            )
        finest = self.decode_head.head.in_index
        finest = finest[0] if isinstance(finest, list | tuple) else finest
        factors = self.neck.rescales if self._has_pyramid() else [1] * len(vit.out_indices)
        return vit.stride / factors[finest] / self.decode_head.upsampling

    def _has_pyramid(self):
        if self.with_neck and not hasattr(self.neck, 'rescales'):
            raise UserError(
                "HRDA on a plain ViT takes model.neck.type='Feature2Pyramid' or 'BilinearPyramid', "
                f'not {type(self.neck).__name__}'
            )
        return self.with_neck

    def training_pass(self, img, img_metas, gt_semantic_seg=None, weight=None, generator=None):
        """Predict a random detail crop and its context; see ``TrainingPass``."""
        if any(side % self.divisor for side in img.shape[2:]):
            raise UserError(
                f'images of {img.shape[2]}×{img.shape[3]}: HRDA trains on sides that are multiples '
                f'of {self.divisor}; change the size of the crops in data.train (RandomCrop, or '
                'sync_crop_size)'
            )
        if self.decode_head.debug_output_attention:
            raise UserError(
                'model.decode_head.debug_output_attention=True takes the place of predictions: '
                'leave it out, and use tools/test.py --hrda-out ATT'
            )
        box = self.draw_box(img.shape[2:], generator)
        context_img, detail_img = self._at_scales(img)
        detail_img = cut(detail_img, box)
        context, detail = self.extract_feat(context_img), self.extract_feat(detail_img)
        *logits, attention = self.decode_head(context, detail, [box])
        pictures = {
            'detail crop': detail_img,
            'trust in the detail': lambda: mean_attention(attention, logits[0]),
        }
        if gt_semantic_seg is None:
            return PassOutput({}, logits[0], [View(context_img, None, context)], pictures)
        losses = self.decode_head.losses(logits, gt_semantic_seg, weight, box)
        views = [
            View(context_img, gt_semantic_seg, context),
            View(detail_img, cut(gt_semantic_seg, box), detail),
        ]
        if self.feature_scale != 'all':
            views = [views[self.scales.index(self.feature_scale)]]
        return PassOutput(add_prefix(losses, 'decode'), logits[0], views, pictures)

    def forward_train(self, img, img_metas, gt_semantic_seg):
        """Return the losses of :meth:`training_pass`."""
        return self.training_pass(img, img_metas, gt_semantic_seg).losses

    def draw_box(self, size, generator=None):
        """Draw the detail crop of a batch of images of ``size`` (height, width)."""
        size = tuple(size)
        if self.hr_crop_size is None:
            return 0, size[0], 0, size[1]

        def draw(count):
            return torch.randint(count, (1,), generator=generator, device='cpu').tolist()[0]

        return crop_box(size, self.hr_crop_size, self.crop_coord_divisible, draw)

    def _at_scales(self, img):
        context, detail = (img if scale == 1 else _resize(img, scale) for scale in self.scales)
        return context, _resize(_resize(detail, 0.5), 2) if self.blur_hr_crop else detail

    def at_feature_scale(self, img):
        """Resize images to `feature_scale`; where that is both, to the context's."""
        scale = 0 if self.feature_scale == 'all' else self.scales.index(self.feature_scale)
        return self._at_scales(img)[scale]

    def encode_decode(self, img, img_metas):
        """Return logits (N, C, H, W), the detail being predicted window by window.

        Sides that are too small or no multiples of ``divisor`` are padded with the mean colour.
        """
        height, width = img.shape[2:]
        rows, columns = (
            math.ceil(max(side, MIN_INPUT_SIZE / self.scales[0]) / self.divisor) * self.divisor
            - side
            for side in (height, width)
        )
        context, detail = self._at_scales(F.pad(img, (0, columns, 0, rows)))
        size = detail.shape[2:]
        crop = self.hr_crop_size if self.hr_slide_inference and self.hr_crop_size else size
        stride = [side // 2 if self.hr_slide_overlapping else side for side in crop]
        boxes = window_boxes(size, crop, stride)
        context = self.extract_feat(context)
        detail = self.extract_feat(cut_windows(detail, boxes))
        logits, *_ = self.decode_head(context, detail, boxes)
        logits = resize(logits, size=size, mode='bilinear', align_corners=False)
        return logits[..., :height, :width]

    def slide_inference(self, img, img_meta, rescale):
        """As in MMSegmentation; ``test_cfg.batched_slide`` predicts all windows in one batch."""
        size = img.shape[2:]
        boxes = window_boxes(size, self.test_cfg.crop_size, self.test_cfg.stride)
        if self.test_cfg.get('batched_slide', False):
            logits = self.encode_decode(cut_windows(img, boxes), img_meta)
        else:
            logits = torch.cat([self.encode_decode(cut(img, box), img_meta) for box in boxes])
        logits = merge_windows(logits, boxes, size)
        if rescale:
            height, width = img_meta[0]['img_shape'][:2]
            original = img_meta[0]['ori_shape'][:2]
            logits = logits[..., :height, :width]
            logits = resize(logits, size=original, mode='bilinear', align_corners=False)
        return logits

    def convert_weights(self, weights):
        """Bring weights of another network of this kind to this one's names.

        The decoder of a single-scale network becomes that of both scales; the attention, which it
        lacks, stays as it is. With ``fixed_attention`` there is none.
        """
        inner = ('decode_head.head.', 'decode_head.scale_attention.')
        own = self.state_dict()
        if not any(name.startswith(inner) for name in weights):
            weights = {
                name.replace('decode_head.', inner[0], 1): value for name, value in weights.items()
            }
            weights |= {name: value for name, value in own.items() if name.startswith(inner[1])}
        return {n: v for n, v in weights.items() if n in own or not n.startswith(inner[1])}


def _resize(img, factor):
    return resize(img, scale_factor=factor, mode='bilinear', align_corners=False)


def crop_box(size, crop_size, divisible, draw):
    """Draw a box (y1, y2, x1, x2) in an image of ``size``; ``draw(n)`` gives one of 0, …, n - 1."""
    if any(crop > side for side, crop in zip(size, crop_size, strict=True)):
        raise UserError(
            f'hr_crop_size={tuple(crop_size)} does not fit into images of {size[0]}×{size[1]}: '
            'lower it, or enlarge the crops in data.train'
        )
    box = []
    for side, crop in zip(size, crop_size, strict=True):
        start = 0
        if tuple(size) != tuple(crop_size):
            start = divisible * draw(max((side - crop + 1) // divisible, 1))
        box += [start, start + crop]
    return tuple(box)
