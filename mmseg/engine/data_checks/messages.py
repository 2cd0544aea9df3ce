"""What messages about data sets share: a few of many files, and the commands that mend."""

import os.path as osp

CONVERTERS = {
    'GTADataset': 'gta',
    'SynthiaDataset': 'synthia',
    'CityscapesDataset': 'cityscapes',
}
STREET_SCENES = 'data/street_scenes'
NAMED = 3


def a_few(names):
    """The first names of a list, and how many there are more."""
    text = ', '.join(map(str, names[:NAMED]))
    more = len(names) - NAMED
    return f'{text} and {more} more' if more > 0 else text


def how_to_get(kind, root):
    """The sentence that says where a data set comes from.

    Args:
        kind (str): Its registered type.
        root (str): Where it should be.
    """
    if osp.normpath(root).startswith(STREET_SCENES):
        return f'Draw the scenes with: python tools/make_street_scenes.py {STREET_SCENES}'
    text = 'Download the data set and put or link it there as the README says ("Data").'
    if kind in CONVERTERS:
        text += f' Then run: {convert_command(kind, root)}'
    return text


def convert_command(kind, root):
    """The command that makes train ids and the class index; arguments as :func:`how_to_get`."""
    if kind not in CONVERTERS:
        return 'a converter like those in tools/convert_datasets'
    return f'python tools/convert_datasets/{CONVERTERS[kind]}.py {root}'


def how_to_label(kind, root):
    """The sentence that says where missing labels come from; arguments as :func:`how_to_get`."""
    if kind not in CONVERTERS:
        return how_to_get(kind, root)
    return f'Make them with: {convert_command(kind, root)}'


def how_to_relabel(kind, root, suffix):
    """The sentence that says how wrong labels become right ones.

    Args:
        kind (str), root (str): As :func:`how_to_get`.
        suffix (str): How the names of the labels end. Converters keep labels that are there and
            write beside a data set's own ones, which must not be deleted.
    """
    command = convert_command(kind, root)
    if kind not in CONVERTERS:
        return f'Put train ids in their place, e.g. with {command}.'
    if not suffix.endswith('labelTrainIds.png'):
        return f"Run: {command} and name what it writes: seg_map_suffix='_labelTrainIds.png'."
    return f'Delete them and make them again with: {command}'
