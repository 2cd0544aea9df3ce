"""The class list of a config, stated once, and everything that follows from it.

``classes = [...]`` (and ``palette``) at the top level of a config goes to each of its data sets.
Where a class list is stated, heads get their ``num_classes`` from it. On a data set with a class
list of its own it is a choice of those classes; all others are ignored then. A data set without
any shares the list of the others.
"""

from mmseg.datasets.builder import DATASETS
from mmseg.datasets.id_map import read_id_map, train_id_of
from mmseg.models.encoder_channels import head_configs
from mmseg.utils.drawing import distinct_palette
from mmseg.utils.user_error import UserError

MOST_CLASSES = 255  # train ids are bytes, and 255 is no class


def data_sets(cfg):
    """The data sets of files of a config.

    Args:
        cfg (mmcv.Config): Resolved, but not checked.

    Returns:
        dict[str, dict]: Where each is stated, the source first, to its config.
    """
    places = {f'data.{key}': cfg.data.get(key) for key in ('train', 'val', 'test')}
    train = places['data.train']
    if isinstance(train, dict) and train.get('type') == 'UDADataset':
        pair = {f'data.train.{key}': train.get(key) for key in ('source', 'target')}
        places = {**pair, **places}
        del places['data.train']
    return {
        place: dataset
        for place, dataset in places.items()
        if isinstance(dataset, dict) and _class_of(dataset) is not None
    }


def class_list(dataset):
    """The class list of a data set's config.

    Args:
        dataset (dict): Of a registered type.

    Returns:
        tuple[list[str], list[list[int]]]: Names and RGB colours by train id; (None, None) if its
        type has no class list and the config states none.
    """
    own, colors = _class_of(dataset).CLASSES, _class_of(dataset).PALETTE
    chosen, palette = dataset.get('classes'), dataset.get('palette')
    if chosen is None:
        return (None, None) if own is None else (list(own), [list(color) for color in colors])
    if own is not None:
        palette = [colors[own.index(name)] for name in chosen]
    return list(chosen), [list(c) for c in palette or distinct_palette(len(chosen))]


def complete_classes(cfg):
    """Write what follows from a config's class list into it, in place.

    That is ``classes`` and ``palette`` of its data sets, ``num_classes`` of its heads, and the
    train ids of ``uda.imnet_feature_dist_classes``. A config without a class list stays as it is.

    Raises:
        UserError: If a class list, a palette or an id map cannot be, data sets differ, or a name is
            no class.
    """
    found = data_sets(cfg)
    _hand_out(cfg, found)
    for place, dataset in found.items():
        _check_classes(f'{place}.classes', dataset.get('classes'), dataset)
    _share(found)
    if any(dataset.get('classes') is not None for dataset in found.values()):
        names = _only_list(found)
        for head in head_configs(cfg.model):
            head['num_classes'] = len(names)
        _check_id_maps(found, names)
    _resolve_names(cfg, found)


def _only_list(found):
    """The class list that all data sets share."""
    lists = {place: class_list(dataset)[0] for place, dataset in found.items()}
    first = next(iter(lists))
    for place, names in lists.items():
        if names != lists[first]:
            raise UserError(
                f'{first} and {place} have different classes ({lists[first]} and {names}): '
                'state the class list once, as classes = [...] at the top level of the config'
            )
    return lists[first]


def _check_id_maps(found, names):
    for place, dataset in found.items():
        if dataset.get('id_map') is not None:
            try:
                read_id_map(dataset['id_map'], names)
            except UserError as error:
                raise UserError(f'{place}.{error}') from error


def _hand_out(cfg, found):
    """Put the config's own class list and palette into its data sets."""
    classes, palette = cfg.get('classes'), cfg.get('palette')
    if classes is not None:
        _check_classes('classes', classes)
        for place, dataset in found.items():
            stated = dataset.setdefault('classes', list(classes))
            if not isinstance(stated, list | tuple) or list(stated) != list(classes):
                raise UserError(
                    f'{place}.classes is {stated}, but classes of the config is {list(classes)}: '
                    'state the class list once'
                )
    if palette is None:
        return
    takers = [dataset for dataset in found.values() if _class_of(dataset).CLASSES is None]
    if classes is None or not takers:
        raise UserError(
            'palette at the top level of a config is for classes there, and for data sets without '
            'colours of their own (OwnDataset): leave it out'
        )
    _check_palette('palette', palette, len(classes))
    for dataset in takers:
        dataset.setdefault('palette', [list(color) for color in palette])


def _share(found):
    """Give data sets without a class list that of the first one that has one: GTA's to a camera."""
    names, palette = next(
        (class_list(d) for d in found.values() if class_list(d)[0] is not None), (None, None)
    )
    for dataset in found.values():
        if names is not None and class_list(dataset)[0] is None:
            dataset['classes'], dataset['palette'] = names, palette


def _check_classes(place, classes, dataset=None):
    """Check a stated class list; of a data set with a list of its own it is a choice."""
    if classes is None:
        return
    is_list = isinstance(classes, list | tuple) and all(isinstance(c, str) and c for c in classes)
    if not is_list or not 2 <= len(classes) <= MOST_CLASSES or len({*classes}) < len(classes):
        raise UserError(
            f'{place} is {classes!r}; it has to be a list of 2 to {MOST_CLASSES} different names'
        )
    if dataset is None:
        return
    own = _class_of(dataset).CLASSES
    for name in classes if own is not None else ():
        train_id_of(name, own, f'{place} (a choice of the classes of {dataset["type"]})')
    if own is None and dataset.get('palette') is not None:
        _check_palette(place.replace('.classes', '.palette'), dataset['palette'], len(classes))


def _check_palette(place, palette, count):
    is_list = isinstance(palette, list | tuple) and all(_is_color(color) for color in palette)
    if not is_list or len(palette) != count:
        raise UserError(
            f'{place} has to be a list of {count} RGB colours, one per class, such as '
            '[[128, 64, 128], [70, 130, 180]]'
        )


def _is_color(color):
    return (
        isinstance(color, list | tuple)
        and len(color) == 3
        and all(isinstance(c, int) and not isinstance(c, bool) and 0 <= c <= 255 for c in color)
    )


def _resolve_names(cfg, found):
    """Replace names in ``uda.imnet_feature_dist_classes`` by train ids."""
    key = 'imnet_feature_dist_classes'
    uda = cfg.get('uda')
    entries = uda.get(key) if isinstance(uda, dict) else None
    if not isinstance(entries, list | tuple) or not any(isinstance(e, str) for e in entries):
        return
    names = next((class_list(dataset)[0] for dataset in found.values()), None)
    if names is None:
        raise UserError(f'uda.{key} has names, but the config has no class list')
    uda[key] = [train_id_of(e, names, f'uda.{key}') if isinstance(e, str) else e for e in entries]


def _class_of(dataset):
    """The class of a data set's config; None if it is not one of files, or there is none."""
    kind = dataset.get('type')
    found = DATASETS.get(kind) if isinstance(kind, str) else None
    return found if hasattr(found, 'CLASSES') else None
