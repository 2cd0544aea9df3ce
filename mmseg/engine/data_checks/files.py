"""Which data sets a training config uses, and which files each of them has."""

import logging
import os.path as osp
from dataclasses import dataclass, field
from functools import partial

import mmcv

from mmseg.datasets.builder import DATASETS, build_dataset
from mmseg.datasets.custom import CustomDataset
from mmseg.engine.data_checks.messages import CONVERTERS, Origin, how_to_get
from mmseg.models.encoder_channels import last_head
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
    origin = Origin(config['type'], config.get('data_root') or '', config_file)
    _check_folders(config, origin, needs_labels)
    dataset = _without_pipeline(config)
    if not dataset.img_infos:
        raise UserError(
            f'{dataset.img_dir} holds no *{dataset.img_suffix} ({origin.kind}). '
            f'{how_to_get(origin)}'
        )
    listing = Listing(dataset, origin, [], [])
    present = set()
    if needs_labels:
        present.update(mmcv.scandir(dataset.ann_dir, dataset.seg_map_suffix, recursive=True))
    for info in dataset.img_infos:
        label = info['ann']['seg_map'] if needs_labels else None
        if needs_labels and label not in present:
            listing.unlabelled.append(label)
            label = None
        listing.pairs.append((info['filename'], label))
    return listing


def _check_folders(config, origin, needs_labels):
    kind, root = origin.kind, origin.root
    if kind not in DATASETS:
        raise UserError(f'the config names a data set type {kind}, which does not exist.')
    if root and not osp.isdir(root):
        raise UserError(f'{root} is missing ({kind}). {how_to_get(origin)}')
    for key in ('img_dir', 'ann_dir') if needs_labels else ('img_dir',):
        if config.get(key) is None:
            raise UserError(f'the config gives no {key} for {root} ({kind}).')
        folder = osp.join(root, config[key])
        if not osp.isdir(folder):
            raise UserError(f'{folder} is missing ({key} of {kind}). {how_to_get(origin)}')


def _without_pipeline(config):
    # It logs the number of images, which is for training to say.
    logging.disable(logging.INFO)
    try:
        return build_dataset({**config, 'pipeline': []})
    finally:
        logging.disable(logging.NOTSET)
