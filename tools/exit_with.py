"""The end of a tool that does without mmseg, whose import takes seconds."""

import os
import sys
import traceback


def exit_with(error, more=''):
    """Exit with an error as one message; after its traceback where DAFORMER_TRACEBACK=1 is set.

    Args:
        error (Exception): A mistake of the user's.
        more (str): What the message says besides.
    """
    if os.environ.get('DAFORMER_TRACEBACK', '0') not in ('', '0'):
        traceback.print_exception(error)
    sys.exit(f'Error: {error}{more}')
