"""Which data sets a training config uses, and which files each of them has."""

import logging
import os.path as osp
from dataclasses import dataclass, field
from functools import partial

from mmseg.datasets.builder import DATASETS
from mmseg.datasets.custom import CustomDataset
from mmseg.datasets.id_map import TRAIN_IDS_SUFFIX
from mmseg.datasets.own_dataset import OwnDataset
from mmseg.datasets.readable import build_files, images_of
from mmseg.engine.data_checks.messages import CONVERTERS, Origin, a_few, how_to_get
from mmseg.models.encoder_channels import last_head
from mmseg.utils.image_files import IMAGE_ENDINGS, visible_files
from mmseg.utils.user_error import UserError


@dataclass(frozen=True)
class DatasetUse:
    """A data set of a config, and what a run wants of it.

    Attributes:
        place: Where the config states it, e.g. ``data.train.source``.
        config: As stated there.
        needs_labels: False for a target, of which training reads images alone.
        num_classes: That the network predicts.
        batch_size: Images of it in one batch.
        rare_class_sampling: Its options, where images are drawn by the class index.
        config_file: That states it, for messages.
    """

    place: str
    config: dict
    needs_labels: bool
    num_classes: int
    batch_size: int = 1
    rare_class_sampling: dict | None = None
    config_file: str = field(default='CONFIG', compare=False)


@dataclass(frozen=True)
class Listing:
    """The files of a data set, listed once.

    Attributes:
        dataset: MMSegmentation's, without a pipeline: folders, suffixes, classes.
        origin: For messages.
        pairs: (image, label) relative to their folders; the label is None where it is missing or
            not needed.
        unlabelled: The labels that are missing.
    """

    dataset: CustomDataset
    origin: Origin
    pairs: list[tuple[str, str | None]]
    unlabelled: list[str]

    @property
    def is_converted(self):
        """Whether a converter makes its labels."""
        return self.origin.kind in CONVERTERS or getattr(self.dataset, 'id_map', None) is not None


def uses_of(cfg):
    """The data sets of a training config.

    Args:
        cfg (mmcv.Config): Resolved.

    Returns:
        list[DatasetUse]: Training sets, then the one of the evaluation, if there is any.
    """
    num_classes = last_head(cfg.model)['num_classes']
    train, batch = cfg.data.train, cfg.data.samples_per_gpu
    use = partial(DatasetUse, num_classes=num_classes, config_file=file_of(cfg))
    val = []
    if cfg.get('evaluation') is not None:
        val.append(use('data.val', cfg.data.val, True))
    if train['type'] != 'UDADataset':
        return [use('data.train', train, True, batch_size=batch), *val]
    rcs = train.get('rare_class_sampling')
    return [
        use('data.train.source', train['source'], True, batch_size=batch, rare_class_sampling=rcs),
        use('data.train.target', train['target'], False, batch_size=batch),
        *val,
    ]


def file_of(cfg):
    """The file that a config was read from, for messages."""
    return cfg.filename or 'CONFIG'


def list_files(config, needs_labels, config_file='CONFIG'):
    """List a data set.

    Args:
        config (dict): Of the data set.
        needs_labels (bool): Whether its labels are listed, too.
        config_file (str): That states it, for messages.

    Returns:
        Listing: As training will see it, with at least one image.

    Raises:
        UserError: If a folder is missing or holds no images.
    """
    origin = Origin(
        config['type'], config.get('data_root') or '', config_file, config.get('img_dir') or ''
    )
    _check_folders(config, origin, needs_labels)
    dataset = _without_pipeline(config)
    if dataset.split is not None:
        _check_split(dataset)
    if not dataset.img_infos:
        raise UserError(
            f'{dataset.img_dir} holds no {images_of(dataset)} ({origin.kind}). {how_to_get(origin)}'
        )
    listing = Listing(dataset, origin, [], [])
    present = set()
    if needs_labels:
        present.update(visible_files(dataset.ann_dir))
    for info in dataset.img_infos:
        label = info['ann']['seg_map'] if needs_labels else None
        # A split may list hidden files.
        if needs_labels and label not in present and not _is_label(dataset, label):
            listing.unlabelled.append(label)
            label = None
        listing.pairs.append((info['filename'], label))
    return listing


