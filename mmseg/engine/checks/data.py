"""What is wrong with the data sets of a config: one line each that names files and the mend."""

import io
import logging
import os.path as osp
import shlex
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from mmseg.datasets import archives
from mmseg.datasets.acdc import CONDITIONS, ACDCDataset
from mmseg.datasets.builder import DATASETS, PIPELINES
from mmseg.datasets.custom import CustomDataset
from mmseg.datasets.file_errors import (
    build_files,
    image_loader,
    images_of,
    read_image,
    unused_range,
)
from mmseg.datasets.id_map import PNG_KEYWORD, TRAIN_IDS_SUFFIX
from mmseg.datasets.own_dataset import OwnDataset
from mmseg.datasets.rare_class_sampling import (
    STATS_FILE,
    ClassIndex,
    LabelFinder,
    RareClassSampler,
    read_index_file,
)
from mmseg.datasets.target_sets import keep_labelled, without_options
from mmseg.engine.checks.errors import config_errors
from mmseg.engine.class_lists import shared_class_list
from mmseg.engine.data_sets import each, is_target, labelled_sets, number_of, training_sets
from mmseg.models.encoder_channels import last_head
from mmseg.utils.files import DECODING_ERRORS, IMAGE_ENDINGS
from mmseg.utils.user_error import UserError

SAMPLE_SIZE = 8
_NAMED = 3
_CONVERTERS = {'GTADataset': 'gta', 'SynthiaDataset': 'synthia', 'CityscapesDataset': 'cityscapes'}
_IMAGES = {'gta': 'images', 'synthia': 'RGB', 'cityscapes': 'leftImg8bit'}  # below their root
_STREET_SCENES = 'data/street_scenes'
_STYLES = ['night', 'fog']  # that it has in ACDC's format


@dataclass(frozen=True)
class DatasetUse:
    """A data set of a config, and what a run needs of it."""

    place: str  # in the config, e.g. data.train.source
    config: dict
    needs_labels: bool  # False for a target, of which training reads images alone
    num_classes: int  # that the network predicts
    rare_class_sampling: dict | None = None  # where images are drawn by the class index
    shares_index: bool = False  # with other sources, whose data_root is the same
    labelled: object = None  # which images of a target have labels; None: all, or none
    draw: tuple = (0, 0)  # the seed and the target's number, from which they are drawn
    config_file: str = field(default='CONFIG', compare=False)  # for messages


@dataclass(frozen=True)
class Listing:
    """The files of a data set."""

    dataset: CustomDataset  # without a pipeline
    converter: str  # the command that makes its train ids and class index
    pairs: list[tuple[str, str | None]]  # image and label (if needed and there), below its folders
    unlabelled: list[str]  # the labels that are missing


@dataclass(frozen=True)
class SampleStats:
    """An image and its label, decoded; sizes are (width, height), and None if unreadable."""

    image: str
    label: str | None  # None where it is missing or not needed
    image_size: tuple[int, int] | None = None
    label_size: tuple[int, int] | None = None
    image_error: str | None = None
    label_error: str | None = None
    pixels: dict[int, int] = field(default_factory=dict)  # of the label, by id
    id_map: str | None = None  # that a converted label says it was made with
    unused_range: int | None = None  # see :func:`unused_range`


@dataclass
class Report:
    """What was found in one data set: problems are one line each, the gravest first."""

    place: str
    num_images: int = 0
    num_examined: int = 0
    problems: list[str] = field(default_factory=list)
    index: ClassIndex | None = None  # where Rare Class Sampling is on
    converter: str | None = None  # the command that makes the index


