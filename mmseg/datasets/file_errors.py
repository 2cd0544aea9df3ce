"""Load image and label files, everywhere in the same way; errors name the file."""

import os.path as osp

import cv2
import mmcv
import numpy as np

from mmseg.datasets import archives
from mmseg.datasets.builder import PIPELINES, build_dataset
from mmseg.datasets.id_map import TRAIN_IDS_SUFFIX
from mmseg.datasets.label_tables import IN_ZIPS
from mmseg.datasets.pipelines import LoadAnnotations, LoadImageFromFile
from mmseg.utils.files import DECODING_ERRORS, is_hidden
from mmseg.utils.user_error import FileError, UserError

# What OpenCV prints about a damaged file names no file; the error raised here does.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

# A few of GTA's labels are of another size than their image (1914×1052 and 1280×720: 2 %).
_SAME_PROPORTIONS = 0.05
EXPLAINED = 'tools/check_dataset.py CONFIG --full lists all such files and says what to do'


@PIPELINES.register_module()
class LoadImageInRange(LoadImageFromFile):
    """Load images of more than 8 bits per channel as 8 bits; those of 8 bits stay as they are.

    ``value_range`` is what becomes 0 and 255, e.g. ``(0, 4095)`` for 12 bits.
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
    """Build a data set whose errors name the file; its ``load_image`` is for :func:`read_image`.

    Hidden files (unless its ``split`` lists them) and classes that are not chosen are left out.
    """
    is_zipped, config, label_ids = _with_zips(config)
    dataset = build_dataset(config, default_args)
    if label_ids is not None:
        dataset.label_ids = label_ids
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
    for load in (*transforms, dataset.gt_seg_map_loader) if is_zipped else ():
        _let_read_zips(load)
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


def _with_zips(config):
    """Let a data set's config read zips, if any of its paths leads through one.

    Returns:
        tuple[bool, dict, LabelTable | None]: Whether one does; the config; what maps the labels.
    """
    root, label_ids = config.get('data_root') or '', None
    keys = [key for key in ('img_dir', 'ann_dir', 'split') if config.get(key) is not None]
    paths = {key: osp.join(root, config[key]) for key in keys}
    if not any(map(archives.is_archived, paths.values())):
        return False, config, None
    config = {'file_client_args': dict(backend=archives.BACKEND), **config}
    if 'split' in paths:
        config['split'] = osp.abspath(archives.locate(root, config['split']))
    labels = paths.get('ann_dir', '')
    if config['type'] in IN_ZIPS and 'seg_map_suffix' not in config and _holds_raw_labels(labels):
        config['seg_map_suffix'], label_ids = IN_ZIPS[config['type']]
    return True, config, label_ids


def _holds_raw_labels(folder):
    if not (archives.is_archived(folder) and archives.is_folder(folder)):
        return False
    return not any(name.endswith(TRAIN_IDS_SUFFIX) for name in archives.visible_files(folder))


def _let_read_zips(load):
    is_loader = isinstance(load, LoadImageFromFile | LoadAnnotations)
    if is_loader and load.file_client_args == dict(backend='disk'):
        load.file_client_args = dict(backend=archives.BACKEND)


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
    for transform in (*pipeline, dict(type='LoadImageFromFile')):
        kind = PIPELINES.get(transform['type'])
        if kind is not None and issubclass(kind, LoadImageFromFile):
            load = PIPELINES.build(transform)
            _let_read_zips(load)
            return FileLoader(load)


def read_image(path, load=None):
    """Read an image as :func:`image_loader` does: (H, W, 3) BGR uint8."""
    if not archives.is_file(path):
        raise FileError(f'image {path} does not exist.')
    load = load or image_loader([])
    image = load({'img_prefix': None, 'img_info': {'filename': path}})['img']
    return image.astype(np.uint8, copy=False)


def unused_range(path, image, load):
    """Return the largest value of a 16-bit file that was loaded nearly black; else None."""
    if image.max() > 2**14 // 256 or isinstance(load.load, LoadImageInRange):
        return None
    content = np.frombuffer(archives.read_bytes(path), np.uint8)
    stored = cv2.imdecode(content, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    return None if stored is None or stored.dtype == np.uint8 else int(stored.max())


class LoadTrainIds(LoadAnnotations):
    """Load labels, which have to hold train ids of their data set and to fit their image.

    A data set whose labels hold other ids has a :class:`LabelTable` as ``label_ids``.
    """

    def __init__(self, load, dataset, reserves_zero):
        super().__init__(load.reduce_zero_label, load.file_client_args, load.imdecode_backend)
        label_map = dataset.label_map or {}
        self.label_ids = getattr(dataset, 'label_ids', None)
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
        ids = self._decode(self.file_client.get(path))
        self._check_ids(ids, path)
        label = cv2.LUT(ids.astype(np.uint8), self.train_ids)
        if 'img' in results:
            height, width = results['img'].shape[:2]
            # Of equal proportions they become the same image when they are resized.
            if abs(label.shape[0] * width / (label.shape[1] * height) - 1) > _SAME_PROPORTIONS:
                raise FileError(
                    f'{path} has the shape {label.shape}, but its image {results["filename"]} '
                    f'{(height, width)}; {EXPLAINED}.'
                )
        results['gt_semantic_seg'] = label
        results['seg_fields'].append('gt_semantic_seg')
        return results

    def _decode(self, content):
        if self.label_ids is None:
            return mmcv.imfrombytes(content, 'unchanged', backend=self.imdecode_backend).squeeze()
        return self.label_ids(content)

    def _check_ids(self, ids, path):
        if ids.ndim != 2:
            raise FileError(f'{path} holds colours or transparency instead of ids; {EXPLAINED}.')
        is_foreign = (ids > self.last_id) & (ids != self.ignore_index)
        if ids.dtype.itemsize > 1:
            is_foreign |= ids != ids.astype(np.uint8)
        if is_foreign.any():
            foreign = ', '.join(map(str, np.unique(ids[is_foreign])[:3]))
            raise FileError(
                f'{path} holds ids that are neither 0..{self.last_id} nor {self.ignore_index} '
                f'(ignored): {foreign}; {EXPLAINED}.'
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
            path, damage = _path(results, self.load), _damage(self.load, error)
            if damage is None:
                error.add_note(f'while loading {path}')
                raise
            raise FileError(f'{path} cannot be read: {damage}. Restore or convert it.') from error


def _path(results, load):
    if isinstance(load, LoadAnnotations):
        return osp.join(results.get('seg_prefix') or '', results['ann_info']['seg_map'])
    return osp.join(results.get('img_prefix') or '', results['img_info']['filename'])


def _damage(load, error):
    """What an error says of the file that was loaded; None if it may be a bug."""
    is_memory = getattr(error, 'code', None) == cv2.Error.StsNoMem
    if is_memory or type(load) not in (LoadImageFromFile, LoadImageInRange, LoadTrainIds):
        return None
    if isinstance(error, AttributeError):  # of None, which OpenCV makes of what it cannot decode
        return "damaged, or not an image for OpenCV; imdecode_backend='pillow' reads more"
    if isinstance(error, (*DECODING_ERRORS, cv2.error)):
        reason = getattr(error, 'err', error)
        return getattr(error, 'strerror', None) or f'damaged, or not an image ({reason})'
    return None
