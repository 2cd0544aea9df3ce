"""What makes two configs describe the same run: one list, for resuming and for tables of results.

Configs are plain dicts, as JSON holds them. Importing this takes neither torch nor mmseg.
"""

import os
import os.path as osp
import re


class _Missing:
    def __repr__(self):
        return '(missing)'


MISSING = _Missing()  # the value of a key that a config does not have


def differences(*configs):
    """Find where configs differ; lists of equally many dicts are compared entry by entry.

    Returns:
        dict: Dotted key (``data.train.pipeline.2.img_scale``) to a tuple of each config's value,
        ``MISSING`` where it has none; in the order of the configs' own keys.
    """
    return dict(_differences('', configs))


def _differences(key, values):
    if all(value == values[0] for value in values):
        return
    present = [value for value in values if value is not MISSING]
    if any(present) and all(isinstance(value, dict) for value in present):
        parts = [{} if value is MISSING else value for value in values]
    elif all(_is_list_of_dicts(value) and len(value) == len(values[0]) for value in values):
        parts = [dict(enumerate(value)) for value in values]
    else:
        yield key, tuple(values)
        return
    for name in dict.fromkeys(name for part in parts for name in part):
        below = f'{key}.{name}' if key else str(name)
        yield from _differences(below, [part.get(name, MISSING) for part in parts])


def _is_list_of_dicts(value):
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


# The sections that results follow from; the rest are names, intervals, logs and variables.
_SECTIONS = {
    *('model', 'uda', 'data', 'runner', 'speed', 'optimizer', 'optimizer_config', 'lr_config'),
    *('seed', 'load_from', 'load_from_without_classifier', 'scale_lr', 'style_hallucination_hook'),
}
# What does not change results inside these; `_batch` compares the batch as a whole.
_WITHOUT_INFLUENCE = re.compile(
    r'data\.(workers_per_gpu|samples_per_gpu|(val|test)_dataloader|test|train\.resized_dir)(\..*)?'
    r'|speed\.(accumulate|channels_last|compile)'
    r'|uda\.(debug_img_interval|print_grad_magnitude|share_src_backward)'
    r'|style_hallucination_hook\.workers_per_gpu'
    # The published code wrote these two into its train_cfg; only False is possible for the third.
    r'|model\.train_cfg\.(work_dir|log_config)|lr_config\.by_epoch'
    r'|model\.test_cfg\.batched_slide'
    r'|.*\b(with_cp|palette)'
)
# A folder or file at these keys may have been moved.
_PATH = re.compile(
    r'.*\b(data_root|pretrained|checkpoint)'
    r'|(load_from|data\..*\b(img_dir|ann_dir|train_ids_dir|split))'
)
# What names a run, or is stated anew at each of its starts.
_OF_THE_START = re.compile(r'name(_.*)?|exp|work_dir|git_rev|resume_from')
# Sections whose reader is known without a type.
_UNTYPED = ('lr_config', 'optimizer_config')
_BATCH = 'data.samples_per_gpu × n_gpus'
_SHOWN = 8


def settings(config):
    """Return the part of a config that results follow from, flat, without the seed."""
    sections = {key: config[key] for key in config if key in _SECTIONS - {'seed'}}
    flat = {key: value for key, (_, value) in differences({}, sections).items()}
    found = {key: value for key, value in flat.items() if not _WITHOUT_INFLUENCE.fullmatch(key)}
    return {**found, _BATCH: _batch(config)}


def compare(old, new):
    """Return what makes two configs different runs, and what differs without changing results.

    Both are (old, new) by dotted key; a missing key counts as its default.
    """
    influential, others = {}, {}
    for key, values in differences(_stated(old), _stated(new)).items():
        if _OF_THE_START.fullmatch(key) or _is_default(key, values, (old, new)):
            continue
        matters = key.partition('.')[0] in _SECTIONS and not _WITHOUT_INFLUENCE.fullmatch(key)
        is_same = not matters or _is_moved(key, values, (old, new))
        (others if is_same else influential)[key] = values
    if _batch(old) != _batch(new):
        influential[_BATCH] = _batch(old), _batch(new)
    return influential, others


def compare_to_resume(old, new):
    """As :func:`compare`, where another number of processes alone makes no other run."""
    influential, others = compare(old, new)
    if _BATCH in influential and 'data.samples_per_gpu' not in others:
        others[_BATCH] = influential.pop(_BATCH)
    return influential, others


def describe(found):
    """Return what :func:`compare` found as a line: ``optimizer.lr: 6e-05 → 0.0001; …``."""
    shown = [f'{key}: {old!s:.60} → {new!s:.60}' for key, (old, new) in found.items()]
    more = len(shown) - _SHOWN
    return '; '.join(shown[:_SHOWN]) + (f'; and {more} more' if more > 0 else '')


def _stated(config):
    """Drop sections and settings that say nothing."""
    return {key: v for key, v in config.items() if not (v is None or v is False or v == {})}


def _batch(config):
    """Count the images of an optimizer step, which processes and micro-batches share."""
    samples = (config.get('data') or {}).get('samples_per_gpu') or 0
    return samples * (config.get('n_gpus') or 1)


def _is_moved(key, values, configs):
    """Whether two paths are of one thing: the same place, or one that is gone of the same name.

    Where both are there, as another town's images in ``data/town_2/source``, they are two things.
    """
    match = _PATH.fullmatch(key)
    if not (match and all(isinstance(path, str) for path in values)):
        return False
    roots = ['', '']
    if match[3]:
        root = key.removesuffix(match[3]) + 'data_root'
        roots = [differences({}, config).get(root, ('', ''))[1] or '' for config in configs]
    (old, has_old), (new, has_new) = map(_find, map(osp.join, roots, values))
    if has_old and has_new:
        are_unpacked = osp.exists(old) and osp.exists(new)
        return osp.samefile(old, new) if are_unpacked else osp.realpath(old) == osp.realpath(new)
    count = 2 if match[2] else 1  # `images` or `latest.pth` alone says nothing
    ends = [osp.normpath(path).split(os.sep)[-count:] for path in (old, new)]
    return (has_old or has_new) and ends[0] == ends[1]


def _find(path):
    """Return a path, one in a zip as if that were unpacked, and whether it is there."""
    if '.zip' not in path:
        return path, osp.exists(path)
    # Takes seconds, and is rarely needed.
    from mmseg.datasets import archives

    return archives.unpacked(path), archives.is_folder(path) or archives.is_file(path)


def _is_default(key, values, configs):
    """Whether one of the configs lacks a key and the other states its default."""
    if MISSING not in values:
        return False
    there = 1 if values[0] is MISSING else 0
    parent, _, name = key.rpartition('.')
    if parent == 'speed':
        return values[there] in (None, False, 1)
    part = configs[there]
    for step in parent.split('.') if parent else ():
        part = part[int(step)] if isinstance(part, list) else part.get(step)
        if not isinstance(part, dict | list):  # a key with a point in its name
            return False
    if not ('type' in part or parent in _UNTYPED):
        return False
    # Takes seconds, and is rarely needed.
    from mmseg.engine.checks.errors import has_default

    return has_default(parent, part, name, values[there])
