"""In which settings runs differ, dotted key by dotted key."""

import json

_ABSENT = '–'
_LONGEST = 300


def differences(runs):
    """The settings that are not equal in all runs; those without influence on results are left out.

    Returns:
        list[tuple[str, list[str]]]: Dotted key, and its value in each run as JSON, cut where long.
    """
    rows = [('seed', [str(run.result.seed) for run in runs])]
    for key in sorted({key for run in runs for key in run.result.settings}):
        rows.append((key, [_text(run.result.settings, key) for run in runs]))
    return [(key, [_cut(v) for v in values]) for key, values in rows if len(set(values)) > 1]


def _text(settings, key):
    if key not in settings:
        return _ABSENT
    return json.dumps(settings[key], ensure_ascii=False, sort_keys=True)


def _cut(text):
    return text if len(text) <= _LONGEST else f'{text[:_LONGEST]}…'
