"""In which settings runs differ, dotted key by dotted key."""

import json

from tools import config_differences
from tools.same_run import settings

_LONGEST = 300


def differences(runs):
    """The settings that are not equal in all runs; those without influence on results are left out.

    Returns:
        list[tuple[str, list[str]]]: Dotted key, and its value in each run as JSON, cut where long.
    """
    stated = [{'seed': run.result.seed, **settings(run.config)} for run in runs]
    found = config_differences.differences(*stated)
    return [(key, [_cut(_text(value)) for value in values]) for key, values in found.items()]


def _text(value):
    if value is config_differences.MISSING:
        return '–'
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _cut(text):
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…'
