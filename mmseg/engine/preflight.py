"""What is checked before a run writes anything: are the files there that the config names?"""

import inspect
import os.path as osp

import mmcv

from mmseg.datasets.builder import DATASETS
from mmseg.datasets.rare_class_sampling import SAMPLES_FILE, STATS_FILE
from mmseg.engine.checkpoint import load_file
from mmseg.utils.user_error import UserError
from mmseg.utils.weight_address import is_address, local_file

_CONVERTERS = {
    'GTADataset': 'gta',
    'SynthiaDataset': 'synthia',
    'CityscapesDataset': 'cityscapes',
}
STREET_SCENES = 'data/street_scenes'


def check_files(cfg):
    """Check the data folders, the class index and the pretrained file of a training config.

    Args:
        cfg (mmcv.Config): Resolved.

    Raises:
        UserError: Names the first thing that is missing and the command that mends it.
    """
    train = cfg.data.train
    if train['type'] == 'UDADataset':
        _check_folders(train['source'], needs_labels=True)
        _check_folders(train['target'], needs_labels=False)
        if train.get('rare_class_sampling') is not None:
            _check_class_index(train['source'])
    else:
        _check_folders(train, needs_labels=True)
    _check_folders(cfg.data.val, needs_labels=True)
    check_weights(cfg)


def check_test_files(dataset_cfg, needs_labels):
    """Check the folders of a data set that is only tested on; raises as :func:`check_files`."""
    _check_folders(dataset_cfg, needs_labels)


def check_weights(cfg):
    """Check that weight files exist; pretrained ones with an address are downloaded."""
    for name, path in (
        ('model.pretrained', cfg.model.get('pretrained')),
        ('model.backbone.pretrained', cfg.model.backbone.get('pretrained')),
        ('load_from', cfg.get('load_from')),
        ('resume_from', cfg.get('resume_from')),
    ):
        if path and 'pretrained' in name and is_address(path):
            local_file(path)
        elif path and not osp.isfile(path):
            hint = ''
            if 'pretrained' in name:
                hint = (
                    ' Put the ImageNet weights there as the README says ("Weights": '
                    'python tools/download.py --help), or train '
                    f'from scratch with --cfg-options {name}=None.'
                )
            raise UserError(f'{name} names {path}, which does not exist.{hint}')
    if cfg.get('load_from'):
        load_file(cfg.load_from)
    if cfg.get('resume_from') and 'optimizer' not in load_file(cfg.resume_from):
        raise UserError(
            f'{cfg.resume_from} holds weights alone, from which no run goes on; start one with '
            '--load-from.'
        )


def _check_folders(dataset, needs_labels):
    root = dataset.get('data_root') or ''
    kind = dataset['type']
    if kind not in DATASETS:
        raise UserError(f'the config names a data set type {kind}, which does not exist.')
    if root and not osp.isdir(root):
        raise UserError(f'{root} is missing ({kind}). {_how_to_get(kind, root)}')
    folders = ['img_dir', 'ann_dir'] if needs_labels else ['img_dir']
    for key in folders:
        folder = osp.join(root, dataset[key])
        if not osp.isdir(folder):
            raise UserError(f'{folder} is missing ({key} of {kind}). {_how_to_get(kind, root)}')
    folder, ending = osp.join(root, dataset['img_dir']), _image_ending(dataset)
    if next(mmcv.scandir(folder, ending, recursive=True), None) is None:
        raise UserError(f'{folder} holds no *{ending} ({kind}). {_how_to_get(kind, root)}')


def _image_ending(dataset):
    if 'img_suffix' in dataset:
        return dataset['img_suffix']
    parameter = inspect.signature(DATASETS.get(dataset['type'])).parameters.get('img_suffix')
    return parameter.default if parameter else ''


def _check_class_index(source):
    root = source['data_root']
    for name in (STATS_FILE, SAMPLES_FILE):
        path = osp.join(root, name)
        if not osp.isfile(path):
            raise UserError(
                f'{path} is missing: Rare Class Sampling needs the class index. '
                f'Make it with: {_convert(source["type"], root)}'
            )


def _how_to_get(kind, root):
    if osp.normpath(root).startswith(STREET_SCENES):
        return f'Draw the scenes with: python tools/make_street_scenes.py {STREET_SCENES}'
    text = 'Download the data set and put or link it there as the README says ("Data").'
    if kind in _CONVERTERS:
        text += f' Then run: {_convert(kind, root)}'
    return text


def _convert(kind, root):
    return f'python tools/convert_datasets/{_CONVERTERS.get(kind, "gta")}.py {root}'
