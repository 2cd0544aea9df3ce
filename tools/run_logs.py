"""What runs logged, half-written and resumed logs included. Imports no torch."""

import json
import re
from dataclasses import dataclass, field

_NO_CURVES = ('mode', 'epoch', 'iter')
_RATIO = re.compile(r'aAcc|m?(IoU|Acc|Dice|Fscore|Precision|Recall)(\d*|\..*)')


def is_ratio(key):
    """Whether MMSegmentation logs a key's values between 0 and 1; they are shown in percent."""
    return _RATIO.fullmatch(key) is not None


@dataclass(frozen=True)
class Log:
    """What a run logged over all its starts.

    Args:
        metas: the first line of each log, which states classes and environment.
        train: iteration to entry, ascending.
        val: the same of evaluations.
    """

    metas: list = field(default_factory=list)
    train: dict = field(default_factory=dict)
    val: dict = field(default_factory=dict)

    def curve(self, key):
        """Iterations and values of a key, two lists; ratios such as mIoU in percent."""
        factor = 100 if is_ratio(key) else 1
        of_training = any(key in entry for entry in self.train.values())
        entries = self.train if of_training else self.val
        points = [(i, factor * entry[key]) for i, entry in entries.items() if key in entry]
        return [i for i, _ in points], [value for _, value in points]

    def keys(self):
        """All keys that have a curve, those of training first."""
        entries = [*self.train.values(), *self.val.values()]
        return list(dict.fromkeys(k for entry in entries for k in entry if k not in _NO_CURVES))

    @property
    def seconds(self):
        """The time of all iterations, which is logged as the mean of each interval."""
        entries = zip(self.train.items(), [0, *self.train], strict=False)
        return sum((i - before) * entry.get('time', 0) for (i, entry), before in entries)


def read_log(paths):
    """Read the JSON logs of a run's starts, in order of time; a half-written line is skipped.

    Raises:
        ValueError: A file is no JSON log; the message names it.
    """
    log = Log()
    for path in paths:
        try:
            with open(path, encoding='utf-8') as file:
                for line in file:
                    if line.endswith('\n'):
                        _add(log, json.loads(line))
        except ValueError as error:
            raise ValueError(f'{path} is no JSON log: {error}') from error
    return log


def _add(log, entry):
    mode, iteration = entry.get('mode'), entry.get('iter')
    if mode == 'train' and iteration <= next(reversed(log.train), 0):
        # Resumed from before this iteration: what was logged after it happens again.
        for entries in (log.train, log.val):
            for later in [i for i in entries if i >= iteration]:
                del entries[later]
    if mode == 'train':
        log.train[iteration] = entry
    elif mode == 'val':
        log.val[iteration] = entry
    else:
        log.metas.append(entry)
