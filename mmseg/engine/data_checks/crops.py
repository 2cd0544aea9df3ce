"""Whether the crops of a training pipeline fit into what its resizing makes of the images."""

import numpy as np

from mmseg.datasets.builder import PIPELINES


def too_large_crop(place, pipeline, sizes):
    """Compare ``RandomCrop`` with the images that reach it.

    A crop that does not fit would be padded, with pixels that have no class. Where the scale is
    drawn at random, the largest one must be large enough.

    Args:
        place (str): Of the data set in the config.
        pipeline (list[dict]): Its transforms.
        sizes (Iterable[tuple[int, int]]): Different (width, height) of the images.

    Returns:
        str | None: Which crop is too large for which images.
    """
    kinds = [transform['type'] for transform in pipeline]
    if 'RandomCrop' not in kinds:
        return None
    position = kinds.index('RandomCrop')
    crop_height, crop_width = pipeline[position]['crop_size']
    resizes = [PIPELINES.build(t) for t in pipeline[:position] if t['type'] == 'Resize']
    for size in sizes:
        resized = _largest_sizes(resizes, size)
        if not any(w >= crop_width and h >= crop_height for w, h in resized):
            return (
                f'{place}.pipeline: the crop of {crop_width}×{crop_height} is larger than the '
                f'resized image: {_text(size)} becomes {" or ".join(map(_text, resized))}. Make '
                "RandomCrop's crop_size smaller or Resize's img_scale larger."
            )
    return None


def _largest_sizes(resizes, size):
    """(width, height) of an image of ``size`` after the resizing transforms, at their largest."""
    sizes = [size]
    for resize in resizes:
        sizes = [_resized(resize, old, scale) for old in sizes for scale in _scales(resize, old)]
    return sizes


def _resized(resize, size, scale):
    results = resize({'img': np.zeros(size[::-1], np.uint8), 'scale': scale})
    return results['img_shape'][::-1]


def _scales(resize, size):
    """The scales that MMSegmentation's ``Resize`` may draw; of a range, its upper end."""
    if resize.ratio_range is not None:
        width, height = (resize.img_scale or [size])[0]
        ratio = max(resize.ratio_range)
        return [(int(width * ratio), int(height * ratio))]
    if len(resize.img_scale) > 1 and resize.multiscale_mode == 'range':
        long_and_short = [(max(scale), min(scale)) for scale in resize.img_scale]
        return [tuple(max(sides) for sides in zip(*long_and_short, strict=True))]
    return resize.img_scale


def _text(size):
    return f'{size[0]}×{size[1]}'
