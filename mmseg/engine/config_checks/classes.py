"""What does not go together with the class lists of a config's data sets."""

from mmseg.engine.class_lists import class_list, data_sets
from mmseg.models.encoder_channels import head_configs, last_head


def of_class_lists(cfg):
    """Problems of class lists with each other and with the heads.

    Where a config states a class list, completing it has settled these; what is left are data sets
    without one, and the fixed lists of published data sets.
    """
    lists = {place: (d, class_list(d)[0]) for place, d in data_sets(cfg).items()}
    for place, (dataset, names) in lists.items():
        if names is None:
            yield (
                f'{place} ({dataset["type"]}) has no class list: state it once, as classes = [...] '
                'at the top level of the config'
            )
            return
    if not lists:
        return
    first, (source, names) = next(iter(lists.items()))
    for place, (dataset, others) in lists.items():
        if others != names:
            yield (
                f'{first} ({source["type"]}, {len(names)} classes) and {place} ({dataset["type"]}, '
                f'{len(others)}) have different classes'
            )
    lists.pop('data.train.target', None)  # whose labels are not read
    for head in head_configs(cfg.model):
        ignored = head.get('ignore_index', 255)
        for place, (dataset, _) in lists.items():
            if dataset.get('ignore_index', 255) != ignored:
                yield (
                    f'{place}.ignore_index is {dataset.get("ignore_index", 255)}, but a head of '
                    f'model ignores {ignored}: set both to one value'
                )
        if head.get('num_classes') != len(names):
            yield (
                f'num_classes is {head.get("num_classes")} in a head of model, but {first} '
                f'({source["type"]}) has {len(names)} classes: set it to {len(names)}, or choose '
                'some of them with classes = [...] at the top level of the config'
            )


def of_feature_distance(cfg):
    """Problems of the feature distance's options with each other and with the classes."""
    uda = cfg.get('uda') or {}
    classes = uda.get('imnet_feature_dist_classes')
    if not uda.get('imnet_feature_dist_lambda') or classes is None:
        return
    if uda.get('imnet_feature_dist_scale_min_ratio') is None:
        yield 'uda.imnet_feature_dist_classes needs uda.imnet_feature_dist_scale_min_ratio (0.75)'
    num_classes = last_head(cfg.model).get('num_classes')
    unknown = [train_id for train_id in classes if num_classes and train_id >= num_classes]
    if unknown:
        yield (
            f'uda.imnet_feature_dist_classes has {unknown}; with model.decode_head.num_classes='
            f'{num_classes} the last train id is {num_classes - 1}'
        )
