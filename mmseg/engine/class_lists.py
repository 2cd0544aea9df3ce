"""The class list of a config, stated once, and everything that follows from it.

``classes = [...]`` (and ``palette``) at the top level of a config goes to each of its data sets.
Where a class list is stated, heads get their ``num_classes`` from it. On a data set with a class
list of its own it is a choice of those classes; all others are ignored then. A data set without
any shares the list of the others.
"""

import numpy as np

from mmseg.datasets.id_map import train_id_of
from mmseg.engine.data_sets import class_of, data_sets
from mmseg.models.encoder_channels import head_configs
from mmseg.utils.drawing import distinct_palette
from mmseg.utils.user_error import UserError

MOST_CLASSES = 255  # train ids are bytes, and 255 is no class
_STATE_ONCE = 'state the class list once, as classes = [...] at the top level of the config'


def class_list(dataset):
    """Return names and RGB colours by train id of a data set; (None, None) without a class list."""
    own, colors = class_of(dataset).CLASSES, class_of(dataset).PALETTE
    chosen, palette = dataset.get('classes'), dataset.get('palette')
    if chosen is None:
        return (None, None) if own is None else (list(own), [list(color) for color in colors])
    if own is not None:
        palette = [colors[own.index(name)] for name in chosen]
    return list(chosen), [list(c) for c in palette or distinct_palette(len(chosen))]


def shared_class_list(cfg):
    """Return the class list that all data sets of a config share, and the data sets."""
    found = data_sets(cfg)
    lists = {place: class_list(dataset)[0] for place, dataset in found.items()}
    first = next(iter(lists))
    for place, names in lists.items():
        kind = found[place]['type']
        if names is None:
            raise UserError(f'{place} ({kind}) has no class list: {_STATE_ONCE}')
        if names != lists[first]:
            raise UserError(
                f'{first} ({found[first]["type"]}, {len(lists[first])} classes) and {place} '
                f'({kind}, {len(names)}) have different classes: {_STATE_ONCE}'
            )
    return lists[first], found


def complete_classes(cfg):
    """Write what follows from a config's class list into it, in place.

    That is ``classes`` and ``palette`` of its data sets, ``num_classes`` of its heads, and the
    train ids of ``uda.imnet_feature_dist_classes``. A config without a class list stays as it is.
    """
    found = data_sets(cfg)
    classes, palette = cfg.get('classes'), cfg.get('palette')
    if classes is not None:
        _check_classes('classes', classes)
    for place, dataset in found.items():
        own = class_of(dataset).CLASSES
        if classes is not None:
            stated = dataset.setdefault('classes', list(classes))
            if not isinstance(stated, list | tuple) or list(stated) != list(classes):
                raise UserError(f'{place}.classes is {stated}, not {list(classes)}: {_STATE_ONCE}')
            if palette is not None and own is None:
                dataset.setdefault('palette', palette)
        if dataset.get('classes') is not None:
            _check_classes(f'{place}.classes', dataset['classes'], own)
            if dataset.get('palette') is not None:
                _check_palette(f'{place}.palette', dataset['palette'], len(dataset['classes']))
    lists = [class_list(dataset) for dataset in found.values()]
    names, palette = next((entry for entry in lists if entry[0] is not None), (None, None))
    for dataset in found.values():
        if names is not None and class_list(dataset)[0] is None:
            dataset['classes'], dataset['palette'] = names, palette
    if any(dataset.get('classes') is not None for dataset in found.values()):
        for head in head_configs(cfg.model):
            head['num_classes'] = len(shared_class_list(cfg)[0])
    uda, key = cfg.get('uda'), 'imnet_feature_dist_classes'
    entries = uda.get(key) if isinstance(uda, dict) else None
    if names is not None and isinstance(entries, list | tuple):
        uda[key] = [
            train_id_of(e, names, f'uda.{key}') if isinstance(e, str) else e for e in entries
        ]


def _check_classes(place, classes, own=None):
    """Check a stated class list; where a data set has ``own`` classes it is a choice of them."""
    is_list = isinstance(classes, list | tuple) and all(isinstance(c, str) and c for c in classes)
    if not is_list or not 2 <= len(classes) <= MOST_CLASSES or len({*classes}) < len(classes):
        raise UserError(
            f'{place} is {classes!r}; it has to be a list of 2 to {MOST_CLASSES} different names'
        )
    for name in classes if own is not None else ():
        train_id_of(name, own, f"{place} (a choice of its data set's classes)")


def _check_palette(place, palette, count):
    colors = np.array(palette, dtype=object)
    if colors.shape != (count, 3) or not all(c in range(256) for c in colors.flat):
        raise UserError(f'{place} has to be a list of {count} RGB colours, as [[128, 64, 128], …]')
