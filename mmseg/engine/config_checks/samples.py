"""Whether pipelines make of an image what training and testing take."""

import torch

from mmseg.utils.user_error import UserError


def check_training_sample(sample):
    """Check a sample of the training data.

    Args:
        sample (dict): Of a supervised data set or of UDADataset, still in mmcv's containers.

    Raises:
        UserError: Names the pipeline that leaves something out, or sizes that do not go together.
    """
    is_uda = 'target_img' in sample
    places = {'': 'data.train.source' if is_uda else 'data.train'}
    if is_uda:
        places['target_'] = 'data.train.target'
    for prefix, place in places.items():
        _check_keys(place, sample, [f'{prefix}img', f'{prefix}img_metas'])
        _check_image(place, sample[f'{prefix}img'].data)
    _check_keys(places[''], sample, ['gt_semantic_seg'])
    shapes = {name: tuple(sample[name].data.shape[-2:]) for name in sample if 'metas' not in name}
    if len(set(shapes.values())) > 1:
        said = ', '.join(f'{name} {h}×{w}' for name, (h, w) in shapes.items())
        raise UserError(f'the pipelines of data.train make different sizes: {said}')


def check_test_sample(place, sample):
    """Check a sample of a data set to test on: lists over augmentations.

    Args:
        place (str): Of the data set in the config.
        sample (dict): Images and their meta.

    Raises:
        UserError: As above.
    """
    _check_keys(place, sample, ['img', 'img_metas'])
    if not isinstance(sample['img'], list):
        raise UserError(f'{place}.pipeline has no MultiScaleFlipAug')
    _check_image(place, sample['img'][0].data)


def _check_keys(place, sample, keys):
    for key in keys:
        if key not in sample:
            name = key.removeprefix('target_')
            raise UserError(f"{place}.pipeline leaves {name} out: 'Collect' has to name it in keys")


def _check_image(place, image):
    if not torch.is_tensor(image) or not image.is_floating_point():
        raise UserError(
            f"{place}.pipeline leaves the image as it was read: 'Normalize' is missing, or what "
            "makes tensors ('DefaultFormatBundle', in tests 'ImageToTensor')"
        )
