"""The data sets of a config and their places in it: one, a list of them, or several with names."""

import re

from mmseg.datasets.builder import DATASETS
from mmseg.utils.user_error import UserError

# Training data that hold data sets of files: their source(s), and their target(s).
_PARTS = {'UDADataset': ('source', 'target'), 'DGDataset': ('source',)}
_TARGET = re.compile(r'data\.train\.target(\[\d+\])?')


def each(place, value):
    """Return the configs of data sets at a place of a config, each with its own place.

    Args:
        value (dict | list[dict] | None): One; several in a list (sources, targets); or several by
            their names (``data.val``, ``data.test``), in a dict without a ``type``.
    """
    if value is None:
        return {}
    if isinstance(value, list | tuple) and value:
        return {f'{place}[{i}]': config for i, config in enumerate(value)}
    if (
        isinstance(value, dict)
        and value
        and 'type' not in value
        and all(isinstance(v, dict) for v in value.values())
    ):
        return {f'{place}.{name}': config for name, config in value.items()}
    return {place: value}


def named(value):
    """Return the configs of ``data.val`` or ``data.test`` by their names; '' of the only one."""
    found = each('', value)
    return {place.removeprefix('.'): config for place, config in found.items()}


def first_named(value):
    """Return the only config of ``data.val`` or ``data.test``, or the first of several."""
    return next(iter(named(value).values()))


def group_of(name):
    """Return the group of a named data set: ``acdc`` of ``acdc/fog``; '' if it has none."""
    return name.partition('/')[0] if '/' in name else ''


def training_sets(train):
    """Return the configs of the data sets of ``data.train`` by place, the sources first."""
    if not isinstance(train, dict):
        raise UserError(
            f"data.train is {train!r}; it has to be a dict: dict(type='DGDataset', source=[...]) "
            'trains on several data sets'
        )
    found = {}
    for part in _PARTS.get(train.get('type'), ()):
        value = train.get(part, {})
        if isinstance(value, dict) and '' not in named(value):
            raise UserError(
                f'data.train.{part} has data sets by their names ({", ".join(value)}), as only '
                f'data.val and data.test can: several are a list, {part}=[dict(...), ...]'
            )
        found |= each(f'data.train.{part}', value)
    return found or {'data.train': train}


def labelled_sets(train):
    """As :func:`training_sets`, without targets."""
    return {place: found for place, found in training_sets(train).items() if not is_target(place)}


def is_target(place):
    """Whether a place is that of a target."""
    return _TARGET.fullmatch(place) is not None


def number_of(place):
    """Return the number of a data set in its list, 0 without one."""
    found = re.search(r'\[(\d+)\]$', place)
    return int(found[1]) if found else 0


def data_sets(cfg):
    """Return the data sets of files of a resolved config, place → config, the sources first."""
    found = training_sets(cfg.data.get('train') or {})
    for split in ('val', 'test'):
        found |= each(f'data.{split}', cfg.data.get(split))
    return {
        place: dataset
        for place, dataset in found.items()
        if isinstance(dataset, dict) and class_of(dataset) is not None
    }


def class_of(dataset):
    """Return the class of a data set's config; None if it is not one of files, or unknown."""
    kind = dataset.get('type')
    found = DATASETS.get(kind) if isinstance(kind, str) else None
    return found if hasattr(found, 'CLASSES') else None
