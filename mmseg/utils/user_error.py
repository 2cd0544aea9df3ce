"""The exception for what the user got wrong."""

import functools
import sys


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
            sys.exit(f'Error: {error}')

    return wrapped
