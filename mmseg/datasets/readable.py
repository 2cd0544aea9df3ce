"""Image and label files: how they are decoded, and one-line errors that name the file.

Training, evaluation, tests and the image demo all load images by the first transform of their
pipeline, so they see the same pixels of a file. The loading transforms of MMSegmentation say
"NoneType has no shape" or "Target 33 is out of bounds", and not which file of a hundred thousand
it is.
"""

import io
import os.path as osp

import cv2
import mmcv
import numpy as np
from PIL import Image

from mmseg.datasets.builder import PIPELINES, build_dataset
from mmseg.datasets.class_subset import ignore_others
from mmseg.datasets.pipelines import LoadAnnotations, LoadImageFromFile
from mmseg.utils.image_files import DECODING_ERRORS, is_hidden
from mmseg.utils.user_error import UserError

# What OpenCV prints about a damaged file names no file; the error raised here does.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

# A few of GTA's labels are of another size than their image (1914×1052 and 1280×720: 2 %). No run
# should end at one of them; tools/check_dataset.py --full lists them.
_SAME_PROPORTIONS = 0.05
_EXPLAINED = 'tools/check_dataset.py CONFIG --full lists all such files'


@PIPELINES.register_module()
class LoadImageInRange(LoadImageFromFile):
    """Load images of more than 8 bits per channel, such as 12 bits in files of 16, as 8 bits.

    ``LoadImageFromFile`` keeps the upper 8 of 16 bits, which leaves 12-bit images nearly black.
    The range is the same for all images, so a dark one stays dark. Images of 8 bits stay as they
    are. Use it in the training and the test pipeline.

    Args:
        value_range (tuple[float, float]): The stored values that become 0 and 255, e.g.
            ``(0, 4095)`` for 12 bits. Values outside are clipped.
        to_float32 (bool), file_client_args (dict): As ``LoadImageFromFile`` has them.
    """

    def __init__(self, value_range, to_float32=False, file_client_args=None):
        super().__init__(
            to_float32,
            color_type=cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH,
            file_client_args=file_client_args or dict(backend='disk'),
        )
        self.low, self.high = value_range
        if not self.low < self.high:
            raise UserError(f'value_range={value_range} has to be (low, high), with low < high')

    def __call__(self, results):
        results = super().__call__(results)
        if results['img'].dtype != np.uint8:
            scaled = (results['img'].astype(np.float32) - self.low) * (255 / (self.high - self.low))
            image = scaled.clip(0, 255).round().astype(np.uint8)
            results['img'] = image.astype(np.float32) if self.to_float32 else image
        return results

    def __repr__(self):
        return f'{type(self).__name__}(value_range=({self.low}, {self.high}))'


def build_files(config, default_args=None):
    """Build a data set of files that names the file when a sample or a true label cannot be read.

    Args:
        config (dict): Of one of MMSegmentation's data sets.
        default_args (dict | None): Arguments that the config does not give.

    Returns:
        CustomDataset: Without hidden files, unless its ``split`` lists them. It also ignores the
        classes that its config does not choose. Its ``load_image`` is for :func:`read_image`.
    """
    dataset = ignore_others(build_dataset(config, default_args))
    infos = dataset.img_infos
    if dataset.split is None:
        dataset.img_infos = [info for info in infos if not is_hidden(info['filename'])]
    else:  # a blank line of it names no image
        dataset.img_infos = [info for info in infos if info['filename'] != dataset.img_suffix]
    transforms = dataset.pipeline.transforms
    for position, transform in enumerate(transforms):
        if isinstance(transform, LoadImageFromFile):
            transforms[position] = _NamesFile(transform)
        elif isinstance(transform, LoadAnnotations):
            transforms[position] = _LabelFile(transform, dataset)
    dataset.load_image = next((t for t in transforms if isinstance(t, _NamesFile)), None)
    # Test samples take off the reserved zero themselves, after it.
    dataset.gt_seg_map_loader = _LabelFile(
        dataset.gt_seg_map_loader, dataset, int(dataset.reduce_zero_label)
    )
    return dataset


def images_of(dataset):
    """Which images a data set takes, for messages: ``*.jpg, *.png``."""
    suffixes = dataset.img_suffix
    return ', '.join(f'*{s}' for s in ([suffixes] if isinstance(suffixes, str) else suffixes))


def image_loader(pipeline):
    """Build the transform that loads the images of a pipeline; its errors name the file.

    Args:
        pipeline (list[dict]): Of a config.
    """
    found = next(filter(is_image_loader, pipeline), {'type': 'LoadImageFromFile'})
    return _NamesFile(PIPELINES.build(found))


def is_image_loader(transform):
    """Whether a transform of a config loads images as ``LoadImageFromFile`` does."""
    kind = PIPELINES.get(transform['type'])
    return kind is not None and issubclass(kind, LoadImageFromFile)


def read_image(path, load=None):
    """Read an image file as a pipeline does.

    Args:
        path (str): The file.
        load (Callable | None): What :func:`image_loader` gives; None: of MMSegmentation's default.

    Returns:
        np.ndarray: (H, W, 3) BGR uint8.

    Raises:
        UserError: If the file is missing or cannot be decoded.
    """
    if not osp.isfile(path):
        raise UserError(f'image {path} does not exist.')
    load = load or image_loader([])
    image = load({'img_prefix': None, 'img_info': {'filename': path}})['img']
    return image.astype(np.uint8, copy=False)


