"""What differs between configs: plain dicts in, dotted keys out. Imports neither torch nor mmcv."""


class _Missing:
    def __repr__(self):
        return '(missing)'


# Stands for the value of a key that a config does not have.
MISSING = _Missing()


def flatten(config, prefix=''):
    """A nested dict as a flat one.

    Args:
        config (dict): As JSON holds it.

    Returns:
        dict: Dotted key to value; lists and empty dicts are values.
    """
    flat = {}
    for name, value in config.items():
        key = f'{prefix}{name}'
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f'{key}.'))
        else:
            flat[key] = value
    return flat


def differences(*configs):
    """Where configs differ.

    Lists of as many dicts with equal ``type``, such as two pipelines, are compared entry by entry
    (``data.train.pipeline.2.img_scale``); other lists are values.

    Args:
        *configs (dict): Two or more, as JSON holds them.

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
