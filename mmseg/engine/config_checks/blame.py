"""What a class says of a value that it is built with: one line that names the config's section."""

import contextlib
import os.path as osp
import traceback

import torch

from mmseg.utils.user_error import TRACEBACK, UserError

# No value of a config raises these: no name becomes unknown, and memory is not the config's.
_BUGS = (NameError, ImportError, RecursionError, MemoryError, torch.OutOfMemoryError)
_VALUES = (str, bytes, int, float, list, tuple, dict, type(None))  # what a config can hold
_TORCH = osp.dirname(torch.__file__)


@contextlib.contextmanager
def blamed_on(section):
    """Raise a :class:`UserError` for whatever goes wrong while a part of a config is built.

    What can only be a bug keeps its type and traceback: an unknown name, a failed import, an
    attribute that an object of a class lacks. Anything else may be a mistake in the class as well,
    so the last line outside of torch where it happened is named, too.

    Args:
        section (str): Of the config.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        first = error
        while isinstance(first.__context__, type(error)):  # mmcv's registry raises once more
            first = first.__context__
        if _is_bug(first):
            error.add_note(f"while the config's {section} was built")
            raise
        frames = traceback.extract_tb(first.__traceback__)
        frame = next((f for f in reversed(frames) if not f.filename.startswith(_TORCH)), frames[-1])
        said = f'{type(error).__name__}: {error}'
        if not str(first):  # a bare assertion says nothing but its own line
            said += f' {frame.line}'
        reason = ' '.join(said.split())
        raise UserError(
            f"the config's {section} cannot be used: {reason} ({frame.filename}, line "
            f'{frame.lineno}; {TRACEBACK}=1 shows how it came there)'
        ) from error


def _is_bug(error):
    if isinstance(error, AttributeError):  # a value of a wrong kind lacks attributes, too
        return not isinstance(error.obj, _VALUES)
    return isinstance(error, _BUGS)
