"""The exception for what the user got wrong."""

import functools
import os
import sys
import traceback

TRACEBACK = 'DAFORMER_TRACEBACK'  # set in the environment, it shows where an error came from


class UserError(ValueError):
    """A mistake of the user's: the message names the thing and the command or change that mends it.

    Everything else that goes wrong is our mistake and keeps its own type and traceback.
    """


class FileError(UserError):
    """A file of a data set that cannot be used; the message names it."""


def reports_user_errors(main):
    """Decorate a tool's ``main``: a :class:`UserError` becomes one message and exit code 1."""

    @functools.wraps(main)
    def wrapped(*args):
        try:
            return main(*args)
        except UserError as error:
            if shows_traceback():
                traceback.print_exc()
            sys.exit(f'Error: {error}')

    return wrapped


def shows_traceback():
    """Whether the environment asks for tracebacks of the user's mistakes, too."""
    return os.environ.get(TRACEBACK, '0') not in ('', '0')