def unused_range(path, image, load):
    """The largest value in a file of 16 bits per channel that was loaded nearly black.

    Args:
        path (str): The file.
        image (np.ndarray): What was loaded.
        load (Callable): What loaded it, as :func:`read_image` takes it.

    Returns:
        int | None: None if the image is bright enough, its range is stated, or it is of 8 bits.
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


class _NamesFile:
    """A loading transform whose errors name the file.

    Args:
        load (LoadImageFromFile | LoadAnnotations): Loads one file.
    """

    def __init__(self, load):
        self.load = load
        self.is_own = type(load).__call__ not in (
            LoadImageFromFile.__call__, LoadAnnotations.__call__, LoadImageInRange.__call__
        )  # fmt: skip

    def __repr__(self):
        return repr(self.load)

    def __call__(self, results):
        try:
            return self._load(results)
        except (UserError, MemoryError):
            raise
        except Exception as error:
            if getattr(error, 'code', None) == cv2.Error.StsNoMem:
                raise MemoryError(str(error)) from error
            path = self._path(results)
            why = self._why_unreadable(path, error)
            if why is None:  # not the file's fault
                error.add_note(f'while loading {path}')
                raise
            raise UserError(
                f'{path} cannot be read: {why}. Restore or convert it and run the same '
                'command again.'
            ) from error

    def _load(self, results):
        return self.load(results)

    def _path(self, results):
        return osp.join(results.get('img_prefix') or '', results['img_info']['filename'])

    def _why_unreadable(self, path, error):
        """What is wrong with a file that was not loaded; None if nothing is."""
        if getattr(error, 'strerror', None):
            return error.strerror if error.filename in (None, path) else None
        ending = osp.splitext(path)[1].lower()
        if self.is_own and ending not in Image.registered_extensions():
            return None  # in a format that its loader alone knows
        content = mmcv.FileClient(**self.load.file_client_args).get(path)
        return _damage(content, self.load.imdecode_backend)


class _LabelFile(_NamesFile):
    """A loading transform for labels, which have to hold train ids and to fit their image.

    Args:
        load (LoadAnnotations): Loads one file.
        dataset (CustomDataset): Knows its classes and which id is ignored.
        reserved (int): How many ids are taken off after loading.
    """

    def __init__(self, load, dataset, reserved=0):
        super().__init__(load)
        self.num_ids = None if dataset.CLASSES is None else len(dataset.CLASSES) + reserved
        self.ignore_index, self.label_map = dataset.ignore_index, dataset.label_map

    def __call__(self, results):
        self.beyond_bytes = ()
        results = super().__call__(results)
        self._check_ids(results)
        if 'img' in results:
            self._check_sizes(results)
        return results

    def _load(self, results):
        """As ``LoadAnnotations``, which wraps ids that do not fit in 8 bits around unseen."""
        load = self.load
        if self.is_own:
            return load(results)
        load.file_client = load.file_client or mmcv.FileClient(**load.file_client_args)
        content = load.file_client.get(self._path(results))
        ids = mmcv.imfrombytes(content, flag='unchanged', backend=load.imdecode_backend).squeeze()
        if ids.dtype.itemsize > 1:
            self.beyond_bytes = np.unique(ids[(ids < 0) | (ids > 255) | (ids % 1 != 0)])
        stored = ids.astype(np.uint8)
        label = stored.copy() if results.get('label_map') else stored
        for old, new in (results.get('label_map') or {}).items():
            label[stored == old] = new
        if load.reduce_zero_label:
            label[label == 0] = 255
            label -= 1
            label[label == 254] = 255
        results['gt_semantic_seg'] = label
        results['seg_fields'].append('gt_semantic_seg')
        return results

    def _path(self, results):
        return osp.join(results.get('seg_prefix') or '', results['ann_info']['seg_map'])

    def _check_ids(self, results):
        label, path = results['gt_semantic_seg'], self._path(results)
        if label.ndim != 2:
            raise UserError(f'{path} holds colours or transparency instead of ids; {_EXPLAINED}.')
        if self.num_ids is None:
            return
        foreign = self.beyond_bytes
        # Two comparisons of bytes are all that a good label costs.
        is_foreign = (label >= self.num_ids) & (label != self.ignore_index)
        first = int(self.load.reduce_zero_label)
        if is_foreign.any():
            foreign = np.unique(label[is_foreign]).astype(int) + first
        if len(foreign):
            last = max(self.label_map) if self.label_map else self.num_ids - 1
            raise UserError(
                f'{path} holds ids that are neither 0..{last + first} nor {self.ignore_index} '
                f'(ignored): {", ".join(map(str, foreign[:3]))}. Correct it and run the same '
                f'command again; {_EXPLAINED}.'
            )

    def _check_sizes(self, results):
        label, image = results['gt_semantic_seg'].shape, results['img'].shape[:2]
        # Of equal proportions they become the same image when they are resized.
        if abs(label[0] * image[1] / (label[1] * image[0]) - 1) > _SAME_PROPORTIONS:
            raise UserError(
                f'{self._path(results)} has the shape {label}, but its image '
                f'{results["filename"]} {image}. Replace the one that is wrong.'
            )


def _damage(content, backend):
    """Why the content of a file cannot be decoded as an image; None if it can."""
    if not content:
        return 'the file is empty'
    try:
        if backend == 'pillow':
            with Image.open(io.BytesIO(content)) as image:
                image.load()
            return None
        if backend == 'cv2':
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
            if image is not None:
                return None
            if _damage(content, 'pillow') or _is_of_32_bits(content):
                return 'damaged, or not an image of 8 or 16 bits'
            return "OpenCV does not read its format; imdecode_backend='pillow' does"
    except DECODING_ERRORS as error:
        return f'damaged, or not an image ({error})'
    except cv2.error as error:
        return f'OpenCV says: {error.err}'
    return None


def _is_of_32_bits(content):
    with Image.open(io.BytesIO(content)) as image:
        return image.mode in ('I', 'F')
