"""The files of a run in its folder, beside which others may lie, and what its logs say.

Imports neither torch nor mmseg, so that states and results are shown at once.
"""

import glob
import json
import os.path as osp
import re
from dataclasses import dataclass, field

_LOG = re.compile(r'\d{8}_\d{6}\.log\.json')
_NO_CURVES = ('mode', 'epoch', 'iter')
_RATIO = re.compile(
    r'([\w/-]+/)?(aAcc|m?(IoU|Acc|Dice|Fscore|Precision|Recall)(\d*|\..*))'
)  # the first group: of one of several data sets
_OF_SET = re.compile(r'([\w/-]+)/mIoU')


def find_config(work_dir):
    """Find the resolved config that a run left in its folder: NAME.json; None without any."""
    found = [path for path in _files(work_dir, '*.json') if _is_config(path)]
    if len(found) > 1:
        raise ValueError(f'{work_dir} holds several configs: {", ".join(found)}. Keep one.')
    return found[0] if found else None


def _is_config(path):
    content = None if path.endswith('.log.json') else read_json(path)
    name = osp.basename(path).removesuffix('.json')
    if not isinstance(content, dict) or content.get('name') != name or '_base_' in content:
        return False  # with bases it is one that somebody wrote: a run's is resolved
    return isinstance(content.get('runner'), dict)


def read_json(path):
    """Read a JSON file; None if it is a folder, a link to nothing, or something else."""
    if not osp.isfile(path):
        return None
    with open(path, encoding='utf-8') as file:
        try:
            return json.load(file)
        except ValueError:
            return None


def json_logs(work_dir):
    """List the JSON logs of a run in order of time: one, unless older code resumed it."""
    paths = _files(work_dir, '*.log.json')
    return [path for path in paths if _LOG.fullmatch(osp.basename(path))]


def find_work_dirs(folders):
    """List the folders of runs among and below `folders`: those that hold a JSON log."""
    patterns = [osp.join(glob.escape(folder), '**', '*.log.json') for folder in folders]
    logs = [log for pattern in patterns for log in glob.glob(pattern, recursive=True)]
    return sorted(folder for folder in {osp.dirname(log) for log in logs} if json_logs(folder))


def _files(work_dir, pattern):
    return sorted(glob.glob(osp.join(glob.escape(work_dir), pattern)))


def is_ratio(key):
    """Whether MMSegmentation logs a key's values between 0 and 1; they are shown in percent."""
    return _RATIO.fullmatch(key) is not None


def sets_in(keys):
    """Return the names of the data sets of which there is a ``NAME/mIoU``; none of a single one."""
    return [match[1] for match in map(_OF_SET.fullmatch, keys) if match]


@dataclass(frozen=True)
class Log:
    """What a run logged over all its starts: entries of training and evaluation by iteration."""

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
    """Read the JSON logs of a run's starts, in order of time; a half-written line is skipped."""
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