def datasets_of(cfg):
    """List the data sets of a training config: training sets, then that of the evaluation."""
    num_classes, train = last_head(cfg.model)['num_classes'], cfg.data.train
    use = partial(DatasetUse, num_classes=num_classes, config_file=file_of(cfg))
    rcs = train.get('rare_class_sampling')
    uses = []
    roots = [config.get('data_root') for config in labelled_sets(train).values()]
    for place, config in training_sets(train).items():
        if not is_target(place):
            shares_index = roots.count(config.get('data_root')) > 1
            uses.append(
                use(place, config, True, rare_class_sampling=rcs, shares_index=shares_index)
            )
            continue
        target, labelled = without_options(config), config.get('labelled')
        uses.append(use(place, target, False))
        if labelled:
            uses.append(
                use(place, target, True, labelled=labelled, draw=(cfg.seed, number_of(place)))
            )
    if cfg.get('evaluation') is not None:
        uses += [
            use(place, config, True) for place, config in each('data.val', cfg.data.val).items()
        ]
    return uses


def file_of(cfg):
    """The file that a config was read from, for messages."""
    return cfg.filename or 'CONFIG'


def check_dataset(use, full=False, nproc=1):
    """Check one data set of a config in ``nproc`` processes; ``full`` decodes all of its files."""
    report = Report(use.place)
    if use.labelled is not None and use.config.get('ann_dir') is None:
        report.problems.append(f'{use.place}.labelled needs its ann_dir, the folder of labels.')
        return report
    try:
        with config_errors(use.place, use.config):
            listing = list_files(
                use.config, use.needs_labels, use.config_file, use.labelled, use.draw
            )
            load = image_loader(use.config['pipeline'])
    except UserError as error:
        report.problems.append(str(error))
        return report
    dataset, pairs = listing.dataset, listing.pairs
    warn_of_unused(dataset)
    label_ids = getattr(dataset, 'label_ids', None)
    chosen = pairs if full else sample(pairs)
    stats = examine(chosen, dataset.img_dir, dataset.ann_dir, nproc, load, label_ids)
    report.num_images, report.num_examined = len(pairs), len(stats)
    report.problems += _file_problems(use, listing, stats)
    sizes = sorted({e.image_size for e in stats if e.image_size})
    with config_errors(f'{use.place}.pipeline'):
        crop = too_large_crop(use.place, use.config['pipeline'], sizes)
    report.problems += [] if crop is None else [crop]
    if use.rare_class_sampling is not None:
        report.converter = listing.converter
        try:
            report.index = _check_class_index(use, listing, stats)
        except UserError as error:
            report.problems.append(f'{error} Make the class index with: {listing.converter}')
    return report


def check_sampling(cfg, reports):
    """Check Rare Class Sampling from all sources of a config, whose data sets have these reports.

    Returns:
        str | None: What it will draw, in a line; None without it, or if a class index is missing.
    """
    rcs, indices = cfg.data.train.get('rare_class_sampling'), [r.index for r in reports if r.index]
    if rcs is None or len(indices) < len(labelled_sets(cfg.data.train)):
        return None
    names = shared_class_list(cfg)[0]
    try:
        return RareClassSampler(indices, rcs['class_temp'], [0] * len(indices)).summary(names)
    except UserError as error:
        commands = '; '.join(report.converter for report in reports if report.index)
        raise UserError(f'{error} Make the class index with: {commands}') from error


# Files


def list_files(config, needs_labels, config_file='CONFIG', labelled=None, draw=(0, 0)):
    """List the files of a data set as training will see them, at least one image."""
    _check_folders(config, needs_labels, how_to_get(config, config_file))
    logging.disable(logging.INFO)  # it logs the number of images, which is for training to say
    try:
        dataset = build_files({**config, 'pipeline': []})
    finally:
        logging.disable(logging.NOTSET)
    if not dataset.img_infos:
        where = f'{dataset.img_dir} holds no {images_of(dataset)}'
        where = f'{dataset.split} lists no images' if dataset.split else where
        raise UserError(f'{where} ({config["type"]}). {how_to_get(config, config_file)}')
    if labelled is not None:
        keep_labelled(dataset, labelled, *draw)
    listing = Listing(dataset, convert_command(config, config_file), [], [])
    present = set(archives.visible_files(dataset.ann_dir)) if needs_labels else set()
    for info in dataset.img_infos:
        label = info['ann']['seg_map'] if needs_labels else None
        # A split may list hidden files.
        path = osp.join(dataset.ann_dir or '', label or '')
        is_there = label in present or archives.is_file(path)
        if needs_labels and not is_there:
            listing.unlabelled.append(label)
            label = None
        listing.pairs.append((info['filename'], label))
    return listing


