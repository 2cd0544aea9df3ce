"""What a class says of a value that it is built with: one line that names the config's section."""

import contextlib
import traceback

import torch

from mmseg.utils.user_error import UserError


@contextlib.contextmanager
def blamed_on(section):
    """Raise a :class:`UserError` for whatever goes wrong while a part of a config is built.

    It may be a mistake in the class as well, so the line where it happened is named, too.

    Args:
        section (str): Of the config.
    """
    try:
        yield
    except (UserError, NameError, MemoryError, torch.OutOfMemoryError):
        raise  # no value makes a name unknown, and memory is not the config's
    except Exception as error:
        first = error
        while first.__context__ is not None:  # mmcv's registry raises once more at every level
            first = first.__context__
        frame = traceback.extract_tb(first.__traceback__)[-1]
        said = f'{type(error).__name__}: {error}'
        if not str(first):  # a bare assertion says nothing but its own line
            said += f' {frame.line}'
        reason = ' '.join(said.split())
        raise UserError(
            f"the config's {section} cannot be used: {reason} ({frame.filename}, line "
            f'{frame.lineno})'
        ) from error
