"""The size at which images are tested: chosen by a name, and said of a test pipeline.

A pipeline's ``Resize`` makes an image as large as possible within its scale, keeping proportions
(mmcv's ``imrescale``: both sides are rounded to the nearest pixel).
"""

import re

from mmseg.models.windows import MIN_INPUT_SIZE
from mmseg.utils.user_error import UserError

SCALES = 'native, half, short1024 (or of another number), or WxH, e.g. 2048x1024'
_RATIOS = {'native': 1.0, 'half': 0.5}
_LONGEST = 10**6  # no image has a side that long: the shorter one is what the scale bounds


def set_scale(pipeline, name):
    """Let a test pipeline resize images as ``name`` says, in place.

    - ``native``: images as they are.
    - ``half``: half of each image's width and height, rounded down, and within that.
    - ``shortN``: the shorter side of each image becomes N.
    - ``WxH``: as an ``img_scale`` of a config: as large as possible within W×H.
    """
    augmentation = _augmentation(pipeline)
    sides = [int(side) for side in re.findall(r'\d+', name)]
    if sides and 0 < min(sides) < MIN_INPUT_SIZE:
        raise UserError(f'--test-scale {name}: networks need sides of {MIN_INPUT_SIZE} and more.')
    if name in _RATIOS:
        scale = None
    elif re.fullmatch(r'short\d+', name) and sides[0]:
        scale = (_LONGEST, sides[0])
    elif re.fullmatch(r'\d+[x×]\d+', name) and all(sides):
        scale = tuple(sides)
    else:
        raise UserError(f'--test-scale {name}: choose {SCALES}.')
    augmentation['img_scale'] = scale
    augmentation['img_ratios'] = [_RATIOS.get(name, 1.0)]
    for transform in augmentation['transforms']:
        if transform['type'] == 'Resize':
            transform['keep_ratio'] = True
            return
    raise UserError("--test-scale needs a 'Resize' in data.test.pipeline.")


def scale_of(pipeline):
    """Describe the size at which a test pipeline presents images: ``native``, ``1024x512``, …"""
    augmentation = _augmentation(pipeline)
    scale, ratios = augmentation.get('img_scale'), augmentation.get('img_ratios') or [1.0]
    ratios = ratios if isinstance(ratios, list | tuple) else [ratios]
    if scale is None:
        names = {ratio: name for name, ratio in _RATIOS.items()}
        return ' + '.join(names.get(ratio, f'{ratio:g} of native') for ratio in ratios)
    scales = scale if isinstance(scale, list) else [scale]
    text = ' + '.join(
        f'short{min(s)}' if max(s) == _LONGEST else f'{max(s)}x{min(s)}' for s in scales
    )
    return text if list(ratios) == [1.0] else f'{text} times {", ".join(f"{r:g}" for r in ratios)}'


def average_scales(pipeline, ratios):
    """Let a test pipeline present images at several sizes and flipped; predictions are averaged."""
    augmentation = _augmentation(pipeline, '--aug-test')
    of_native = augmentation.get('img_scale') is None
    factor = augmentation['img_ratios'][0] if of_native else 1.0
    augmentation['img_ratios'] = [factor * ratio for ratio in ratios]
    augmentation['flip'] = True


def mode_of(test_cfg):
    """Describe how images are predicted: ``whole``, or ``slide 512x512`` (width by height)."""
    if test_cfg.mode == 'whole':
        return 'whole'
    height, width = test_cfg.crop_size
    return f'slide {width}x{height}'


def _augmentation(pipeline, option='a test'):
    for transform in pipeline:
        if transform['type'] == 'MultiScaleFlipAug':
            return transform
    raise UserError(f'{option} needs a MultiScaleFlipAug in data.test.pipeline.')