def _check_folders(config, needs_labels, how_to_get):
    kind, root = config['type'], config.get('data_root') or ''
    suffix, cls = config.get('img_suffix', ''), DATASETS.get(kind) or object
    if not isinstance(suffix, str) and not issubclass(cls, OwnDataset):
        raise UserError(f"img_suffix={suffix}: a list is for type='OwnDataset', not {kind}.")
    for key in ('img_dir', 'ann_dir') if needs_labels else ('img_dir',):
        if config.get(key) is None:
            raise UserError(f'the config gives no {key} for {root} ({kind}).')
        if key == 'ann_dir' and config.get('train_ids_dir') is not None:
            key = 'train_ids_dir'
        folders = [osp.join(root, config[key])]
        if key == 'train_ids_dir':
            folders = [*map(archives.unpacked, folders)]
        if issubclass(cls, ACDCDataset):
            folders = cls.folders(*folders, config.get('conditions'))
        for folder in folders:
            if archives.is_folder(folder):
                continue
            is_in_root = root and folder.startswith(root)
            gone = root if is_in_root and not archives.is_folder(root) else folder
            there = archives.folders_there(gone)
            raise UserError(f'{gone} is missing ({key} of {kind}{there}). {how_to_get}')
    split = config.get('split')
    if split is not None and not archives.is_file(path := archives.locate(root, split)):
        raise UserError(f'{path} is missing (split).')


def warn_of_unused(dataset):
    """Warn of images in a data set's folder that it does not take, as their names end otherwise."""
    if dataset.split is not None or not getattr(dataset, 'takes_all_files', True):
        return
    taken = {info['filename'] for info in dataset.img_infos}
    own_suffix = getattr(dataset, 'own_suffix', dataset.seg_map_suffix)
    of_labels = (own_suffix, dataset.seg_map_suffix, TRAIN_IDS_SUFFIX)
    label_dirs = {dataset.ann_dir, getattr(dataset, 'own_ann_dir', None)} - {None}
    below = tuple(osp.relpath(folder, dataset.img_dir) + osp.sep for folder in label_dirs)
    has_labels = any(osp.realpath(folder) == osp.realpath(dataset.img_dir) for folder in label_dirs)
    unused = [
        name
        for name in archives.visible_files(dataset.img_dir)
        if name.lower().endswith(IMAGE_ENDINGS)
        and name not in taken
        and not name.startswith(below)
        and not (has_labels and name.endswith(of_labels))
    ]
    if unused:
        endings = summarize(sorted({osp.splitext(name)[1] for name in unused}))
        print(
            f'Warning: {dataset.img_dir}: {len(unused)} image(s) are not used, since their names '
            f'do not end in {images_of(dataset)}: {summarize(unused)}. To use them, add {endings} '
            "to img_suffix (a list in type='OwnDataset').",
            file=sys.stderr,
        )


def sample(pairs):
    """Choose at most ``SAMPLE_SIZE`` of the pairs, evenly spread, with the first and the last."""
    places = np.linspace(0, len(pairs) - 1, min(SAMPLE_SIZE, len(pairs)))
    return [pairs[int(place)] for place in places]


def examine(pairs, img_dir, ann_dir, nproc=1, load=None, label_ids=None):
    """Decode images and labels below two folders; returns their :class:`SampleStats`.

    ``label_ids`` gives the train ids of the file of a label that holds others.
    """
    load = load or image_loader([])
    job = partial(
        _examine_pair,
        img_dir=img_dir,
        ann_dir=ann_dir,
        load=load,
        label_ids=label_ids,
    )
    is_short = len(pairs) <= SAMPLE_SIZE
    bar = partial(tqdm, desc=str(img_dir), total=len(pairs), disable=is_short or None)
    if nproc == 1:
        return list(bar(map(job, pairs)))
    with ProcessPoolExecutor(nproc) as pool:
        return list(bar(pool.map(job, pairs, chunksize=8)))


