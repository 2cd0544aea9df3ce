"""Which data sets a training config uses, and which files each of them has."""

import logging
import os.path as osp
from dataclasses import dataclass

import mmcv

from mmseg.datasets.builder import DATASETS, build_dataset
from mmseg.datasets.custom import CustomDataset
from mmseg.engine.data_checks.messages import how_to_get
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
    """

    place: str
    config: dict
    needs_labels: bool
    num_classes: int
    batch_size: int = 1
    rare_class_sampling: dict | None = None


@dataclass(frozen=True)
class Listing:
    """The files of a data set, listed once.

    Attributes:
        dataset: MMSegmentation's, without a pipeline: folders, suffixes, classes.
        kind, root: Of the config, for messages.
        pairs: (image, label) relative to their folders; the label is None where it is missing or
            not needed.
        unlabelled: The labels that are missing.
    """

    dataset: CustomDataset
    kind: str
    root: str
    pairs: list[tuple[str, str | None]]
    unlabelled: list[str]


def uses_of(cfg):
    """The data sets of a training config.

    Args:
        cfg (mmcv.Config): Resolved.

    Returns:
        list[DatasetUse]: Training sets, then the one of the evaluation, if there is any.
    """
    num_classes = last_head(cfg.model)['num_classes']
    train, batch = cfg.data.train, cfg.data.samples_per_gpu
    val = []
    if cfg.get('evaluation') is not None:
        val.append(DatasetUse('data.val', cfg.data.val, True, num_classes))
    if train['type'] != 'UDADataset':
        return [DatasetUse('data.train', train, True, num_classes, batch), *val]
    rcs = train.get('rare_class_sampling')
    return [
        DatasetUse('data.train.source', train['source'], True, num_classes, batch, rcs),
        DatasetUse('data.train.target', train['target'], False, num_classes, batch),
        *val,
    ]


def list_files(config, needs_labels):
    """List a data set.

    Args:
        config (dict): Of the data set.
        needs_labels (bool): Whether its labels are listed, too.

    Returns:
        Listing: As training will see it, with at least one image.

    Raises:
        UserError: If a folder is missing or holds no images.
    """
    root, kind = config.get('data_root') or '', config['type']
    _check_folders(config, root, needs_labels)
    dataset = _without_pipeline(config)
    if not dataset.img_infos:
        raise UserError(
            f'{dataset.img_dir} holds no *{dataset.img_suffix} ({kind}). {how_to_get(kind, root)}'
        )
    listing = Listing(dataset, kind, root, [], [])
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


def _check_folders(config, root, needs_labels):
    kind = config['type']
    if kind not in DATASETS:
        raise UserError(f'the config names a data set type {kind}, which does not exist.')
    if root and not osp.isdir(root):
        raise UserError(f'{root} is missing ({kind}). {how_to_get(kind, root)}')
    for key in ('img_dir', 'ann_dir') if needs_labels else ('img_dir',):
        if config.get(key) is None:
            raise UserError(f'the config gives no {key} for {root} ({kind}).')
        folder = osp.join(root, config[key])
        if not osp.isdir(folder):
            raise UserError(f'{folder} is missing ({key} of {kind}). {how_to_get(kind, root)}')


def _without_pipeline(config):
    # It logs the number of images, which is for training to say.
    logging.disable(logging.INFO)
    try:
        return build_dataset({**config, 'pipeline': []})
    finally:
        logging.disable(logging.NOTSET)
