"""The exception for what the user got wrong."""

import functools
import os
import sys

TRACEBACK = 'DAFORMER_TRACEBACK'  # set in the environment, it shows where an error came from


class UserError(ValueError):
    """A mistake of the user's: the message names the thing and the command or change that mends it.

    Everything else that goes wrong is our mistake and keeps its own type and traceback.
    """


def reports_user_errors(main):
    """Decorate a tool's ``main``: a :class:`UserError` becomes one message and exit code 1."""

    @functools.wraps(main)
    def wrapped(*args):
        try:
            return main(*args)
        except UserError as error:
            exit_with(error)

    return wrapped


def exit_with(error):
    """Exit with an error as one message, or with its traceback if the environment asks for it."""
    if shows_traceback():
        raise error
    sys.exit(f'Error: {error}')


def shows_traceback():
    return os.environ.get(TRACEBACK, '0') not in ('', '0')
