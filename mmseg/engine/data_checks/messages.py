"""What messages about data sets share: a few of many files, and the commands that mend."""

import os
import os.path as osp
import shlex
from dataclasses import dataclass

CONVERTERS = {
    'GTADataset': 'gta',
    'SynthiaDataset': 'synthia',
    'CityscapesDataset': 'cityscapes',
}
# Of these data sets the folder of the images, below their root.
_IMAGE_FOLDERS = ('images', 'RGB', 'leftImg8bit')
OWN = 'OwnDataset'  # its converter reads the config
STREET_SCENES = 'data/street_scenes'
NAMED = 3


@dataclass(frozen=True)
class Origin:
    """Where the files of a data set come from, for messages.

    Attributes:
        kind: Its registered type.
        root: Where it should be.
        config_file: That describes it.
        img_dir: Of its images, relative to the root or absolute.
    """

    kind: str
    root: str
    config_file: str
    img_dir: str = ''


def a_few(names):
    """The first names of a list, and how many there are more."""
    text = ', '.join(map(str, names[:NAMED]))
    more = len(names) - NAMED
    return f'{text} and {more} more' if more > 0 else text


def how_to_get(origin):
    """The sentence that says where a data set comes from."""
    if osp.normpath(origin.root).startswith(STREET_SCENES):
        return f'Draw the scenes with: python tools/make_street_scenes.py {STREET_SCENES}'
    if origin.kind == OWN:
        return f'Correct what {origin.config_file} says of it, or put the files there.'
    text = 'Download the data set and put or link it there as the README says ("Data").'
    if origin.kind in CONVERTERS:
        text += f' Then run: {convert_command(origin)}'
    return text


def convert_command(origin):
    """The command that makes train ids and the class index."""
    if origin.kind == OWN:
        return f'python tools/convert_datasets/custom.py {shlex.quote(origin.config_file)}'
    if origin.kind not in CONVERTERS:
        return 'a converter like those in tools/convert_datasets'
    command = f'python tools/convert_datasets/{CONVERTERS[origin.kind]}.py'
    img_dir = osp.join(origin.root, origin.img_dir)
    if not osp.relpath(img_dir, origin.root or osp.curdir).startswith(osp.pardir):
        return f'{command} {shlex.quote(origin.root or osp.curdir)}'
    # The images are elsewhere, perhaps read-only, and the root holds what the converter wrote.
    parts = osp.normpath(img_dir).split(os.sep)
    ends = [number for number, part in enumerate(parts) if part in _IMAGE_FOLDERS]
    root = os.sep.join(parts[: ends[-1]]) if ends else 'ROOT'
    out = shlex.quote(origin.root) if origin.root else 'DIR'
    return f'{command} {shlex.quote(root)} --out {out}'


def how_to_label(origin, is_converted):
    """The sentence that says where missing labels come from.

    Args:
        origin (Origin): Of the data set.
        is_converted (bool): Whether a converter writes them.
    """
    if not is_converted:
        return how_to_get(origin)
    return f'Make them with: {convert_command(origin)}'


def how_to_relabel(origin, suffix, is_converted):
    """The sentence that says how wrong labels become right ones.

    Args:
        origin (Origin), is_converted (bool): As for :func:`how_to_label`.
        suffix (str): How the names of the labels end. Converters keep labels that are there and
            write beside a data set's own ones, which must not be deleted.
    """
    command = convert_command(origin)
    if origin.kind == OWN and not is_converted:
        return (
            f'If they hold ids or colours of their own, say in {origin.config_file} which is which '
            f'class, e.g. id_map=dict(road=7, car=[26, 27]); then run: {command}'
        )
    if not is_converted:
        return f'Put train ids in their place, e.g. with {command}.'
    if not suffix.endswith('labelTrainIds.png'):
        return f"Run: {command} and name what it writes: seg_map_suffix='_labelTrainIds.png'."
    return f'Delete them and make them again with: {command}'
