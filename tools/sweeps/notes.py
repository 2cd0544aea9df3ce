"""Leaving notes on runs; `sweep_files.read_note` reads them, without mmseg."""

import contextlib
import json
import os

from mmseg.utils.files import write_text
from tools.sweeps.sweep_files import note_of


def leave_note(group, name, note):
    """Replace a run's note by another; see `sweep_files`."""
    write_text(note_of(group, name), json.dumps(note))


def remove_note(group, name):
    """Forget what was noted of a run."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(note_of(group, name))