def _examine_pair(pair, img_dir, ann_dir, load, label_ids):
    image, label = pair
    found = _examine_image(osp.join(img_dir, image), load)
    if label is not None:
        try:
            content = archives.read_bytes(osp.join(ann_dir, label))
            with Image.open(io.BytesIO(content)) as opened:
                ids = np.asarray(opened) if label_ids is None else label_ids(content)
                found |= {'pixels': _count_ids(ids, opened.mode), 'label_size': opened.size}
                found['id_map'] = opened.info.get(PNG_KEYWORD)
        except DECODING_ERRORS as error:
            found['label_error'] = _reason(error)
    return SampleStats(image, label, **found)


def _examine_image(path, load):
    """Find the size of an image as training sees it, or what is wrong."""
    problem = f'{load!r} cannot decode it'
    try:
        with Image.open(io.BytesIO(archives.read_bytes(path))) as image:
            image.load()  # OpenCV 4 takes what there is of a truncated JPEG
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        problem = _reason(error)  # OpenCV may know better
    except DECODING_ERRORS as error:
        return {'image_error': _reason(error)}
    try:
        image = read_image(path, load)
    except UserError:
        return {'image_error': problem}
    return {'image_size': image.shape[1::-1], 'unused_range': unused_range(path, image, load)}


def _reason(error):
    if isinstance(error, UnidentifiedImageError):
        return 'no image'
    return getattr(error, 'strerror', None) or str(error)


