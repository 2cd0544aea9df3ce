"""Image and label files that cannot be read: an error of one line that names the file.

The loading transforms of MMSegmentation say "NoneType has no shape" or "image file is truncated",
and not which file of a hundred thousand it is.
"""

import os.path as osp

from mmseg.datasets.builder import build_dataset
from mmseg.datasets.class_subset import ignore_others
from mmseg.datasets.pipelines import LoadAnnotations, LoadImageFromFile
from mmseg.utils.image_files import is_hidden
from mmseg.utils.user_error import UserError

# A few of GTA's labels are of another size than their image (1914×1052 and 1280×720: 2 %). No run
# should end at one of them; tools/check_dataset.py --full lists them.
_SAME_PROPORTIONS = 0.05


def build_files(config, default_args=None):
    """Build a data set of files that names the file when a sample or a true label cannot be read.

    Args:
        config (dict): Of one of MMSegmentation's data sets.
        default_args (dict | None): Arguments that the config does not give.

    Returns:
        CustomDataset: Without hidden files, unless its ``split`` lists them. It also ignores the
        classes that its config does not choose.
    """
    dataset = ignore_others(build_dataset(config, default_args))
    if dataset.split is None:
        infos = dataset.img_infos
        dataset.img_infos = [info for info in infos if not is_hidden(info['filename'])]
    transforms = dataset.pipeline.transforms
    transforms[:] = [
        _NamesFile(transform) if isinstance(transform, (LoadImageFromFile, LoadAnnotations))
        else transform
        for transform in transforms
    ]  # fmt: skip
    dataset.gt_seg_map_loader = _NamesFile(dataset.gt_seg_map_loader)
    return dataset


def images_of(dataset):
    """Which images a data set takes, for messages: ``*.jpg, *.png``."""
    suffixes = dataset.img_suffix
    return ', '.join(f'*{s}' for s in ([suffixes] if isinstance(suffixes, str) else suffixes))


class _NamesFile:
    """A loading transform whose errors name the file.

    Args:
        load (LoadImageFromFile | LoadAnnotations): Loads one file.
    """

    def __init__(self, load):
        self.load = load
        self.of_label = isinstance(load, LoadAnnotations)

    def __call__(self, results):
        try:
            results = self.load(results)
        # Damaged files raise whatever the decoder trips over; nothing but reading happens inside.
        except Exception as error:
            why = getattr(error, 'strerror', None) or 'damaged, or no picture'
            raise UserError(
                f'{self._path(results)} cannot be read: {why}. Restore it and run the same '
                'command again.'
            ) from error
        if self.of_label and 'img' in results:
            self._check_sizes(results)
        return results

    def _path(self, results):
        if self.of_label:
            return osp.join(results.get('seg_prefix') or '', results['ann_info']['seg_map'])
        return osp.join(results.get('img_prefix') or '', results['img_info']['filename'])

    def _check_sizes(self, results):
        label, image = results['gt_semantic_seg'].shape, results['img'].shape[:2]
        # Of equal proportions they become the same picture when they are resized.
        if abs(label[0] * image[1] / (label[1] * image[0]) - 1) > _SAME_PROPORTIONS:
            raise UserError(
                f'{self._path(results)} has the shape {label}, but its image '
                f'{results["filename"]} {image}. Replace the one that is wrong.'
            )
