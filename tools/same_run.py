"""What makes two configs describe the same run: one list, for resuming and for tables of results.

Configs are plain dicts, as JSON holds them. Importing this takes neither torch nor mmseg.
"""

import os
import os.path as osp
import re

from tools.config_differences import MISSING, differences, flatten

# The sections that results follow from. The rest of the top level are names, intervals, what logs
# and where, and variables that Python configs compute with.
_SECTIONS = {
    *('model', 'uda', 'data', 'runner', 'speed', 'optimizer', 'optimizer_config', 'lr_config'),
    *('seed', 'load_from', 'load_from_without_classifier', 'scale_lr'),
}
# What does not change results inside these; of the batch `_batch` looks at the whole.
_WITHOUT_INFLUENCE = re.compile(
    r'data\.(workers_per_gpu|samples_per_gpu|(val|test)_dataloader|test|train\.resized_dir)(\..*)?'
    r'|speed\.(accumulate|channels_last|compile)'
    r'|uda\.(debug_img_interval|print_grad_magnitude)'
    # The published code wrote these two into its train_cfg; only False is possible for the third.
    r'|model\.train_cfg\.(work_dir|log_config)|lr_config\.by_epoch'
    r'|.*\b(with_cp|palette)'
)
_BELOW_ROOT = ('img_dir', 'ann_dir', 'train_ids_dir', 'split')
# A folder or file at these keys may have been moved; with how many names at the end of its path.
_PATHS = {
    re.compile(r'.*\b(data_root|pretrained|checkpoint)'): 1,
    # `images` or `latest.pth` alone says nothing.
    re.compile(r'load_from|data\..*\b(img_dir|ann_dir|train_ids_dir|split)'): 2,
}
# What names a run, or is said anew at each of its starts.
_OF_THE_START = re.compile(r'name(_.*)?|exp|work_dir|git_rev|resume_from')
# Sections whose reader is known without a type.
_UNTYPED = ('speed', 'lr_config', 'optimizer_config')
_BATCH = 'data.samples_per_gpu × n_gpus'
_SHOWN, _LONGEST = 8, 60


def settings(config):
    """The part of a config that results follow from, flat, without the seed."""
    flat = flatten({key: config[key] for key in config if key in _SECTIONS - {'seed'}})
    found = {key: value for key, value in flat.items() if not _WITHOUT_INFLUENCE.fullmatch(key)}
    return {**found, _BATCH: _batch(config)}


def compare(old, new):
    """Compare the configs of two runs, or of a run and of the command that would resume it.

    A key that one of them lacks counts as its default, so that a config which states one more is
    still the same.

    Args:
        old, new (dict): Resolved configs.

    Returns:
        tuple[dict, dict]: What makes them different runs, and what differs without changing
        results; dotted key to (old, new), each in the order of the configs' own keys.
    """
    influential, others = {}, {}
    old, new = _with_whole_paths(old), _with_whole_paths(new)
    for key, values in differences(_stated(old), _stated(new)).items():
        if _OF_THE_START.fullmatch(key) or _is_default(key, values, (old, new)):
            continue
        section = key.partition('.')[0]
        matters = section in _SECTIONS and not _WITHOUT_INFLUENCE.fullmatch(key)
        if matters and not _is_moved(key, *values):
            influential[key] = values
        else:
            others[key] = values
    if _batch(old) != _batch(new):
        influential[_BATCH] = _batch(old), _batch(new)
    return influential, others


def compare_to_resume(old, new):
    """As :func:`compare`, for a run that may resume on another number of processes.

    The batch is per process, so that it changes with their number; only another
    ``data.samples_per_gpu`` makes another run, unless the whole batch stays.
    """
    influential, others = compare(old, new)
    if _BATCH in influential and 'data.samples_per_gpu' not in others:
        others[_BATCH] = influential.pop(_BATCH)
    return influential, others


def describe(found):
    """What :func:`compare` found, in one line: ``optimizer.lr: 6e-05 → 0.0001; …``."""
    shown = [f'{key}: {_short(old)} → {_short(new)}' for key, (old, new) in found.items()]
    more = len(shown) - _SHOWN
    return '; '.join(shown[:_SHOWN]) + (f'; and {more} more' if more > 0 else '')


def _short(value):
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…'


def _with_whole_paths(config):
    """A config whose folders of data sets are not relative to a ``data_root``."""
    if isinstance(config, list):
        return [_with_whole_paths(value) for value in config]
    if not isinstance(config, dict):
        return config
    root = config.get('data_root')
    return {
        key: osp.join(root, value)
        if key in _BELOW_ROOT and isinstance(root, str) and isinstance(value, str)
        else _with_whole_paths(value)
        for key, value in config.items()
    }


def _stated(config):
    """A config without the sections and settings that say nothing."""
    return {
        key: value
        for key, value in config.items()
        if not (value is None or value is False or value == {})
    }


def _batch(config):
    """How many images make an optimizer step.

    The processes and micro-batches that share them change rounding, BatchNorm's statistics and
    what is drawn from, and are no other experiment.
    """
    samples = (config.get('data') or {}).get('samples_per_gpu') or 0
    return samples * (config.get('n_gpus') or 1)


def _is_moved(key, old, new):
    """Whether two paths are of one thing: the same place, or one that is gone of the same name.

    Where both are there, as another town's images in ``data/town_2/source``, they are two things.
    """
    count = next((count for keys, count in _PATHS.items() if keys.fullmatch(key)), 0)
    if not (count and isinstance(old, str) and isinstance(new, str)):
        return False
    there = [osp.exists(path) for path in (old, new)]
    if all(there):
        return osp.samefile(old, new)
    ends = [osp.normpath(path).split(os.sep)[-count:] for path in (old, new)]
    return any(there) and ends[0] == ends[1]


def _is_default(key, values, configs):
    """Whether one of the configs lacks a key and the other states its default."""
    if MISSING not in values:
        return False
    value, config = next((v, c) for v, c in zip(values, configs, strict=True) if v is not MISSING)
    parent, _, name = key.rpartition('.')
    part = config
    for step in parent.split('.') if parent else ():
        part = part[int(step)] if isinstance(part, list) else part.get(step)
        if not isinstance(part, dict | list):  # a key with a point in its name
            return False
    if not isinstance(part, dict) or not ('type' in part or parent in _UNTYPED):
        return False
    # Takes seconds, and is rarely needed.
    from mmseg.engine.checks.config import has_default

    return has_default(parent, part, name, value)