def _count_ids(ids, mode):
    if ids.ndim != 2:
        raise ValueError(f'colours or transparency ({mode}) instead of ids')
    found, counts = np.unique(ids, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


# Problems


def _file_problems(use, listing, stats):
    dataset, hint = listing.dataset, _labels_hint(use, listing)
    valid, id_map = _valid_ids(use, dataset), getattr(dataset, 'id_map', None)
    has_converter = use.config['type'] in _CONVERTERS and not _has_zipped_labels(use.config)
    is_converted = has_converter or id_map is not None
    labels = [e for e in stats if e.pixels]
    found = [
        (dataset.img_dir, [f'{e.image} ({e.image_error})' for e in stats if e.image_error],
         'images read cannot be decoded', 'Get them again from the data set.'),
        (dataset.ann_dir, [f'{e.label} ({e.label_error})' for e in stats if e.label_error],
         'labels read cannot be decoded', hint),
        (dataset.ann_dir, [f'{e.label} (image {_by(e.image_size)}, label {_by(e.label_size)})'
                           for e in labels if not _sizes_fit(dataset, e)],
         'labels read differ in size from their images',
         'Restore what is wrong, or move both away.' + (f' {hint}' if is_converted else '')),
        (dataset.ann_dir, [f'{e.label} ({summarize(sorted(set(e.pixels) - valid))})'
                           for e in labels if not set(e.pixels) <= valid],
         f'labels read hold ids that are neither 0..{max(valid - {dataset.ignore_index})} nor '
         f'{dataset.ignore_index}', hint),
        (dataset.ann_dir, [e.label for e in labels if id_map and e.id_map != id_map.text],
         f'labels read were made with another id_map or class list than {use.config_file} has',
         f'Make them again with: {listing.converter}'),
    ]  # fmt: skip
    if set().union(*(e.pixels for e in labels)) == {0, 255}:
        mend = 'They look like binary masks, but 255 means "ignore": write the second class as 1.'
        names = [e.label for e in labels]
        found.append((dataset.ann_dir, names, 'labels read hold nothing but 0 and 255', mend))
    problems = [
        f'{folder}: {len(files)} of {len(stats)} {what}: {summarize(files)}. {mend}'
        for folder, files, what, mend in found
        if files
    ]
    dark = {e.image: e.unused_range for e in stats if e.unused_range is not None}
    if len(dark) > len(stats) / 2:  # others may be of nights
        problems.append(f'{dataset.img_dir}: {dark_images(dark, len(stats))}')
    if missing := listing.unlabelled:
        few = f'{len(missing)} of {len(listing.pairs)} images have no label: {summarize(missing)}'
        mend = hint if is_converted else f'Put them there, or correct {use.config_file}.'
        problems.insert(0, f'{dataset.ann_dir}: {few}. {mend}')
    return problems


def dark_images(largest, num_images):
    """Say of images, {name: largest value}, that they are 16-bit files without bright values."""
    high = 2 ** max(8, max(largest.values()).bit_length()) - 1
    return (
        f'{len(largest)} of {num_images} images read hold 16 bits per channel, but no value above '
        f'{high}: {summarize([*largest])}. As loaded, they are nearly black. State their range in '
        "the training and test pipelines, instead of dict(type='LoadImageFromFile'): "
        f"dict(type='LoadImageInRange', value_range=(0, {high}))."
    )


def _sizes_fit(dataset, stats):
    (width, height), label = stats.image_size or stats.label_size, stats.label_size
    if getattr(dataset, 'labels_are_smaller', False):
        return width * label[1] == height * label[0]
    return (width, height) == label


def _by(size):
    return f'{size[0]}×{size[1]}'


def _valid_ids(use, dataset):
    """The ids that labels may hold on disk."""
    if dataset.label_map:  # a choice of the data set's classes, `classes=` in the config
        ids = set(dataset.label_map)
    else:
        ids = set(range(min(use.num_classes, len(dataset.CLASSES))))
    if dataset.reduce_zero_label or any(t.get('reduce_zero_label') for t in use.config['pipeline']):
        ids.add(max(ids) + 1)
    return ids | {dataset.ignore_index}


def too_large_crop(place, pipeline, sizes):
    """Say which (width, height) is smaller than ``RandomCrop`` at its largest scale; else None."""
    parts = {transform['type']: transform for transform in pipeline}
    if 'RandomCrop' not in parts:
        return None
    crop_height, crop_width = parts['RandomCrop']['crop_size']
    for width, height in sizes:
        resized = width, height
        if 'Resize' in parts:
            resize = PIPELINES.build(parts['Resize'])
            scale = tuple(map(max, zip(*(resize.img_scale or [resized]), strict=True)))
            if resize.ratio_range is not None:
                scale = tuple(int(side * max(resize.ratio_range)) for side in scale)
            image = np.zeros((height, width), np.uint8)
            resized = resize({'img': image, 'scale': scale})['img'].shape[::-1]
        if resized[0] < crop_width or resized[1] < crop_height:
            return (
                f'{place}.pipeline: the crop of {crop_width}×{crop_height} is larger than the '
                f'resized image: {width}×{height} becomes {_by(resized)}. Make crop_size smaller '
                'or img_scale larger.'
            )
    return None


def _check_class_index(use, listing, stats):
    """Check the class index against the labels, and return it."""
    dataset = listing.dataset
    root = archives.unpacked(dataset.data_root or '')
    labels = [info['ann']['seg_map'] for info in dataset.img_infos]
    finder, path = LabelFinder(labels), osp.join(root, STATS_FILE)
    try:
        counts = {
            finder.find(entry['file']): {int(c): n for c, n in entry.items() if c != 'file'}
            for entry in read_index_file(root, STATS_FILE)
        }
        min_pixels = use.rare_class_sampling['min_pixels']
        options = (min_pixels, dataset.label_map, use.shares_index)
        index = ClassIndex(root, labels, dataset.ann_dir, *options)
    except (UserError, OSError) as error:  # OSError: of a label whose size is wanted
        raise UserError(f'{str(error).rstrip(".")}.') from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f'{path} is no class index ({error!r}).') from error
    lacking = [name for number, name in enumerate(labels) if number not in counts]
    if lacking:
        raise UserError(f'{path} lacks labels ({len(lacking)}): {summarize(lacking)}.')
    wrong = []
    for one in stats:
        pixels = {c: n for c, n in one.pixels.items() if c != dataset.ignore_index}
        if pixels and pixels != counts[finder.find(one.label)]:
            wrong.append(one.label)
    if wrong:
        few = f'{len(wrong)} of {len(stats)} labels read have: {summarize(wrong)}'
        raise UserError(f'{path} counts other pixels than {few}.')
    return index


