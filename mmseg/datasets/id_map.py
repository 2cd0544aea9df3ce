"""Which ids, or colours, of a data set's own labels are which class: ``id_map`` of a config.

``id_map=dict(road=7, vehicle=[26, 27, 28], sky=[[70, 130, 180]])``: per class an id, or a list of
ids, or a list of RGB colours. Whatever stands nowhere in it is no class and is ignored.
"""

import difflib
import json
from dataclasses import dataclass

from mmseg.utils.user_error import UserError

TRAIN_IDS_SUFFIX = '_labelTrainIds.png'
# Under this keyword the PNGs that tools/convert_datasets/custom.py writes keep the map they are of.
PNG_KEYWORD = 'id_map'
LARGEST_ID = 2**16 - 1


@dataclass(frozen=True)
class IdMap:
    """From what stands in a label picture to train ids.

    Attributes:
        of_colors: Whether the labels are coloured; else they hold ids.
        train_ids: Of each id, or of each colour as the number 0xRRGGBB.
        unused: Classes that nothing is mapped onto.
    """

    of_colors: bool
    train_ids: dict[int, int]
    unused: list[str]

    @property
    def text(self):
        """What train-id PNGs keep, to tell whether they are of this map and this class list."""
        return json.dumps(
            {self.name_of(code): train_id for code, train_id in sorted(self.train_ids.items())}
        )

    def name_of(self, code):
        """An id, or a colour as #rrggbb."""
        return f'#{code:06x}' if self.of_colors else str(code)


def read_id_map(id_map, classes):
    """Check the ``id_map`` of a data set.

    Args:
        id_map (dict): As above.
        classes (Sequence[str]): The class list; the position is the train id.

    Returns:
        IdMap: Of it.

    Raises:
        UserError: If it names no class of the list, something that is neither id nor colour, both,
            or one of them twice.
    """
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
                    f'id_map maps {entry} onto {classes[train_ids[code]]!r} and {name!r}; it can '
                    'be one class only'
                )
    if not train_ids:
        raise UserError('id_map maps nothing')
    used = set(train_ids.values())
    unused = [name for number, name in enumerate(classes) if number not in used]
    return IdMap(kinds == {False}, train_ids, unused)


def train_id_of(name, classes, what):
    """The train id of a class name.

    Args:
        name (str): That should be in the list.
        classes (Sequence[str]): The class list.
        what (str): Where the name stands, for the message.

    Raises:
        UserError: With the nearest name that is.
    """
    if name in classes:
        return list(classes).index(name)
    near = difflib.get_close_matches(str(name), classes, n=1)
    hint = f'did you mean {near[0]!r}?' if near else f'the classes are {", ".join(classes)}.'
    raise UserError(f'{what} names {name!r}, which is no class; {hint}')


def _code(entry, name):
    """The number of an id or of a colour."""
    if _is_number(entry, LARGEST_ID):
        return entry
    if (
        isinstance(entry, list | tuple)
        and len(entry) == 3
        and all(_is_number(channel, 255) for channel in entry)
    ):
        red, green, blue = entry
        return red << 16 | green << 8 | blue
    raise UserError(
        f'id_map has {entry!r} for {name!r}; an id is a whole number from 0 to {LARGEST_ID}, a '
        'colour [red, green, blue], and colours stand in a list: [[128, 64, 128]]'
    )


def _is_number(value, largest):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= largest
