"""Which ids, or colours, of a data set's own labels are which class: ``id_map`` of a config.

``id_map=dict(road=7, vehicle=[26, 27, 28], sky=[[70, 130, 180]])``: per class an id, or a list of
ids, or a list of RGB colours. Whatever stands nowhere in it is no class and is ignored.
"""

import json
from typing import NamedTuple

from mmseg.utils.user_error import UserError

TRAIN_IDS_SUFFIX = '_labelTrainIds.png'
# Under this keyword the PNGs that tools/convert_datasets/custom.py writes keep the map they are of.
PNG_KEYWORD = 'id_map'
LARGEST_ID = 2**16 - 1


class IdMap(NamedTuple):
    """From the pixels of a label image to train ids."""

    of_colors: bool  # whether the labels are coloured; else they hold ids
    train_ids: dict[int, int]  # of each id, or of each colour as the number 0xRRGGBB

    @property
    def text(self):
        """What train-id PNGs keep, to tell whether they are of this map and this class list."""
        name = '#{:06x}' if self.of_colors else '{}'
        return json.dumps({name.format(code): i for code, i in sorted(self.train_ids.items())})


def read_id_map(id_map, classes):
    """Check the ``id_map`` of a data set and turn it into an :class:`IdMap`."""
    if not isinstance(id_map, dict) or not id_map:
        raise UserError('id_map has to be a dict from class names to ids or RGB colours')
    train_ids, kinds = {}, set()
    for name, entries in id_map.items():
        train_id = train_id_of(name, classes, 'id_map')
        for entry in entries if isinstance(entries, list | tuple) else [entries]:
            code = _code(entry, name)
            kinds.add(isinstance(entry, int))
            if len(kinds) > 1:
                raise UserError('id_map holds ids and colours; the labels are of one kind')
            if train_ids.setdefault(code, train_id) != train_id:
                raise UserError(
                    f'id_map maps {entry} onto {classes[train_ids[code]]!r} and {name!r}'
                )
    if not train_ids:
        raise UserError('id_map maps nothing')
    return IdMap(kinds == {False}, train_ids)


def train_id_of(name, classes, what):
    """Return the train id of a class name; ``what`` is where it stands, for the message."""
    if name in classes:
        return list(classes).index(name)
    raise UserError(f'{what} names {name!r}; the classes are {", ".join(classes)}.')


def _code(entry, name):
    if _is_number(entry, LARGEST_ID):
        return entry
    is_color = isinstance(entry, list | tuple) and len(entry) == 3
    if not is_color or not all(_is_number(channel, 255) for channel in entry):
        raise UserError(
            f'id_map has {entry!r} for {name!r}; it takes an id from 0 to {LARGEST_ID}, or a list '
            'of ids, or of colours: [[128, 64, 128]]'
        )
    red, green, blue = entry
    return red << 16 | green << 8 | blue


def _is_number(value, largest):
    return type(value) is int and 0 <= value <= largest