def _is_label(dataset, name):
    return dataset.split is not None and osp.isfile(osp.join(dataset.ann_dir, name))


def unused_images(listing):
    """Images in the folder of a data set that it does not take, as their names end otherwise.

    Args:
        listing (Listing): Of the data set.

    Returns:
        str | None: One line that says how they would be taken.
    """
    dataset = listing.dataset
    if dataset.split is not None:
        return None
    taken = {info['filename'] for info in dataset.img_infos}
    stems = {_without(name, dataset.img_suffix) for name in taken}
    own_suffix = getattr(dataset, 'own_suffix', dataset.seg_map_suffix)
    of_labels = (own_suffix, dataset.seg_map_suffix, TRAIN_IDS_SUFFIX)
    label_dirs = tuple(
        osp.join(osp.relpath(folder, dataset.img_dir), '')
        for folder in (dataset.ann_dir, getattr(dataset, 'own_ann_dir', None))
        if folder is not None
    )
    unused = [
        name
        for name in visible_files(dataset.img_dir)
        if name.lower().endswith(IMAGE_ENDINGS)
        and name not in taken
        and _without(name, of_labels) not in stems
        and not name.startswith(label_dirs)
    ]
    if not unused:
        return None
    endings = sorted({osp.splitext(name)[1] for name in unused})
    return (
        f'{dataset.img_dir}: {len(unused)} image(s) are not used, since their names do not end in '
        f'{images_of(dataset)}: {a_few(unused)}. To use them, add {a_few(endings)} to img_suffix '
        f"(a list in type='OwnDataset')."
    )


def _without(name, suffixes):
    suffixes = [suffixes] if isinstance(suffixes, str) else suffixes
    longest = max((len(s) for s in suffixes if name.lower().endswith(s.lower())), default=0)
    return name[: len(name) - longest]


def _check_folders(config, origin, needs_labels):
    kind, root = origin.kind, origin.root
    if kind not in DATASETS:
        raise UserError(f'the config names a data set type {kind}, which does not exist.')
    suffix = config.get('img_suffix', '')
    if not isinstance(suffix, str) and not issubclass(DATASETS.get(kind), OwnDataset):
        raise UserError(
            f"img_suffix={suffix} has several endings, which type='OwnDataset' takes, not {kind}."
        )
    for key in ('img_dir', 'ann_dir') if needs_labels else ('img_dir',):
        if config.get(key) is None:
            raise UserError(f'the config gives no {key} for {root} ({kind}).')
        if key == 'ann_dir' and config.get('train_ids_dir') is not None:
            key = 'train_ids_dir'
        folder = osp.join(root, config[key])
        if root and not osp.isdir(folder) and not osp.isdir(root):
            raise UserError(f'{root} is missing ({kind}). {how_to_get(origin)}')
        if not osp.isdir(folder):
            raise UserError(f'{folder} is missing ({key} of {kind}). {how_to_get(origin)}')
    if config.get('split') is not None and not osp.isfile(osp.join(root, config['split'])):
        raise UserError(
            f'{osp.join(root, config["split"])} is missing (split: the names of the images, one '
            'per line).'
        )


def _check_split(dataset):
    """Check the list of images of a data set: names without their common ending, one per line."""
    path, suffixes = dataset.split, dataset.img_suffix
    suffixes = (suffixes,) if isinstance(suffixes, str) else tuple(suffixes)
    with open(path, encoding='utf-8') as file:
        lines = file.read().splitlines()
    if not any(line.strip() for line in lines):
        raise UserError(f'{path} lists no images (split: their names, one per line).')
    for number, line in enumerate(lines, 1):
        if line.startswith('\ufeff'):
            raise UserError(f'{path} begins with a byte order mark: save it as UTF-8 without one.')
        if line.strip().endswith(suffixes):
            raise UserError(
                f'{path}, line {number}: write {line.strip()} without its ending '
                f'{" or ".join(suffixes)}, which img_suffix adds.'
            )


def _without_pipeline(config):
    # It logs the number of images, which is for training to say.
    logging.disable(logging.INFO)
    try:
        return build_files({**config, 'pipeline': []})
    finally:
        logging.disable(logging.NOTSET)
