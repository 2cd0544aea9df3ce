"""What makes two configs describe the same run: one list, for resuming and for tables of results.

Configs are plain dicts, as JSON holds them. Importing this takes neither torch nor mmseg.
"""

import os
import os.path as osp
import re


class _Missing:
    def __repr__(self):
        return '(missing)'


# Stands for the value of a key that a config does not have.
MISSING = _Missing()


def flatten(config, prefix=''):
    """Flatten a nested dict to dotted keys; lists and empty dicts are values."""
    flat = {}
    for name, value in config.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f'{prefix}{name}.'))
        else:
            flat[f'{prefix}{name}'] = value
    return flat


def differences(*configs):
    """Where configs, plain dicts, differ.

    Lists of as many dicts with equal ``type``, such as two pipelines, are compared entry by entry
    (``data.train.pipeline.2.img_scale``); other lists are values.

    Returns:
        dict: Dotted key to a tuple of each config's value, ``MISSING`` where it has none; in the
        order of the configs' own keys.
    """
    return dict(_differences('', configs))


def _differences(key, values):
    if all(value == values[0] for value in values[1:]):
        return
    present = [value for value in values if value is not MISSING]
    if any(present) and all(isinstance(value, dict) for value in present):
        parts = [{} if value is MISSING else value for value in values]
    elif len(present) == len(values) and _are_alike(values):
        parts = [dict(enumerate(value)) for value in values]
    else:
        yield key, tuple(values)
        return
    for name in dict.fromkeys(name for part in parts for name in part):
        below = f'{key}.{name}' if key else str(name)
        yield from _differences(below, [part.get(name, MISSING) for part in parts])


def _are_alike(values):
    """Whether all are lists of dicts whose types are the same in the same order."""
    if not all(isinstance(value, list) for value in values):
        return False
    if not all(isinstance(entry, dict) for value in values for entry in value):
        return False
    types = [[entry.get('type') for entry in value] for value in values]
    return all(found == types[0] for found in types)


# The sections that results follow from. The rest of the top level are names, intervals, what logs
# and where, and variables that Python configs compute with.
_SECTIONS = {
    *('model', 'uda', 'data', 'runner', 'speed', 'optimizer', 'optimizer_config', 'lr_config'),
    *('seed', 'load_from', 'load_from_without_classifier', 'scale_lr'),
}
# What does not change results inside these; `_batch` compares the batch as a whole.
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
# What names a run, or is stated anew at each of its starts.
_OF_THE_START = re.compile(r'name(_.*)?|exp|work_dir|git_rev|resume_from')
# Sections whose reader is known without a type.
_UNTYPED = ('speed', 'lr_config', 'optimizer_config')
_BATCH = 'data.samples_per_gpu × n_gpus'
_SHOWN, _LONGEST = 8, 60


def settings(config):
    """Return the part of a config that results follow from, flat, without the seed."""
    flat = flatten({key: config[key] for key in config if key in _SECTIONS - {'seed'}})
    found = {key: value for key, value in flat.items() if not _WITHOUT_INFLUENCE.fullmatch(key)}
    return {**found, _BATCH: _batch(config)}


def compare(old, new):
    """Compare the configs of two runs; a key that one of them lacks counts as its default.

    Args:
        old, new (dict): Resolved configs.

    Returns:
        tuple[dict, dict]: What makes them different runs, and what differs without changing
        results: (old, new) by dotted key, in the order of the configs.
    """
    influential, others = {}, {}
    old, new = _with_whole_paths(old), _with_whole_paths(new)
    for key, values in differences(_stated(old), _stated(new)).items():
        if _OF_THE_START.fullmatch(key) or _is_default(key, values, (old, new)):
            continue
        matters = key.partition('.')[0] in _SECTIONS and not _WITHOUT_INFLUENCE.fullmatch(key)
        is_other = not matters or _is_moved(key, *values)
        (others if is_other else influential)[key] = values
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
    """Return what :func:`compare` found as a line: ``optimizer.lr: 6e-05 → 0.0001; …``."""
    shown = [f'{key}: {_short(old)} → {_short(new)}' for key, (old, new) in found.items()]
    more = len(shown) - _SHOWN
    return '; '.join(shown[:_SHOWN]) + (f'; and {more} more' if more > 0 else '')


def _short(value):
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…'


def _with_whole_paths(config):
    """Join the folders of data sets to their ``data_root``."""
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
    """Drop sections and settings that say nothing."""
    return {key: v for key, v in config.items() if not (v is None or v is False or v == {})}


def _batch(config):
    """Count the images of an optimizer step.

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
    if osp.exists(old) and osp.exists(new):
        return osp.samefile(old, new)
    ends = [osp.normpath(path).split(os.sep)[-count:] for path in (old, new)]
    return (osp.exists(old) or osp.exists(new)) and ends[0] == ends[1]


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
    from mmseg.engine.checks.errors import has_default

    return has_default(parent, part, name, value)
