"""The size at which images are tested: by name, and as it is said."""

import numpy as np
import pytest

from mmseg.datasets.pipelines import Compose
from mmseg.engine.test_scales import average_scales, scale_of, set_scale
from mmseg.utils.user_error import UserError


def pipeline(**options):
    norm = dict(type='Normalize', mean=[0.0] * 3, std=[1.0] * 3, to_rgb=False)
    transforms = [
        dict(type='Resize', keep_ratio=True), dict(type='RandomFlip'), norm,
        dict(type='ImageToTensor', keys=['img']), dict(type='Collect', keys=['img']),
    ]  # fmt: skip
    augmentation = dict(img_scale=(64, 32), flip=False, transforms=transforms) | options
    return [dict(type='MultiScaleFlipAug', **augmentation)]


def sizes(steps, shape):
    """Width and height of what a network sees of an image of this (height, width)."""
    sample = dict(
        img=np.zeros((*shape, 3), np.uint8), img_shape=(*shape, 3), ori_shape=(*shape, 3),
        pad_shape=(*shape, 3), scale_factor=1.0, filename='', ori_filename='', img_fields=['img'],
    )  # fmt: skip
    return [tuple(image.shape[:0:-1]) for image in Compose(steps)(sample)['img']]


@pytest.mark.parametrize(
    ('name', 'shape', 'expected'),
    [
        ('native', (100, 201), (201, 100)),
        ('native', (201, 100), (100, 201)),
        ('half', (100, 200), (100, 50)),
        ('half', (526, 957), (478, 263)),
        ('half', (200, 100), (50, 100)),
        ('short40', (100, 200), (80, 40)),
        ('short40', (300, 100), (40, 120)),
        ('short1024', (768, 1024), (1365, 1024)),
        ('80x40', (100, 150), (60, 40)),
        ('80x40', (150, 100), (40, 60)),
    ],
)
def test_images_of_any_size_become_as_the_scale_says(name, shape, expected):
    steps = pipeline(img_ratios=[0.25, 2.0])
    set_scale(steps, name)
    assert sizes(steps, shape) == [expected]
    assert scale_of(steps) == name


def test_proportions_stay_whatever_the_config_says():
    steps = pipeline()
    steps[0]['transforms'][0]['keep_ratio'] = False
    assert sizes(steps, (100, 100)) == [(64, 32)]
    set_scale(steps, 'short40')
    assert sizes(steps, (100, 200)) == [(80, 40)]


def test_averaged_over_scales_of_any():
    steps = pipeline()
    set_scale(steps, 'half')
    average_scales(steps, [1.0, 2.0])
    assert sizes(steps, (100, 200)) == [(100, 50), (100, 50), (200, 100), (200, 100)]
    assert scale_of(steps) == 'half + native'
    steps = pipeline()
    average_scales(steps, [0.5, 1.0])
    assert scale_of(steps) == '64x32 times 0.5, 1'


def test_what_a_config_says():
    assert scale_of(pipeline()) == '64x32'
    assert scale_of(pipeline(img_scale=[(64, 32), (128, 64)])) == '64x32 + 128x64'
    assert scale_of(pipeline(img_scale=None, img_ratios=[0.75])) == '0.75 of native'


@pytest.mark.parametrize('name', ['full', '1024', 'short', 'short0', '0x512', '1024x', 'half '])
def test_a_scale_that_is_none(name):
    with pytest.raises(UserError, match=f'--test-scale {name}: choose native, half, short1024'):
        set_scale(pipeline(), name)


def test_a_pipeline_that_cannot_be_scaled():
    with pytest.raises(UserError, match='needs a MultiScaleFlipAug'):
        set_scale([dict(type='LoadImageFromFile')], 'native')
    with pytest.raises(UserError, match="--test-scale needs a 'Resize'"):
        set_scale(pipeline(transforms=[dict(type='RandomFlip')]), 'native')