# Mends


def summarize(names):
    """Name the first entries of a list and count the others."""
    text = ', '.join(map(str, names[:_NAMED]))
    more = len(names) - _NAMED
    return f'{text} and {more} more' if more > 0 else text


def convert_command(config, config_file):
    """The command that makes the train ids and the class index of a data set."""
    kind = config['type']
    has_classes = getattr(DATASETS.get(kind), 'CLASSES', None) is not None
    if _has_zipped_labels(config) or (kind not in _CONVERTERS and has_classes):
        return f'python tools/convert_datasets/class_index.py {shlex.quote(config_file)}'
    if kind not in _CONVERTERS:
        own = '' if kind == 'OwnDataset' else " (after stating it as type='OwnDataset')"
        return f'python tools/convert_datasets/custom.py {shlex.quote(config_file)}{own}'
    root, name = config.get('data_root') or osp.curdir, _CONVERTERS[kind]
    images = osp.abspath(osp.join(root, config.get('img_dir') or ''))
    if not osp.relpath(images, root).startswith(osp.pardir):
        return f'python tools/convert_datasets/{name}.py {shlex.quote(root)}'
    # They are elsewhere, perhaps read-only, and data_root is for what the converter writes.
    raw = f'{images}/'.rpartition(f'/{_IMAGES[name]}/')[0] or 'ROOT'
    return f'python tools/convert_datasets/{name}.py {shlex.quote(raw)} --out {shlex.quote(root)}'


def _has_zipped_labels(config):
    root = config.get('data_root') or ''
    return archives.is_archived(osp.join(root, config.get('ann_dir') or ''))


def how_to_get(config, config_file):
    """The sentence that says where a data set comes from."""
    is_drawn = config['type'] != 'OwnDataset'
    if is_drawn and osp.normpath(config.get('data_root') or '').startswith(_STREET_SCENES):
        return _how_to_draw(config)
    has_converter = config['type'] in (*_CONVERTERS, 'OwnDataset')
    has_converter = has_converter and not _has_zipped_labels(config)
    then = f', then run: {convert_command(config, config_file)}' if has_converter else '.'
    return f'Put or link the data set there (docs/data.md) or correct {config_file}{then}'


def _how_to_draw(config):
    command = f'python tools/make_street_scenes.py {_STREET_SCENES}'
    if config['type'] != 'ACDCDataset':
        return f'Draw the scenes with: {command}'
    command += f' --styles {" ".join(_STYLES)}'
    conditions = config.get('conditions') or CONDITIONS
    if set([conditions] if isinstance(conditions, str) else conditions) <= set(_STYLES):
        return f'Draw the scenes with: {command}'
    return f'State conditions={_STYLES}, all that StreetScenes has, and draw them with: {command}'


def _labels_hint(use, listing):
    """The sentence that says how wrong labels, or those to be made, become right ones."""
    kind, dataset = use.config['type'], listing.dataset
    is_zipped = _has_zipped_labels(use.config)
    if kind == 'OwnDataset' and dataset.id_map is None:
        if is_zipped:
            return 'In a zip they have to hold train ids; if they hold others, unpack them.'
        return (
            f'Say in {use.config_file} which id or colour is which class, e.g. id_map=dict(road=7, '
            f'car=[26, 27]); then run: {listing.converter}'
        )
    if is_zipped or kind not in (*_CONVERTERS, 'OwnDataset'):
        ids = 'its own ids' if hasattr(dataset, 'label_ids') else 'train ids'
        return f'Get them again from the data set: they have to hold {ids} (docs/data.md).'
    suffix = dataset.seg_map_suffix
    mend = f'delete wrong *{suffix} first, but no raw labels'
    if not suffix.endswith(TRAIN_IDS_SUFFIX):
        mend = f'delete nothing: *{suffix} are raw labels. Leave out seg_map_suffix={suffix!r}'
    return f'Make train ids with: {listing.converter} ({mend}).'
