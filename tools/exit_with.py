"""The end of a tool that does without mmseg, whose import takes seconds."""

import os
import sys


def exit_with(error, more=''):
    """Exit with an error as one message; with its traceback where DAFORMER_TRACEBACK=1 is set.

    Args:
        error (Exception): A mistake of the user's.
        more (str): What the message says besides.
    """
    if os.environ.get('DAFORMER_TRACEBACK', '0') not in ('', '0'):
        raise error
    sys.exit(f'Error: {error}{more}')
