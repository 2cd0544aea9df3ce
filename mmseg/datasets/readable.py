"""Load image and label files; one that cannot be read is reported in one line that names it.

Training, evaluation, tests and the image demo all load images by the first transform of their
pipeline, so they see the same pixels of a file.
"""

import io
import os.path as osp

import cv2
import mmcv
import numpy as np
from PIL import Image

from mmseg.datasets.builder import PIPELINES, build_dataset
from mmseg.datasets.pipelines import LoadAnnotations, LoadImageFromFile
from mmseg.utils.files import DECODING_ERRORS, is_hidden
from mmseg.utils.user_error import UserError

# What OpenCV prints about a damaged file names no file; the error raised here does.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

# A few of GTA's labels are of another size than their image (1914×1052 and 1280×720: 2 %). No run
# should end at one of them; tools/check_dataset.py --full lists them.
_SAME_PROPORTIONS = 0.05
_EXPLAINED = 'tools/check_dataset.py CONFIG --full lists all such files'


@PIPELINES.register_module()
class LoadImageInRange(LoadImageFromFile):
    """Load images of more than 8 bits per channel as 8 bits; those of 8 bits stay as they are.

    Args:
        value_range (tuple[float, float]): The stored values that become 0 and 255, e.g.
            ``(0, 4095)`` for 12 bits, which ``LoadImageFromFile`` leaves nearly black.
    """

    def __init__(self, value_range):
        super().__init__(color_type=cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        self.low, self.high = value_range
        if not self.low < self.high:
            raise UserError(f'value_range={value_range} has to be (low, high), with low < high')

    def __call__(self, results):
        results = super().__call__(results)
        if results['img'].dtype != np.uint8:
            scaled = (results['img'].astype(np.float32) - self.low) * (255 / (self.high - self.low))
            results['img'] = scaled.clip(0, 255).round().astype(np.uint8)
        return results

    def __repr__(self):
        return f'{type(self).__name__}(value_range=({self.low}, {self.high}))'


def build_files(config, default_args=None):
    """Build a data set of files, of one of MMSegmentation's types, whose errors name the file.

    It is without hidden files, unless its ``split`` lists them, and ignores the classes that its
    config does not choose. Its ``load_image`` is for :func:`read_image`.
    """
    dataset = build_dataset(config, default_args)
    if dataset.label_map:  # MMSegmentation maps all other classes to -1, which no byte can hold
        dataset.label_map = {
            old: dataset.ignore_index if new < 0 else new for old, new in dataset.label_map.items()
        }
    infos = dataset.img_infos
    if dataset.split is None:
        dataset.img_infos = [info for info in infos if not is_hidden(info['filename'])]
    else:  # a blank line of it names no image
        dataset.img_infos = [info for info in infos if info['filename'] != dataset.img_suffix]
    dataset.load_image = None
    transforms = dataset.pipeline.transforms
    for position, transform in enumerate(transforms):
        if isinstance(transform, LoadImageFromFile):
            transforms[position] = dataset.load_image = FileLoader(transform)
        elif isinstance(transform, LoadAnnotations):
            transforms[position] = _label_loader(transform, dataset, transform.reduce_zero_label)
    # Test samples take off the reserved zero themselves, after it.
    dataset.gt_seg_map_loader = _label_loader(
        dataset.gt_seg_map_loader, dataset, dataset.reduce_zero_label
    )
    return dataset


def _label_loader(load, dataset, reserves_zero):
    if type(load) is LoadAnnotations:  # a subclass checks its labels itself
        load = LoadTrainIds(load, dataset, reserves_zero)
    return FileLoader(load)


def images_of(dataset):
    """Which images a data set takes, for messages: ``*.jpg, *.png``."""
    suffixes = dataset.img_suffix
    return f'*{suffixes}' if isinstance(suffixes, str) else ', '.join(f'*{s}' for s in suffixes)


def image_loader(pipeline):
    """Build the transform that loads the images of a config's pipeline."""
    for transform in pipeline:
        kind = PIPELINES.get(transform['type'])
        if kind is not None and issubclass(kind, LoadImageFromFile):
            return FileLoader(PIPELINES.build(transform))
    return FileLoader(LoadImageFromFile())


def read_image(path, load=None):
    """Read an image file as a pipeline does: (H, W, 3) BGR uint8.

    Args:
        path (str): The file.
        load (Callable | None): From :func:`image_loader`; None is MMSegmentation's default.
    """
    if not osp.isfile(path):
        raise UserError(f'image {path} does not exist.')
    load = load or image_loader([])
    image = load({'img_prefix': None, 'img_info': {'filename': path}})['img']
    return image.astype(np.uint8, copy=False)


def unused_range(path, image, load):
    """Find the largest value in a file of 16 bits per channel that was loaded nearly black.

    Returns:
        int | None: None if the image is bright enough or ``load`` was told its range.
    """
    if image.max() > 2**14 // 256 or isinstance(load.load, LoadImageInRange):
        return None
    stored = cv2.imread(path, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    return None if stored is None or stored.dtype == np.uint8 else int(stored.max())


def range_hint(largest):
    """The sentence that mends images whose largest stored value is ``largest``."""
    high = 2 ** max(8, largest.bit_length()) - 1
    return (
        'they are nearly black as 8 bits. State their range in the training and test pipelines, '
        f"instead of dict(type='LoadImageFromFile'): dict(type='LoadImageInRange', "
        f'value_range=(0, {high}))'
    )


class LoadTrainIds(LoadAnnotations):
    """Load labels of a data set, which have to hold its train ids and to fit their image.

    With ``reserves_zero``, 0 on disk is no class.
    """

    def __init__(self, load, dataset, reserves_zero):
        super().__init__(load.reduce_zero_label, load.file_client_args, load.imdecode_backend)
        label_map = dataset.label_map or {}
        self.ignore_index = dataset.ignore_index
        self.last_id = max(label_map or range(len(dataset.CLASSES or range(256)))) + reserves_zero
        self.train_ids = np.arange(256, dtype=np.uint8)  # by what is stored
        for old, new in label_map.items():
            self.train_ids[old] = new
        if self.reduce_zero_label:
            is_class = self.train_ids % 255 != 0
            self.train_ids = np.where(is_class, self.train_ids - np.uint8(1), np.uint8(255))

    def __call__(self, results):
        path = _path(results, self)
        self.file_client = self.file_client or mmcv.FileClient(**self.file_client_args)
        content = self.file_client.get(path)
        ids = mmcv.imfrombytes(content, flag='unchanged', backend=self.imdecode_backend).squeeze()
        self._check_ids(ids, path)
        results['gt_semantic_seg'] = cv2.LUT(ids.astype(np.uint8), self.train_ids)
        results['seg_fields'].append('gt_semantic_seg')
        if 'img' in results:
            self._check_size(results, path)
        return results

    def _check_ids(self, ids, path):
        if ids.ndim != 2:
            raise UserError(f'{path} holds colours or transparency instead of ids; {_EXPLAINED}.')
        is_foreign = (ids > self.last_id) & (ids != self.ignore_index)
        if ids.dtype.itemsize > 1:
            is_foreign |= ids != ids.astype(np.uint8)
        if is_foreign.any():
            foreign = ', '.join(map(str, np.unique(ids[is_foreign])[:3]))
            raise UserError(
                f'{path} holds ids that are neither 0..{self.last_id} nor {self.ignore_index} '
                f'(ignored): {foreign}. Correct it and give the command again; {_EXPLAINED}.'
            )

    def _check_size(self, results, path):
        label, image = results['gt_semantic_seg'].shape, results['img'].shape[:2]
        # Of equal proportions they become the same image when they are resized.
        if abs(label[0] * image[1] / (label[1] * image[0]) - 1) > _SAME_PROPORTIONS:
            raise UserError(
                f'{path} has the shape {label}, but its image {results["filename"]} {image}. '
                'Replace the one that is wrong.'
            )


class FileLoader:
    """A loading transform whose errors name the file."""

    def __init__(self, load):
        self.load = load

    def __repr__(self):
        return repr(self.load)

    def __call__(self, results):
        try:
            return self.load(results)
        except (UserError, MemoryError):
            raise
        except Exception as error:
            if getattr(error, 'code', None) == cv2.Error.StsNoMem:
                raise MemoryError(str(error)) from error
            path = _path(results, self.load)
            damage = _damage(path, self.load, error)
            if damage is None:  # a bug
                error.add_note(f'while loading {path}')
                raise
            raise UserError(
                f'{path} cannot be read: {damage}. Restore or convert it, then give the command '
                'again.'
            ) from error


def _path(results, load):
    if isinstance(load, LoadAnnotations):
        return osp.join(results.get('seg_prefix') or '', results['ann_info']['seg_map'])
    return osp.join(results.get('img_prefix') or '', results['img_info']['filename'])


def _damage(path, load, error):
    """What is wrong with a file that was not loaded; None if nothing is."""
    if getattr(error, 'strerror', None):
        return error.strerror if error.filename in (None, path) else None
    is_own = type(load) not in (LoadImageFromFile, LoadImageInRange, LoadTrainIds)
    if is_own and osp.splitext(path)[1].lower() not in Image.registered_extensions():
        return None  # in a format that its loader alone knows
    content = mmcv.FileClient(**load.file_client_args).get(path)
    if not content:
        return 'the file is empty'
    try:
        if load.imdecode_backend != 'cv2':
            Image.open(io.BytesIO(content)).load()
        elif mmcv.imfrombytes(content, getattr(load, 'color_type', 'unchanged')) is None:
            return "damaged, or not an image for OpenCV; imdecode_backend='pillow' reads more"
    except DECODING_ERRORS as error:
        return f'damaged, or not an image ({error})'
    except cv2.error as error:
        return f'OpenCV says: {error.err}'
    return None
