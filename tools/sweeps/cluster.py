"""What a sweep asks of SLURM for each of its runs: a small YAML file, checked key by key.

Mistakes are `ValueError`s: mmseg's `UserError` would cost the seconds that importing mmseg takes.
"""

import difflib
import importlib.util
import os.path as osp
import shutil
from dataclasses import dataclass, fields

import yaml


@dataclass(frozen=True)
class Cluster:
    """The keys of the YAML file; configs/slurm.yaml says what each is for."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    hours: float = 24
    cpus_per_gpu: int = 8
    memory_gb_per_gpu: float = 48
    warning_seconds: int = 180
    requeues: int = 50
    setup: tuple = ()
    cluster: str = 'slurm'

    @property
    def minutes(self):
        return max(1, round(60 * self.hours))


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool)


# Key → what it takes, and whether a value is that.
_TEXT = ('text', lambda value: isinstance(value, str) and value != '')
_POSITIVE = ('a number above 0', lambda value: _is_number(value) and 0 < value < float('inf'))
_COUNT = ('a whole number above 0', lambda value: _is_count(value) and value > 0)
_TAKES = {
    **dict.fromkeys(('partition', 'account', 'qos', 'constraint'), _TEXT),
    **dict.fromkeys(('hours', 'memory_gb_per_gpu'), _POSITIVE),
    **dict.fromkeys(('cpus_per_gpu', 'warning_seconds'), _COUNT),
    'requeues': ('a whole number, 0 or more', lambda value: _is_count(value) and value >= 0),
    'setup': (
        'a list of shell commands',
        lambda value: isinstance(value, list) and all(isinstance(line, str) for line in value),
    ),
    'cluster': ('slurm or local', lambda value: value in ('slurm', 'local')),
}
assert set(_TAKES) == {field.name for field in fields(Cluster)}


def read_cluster(path):
    """Read the YAML file.

    Returns:
        Cluster

    Raises:
        ValueError: It is missing or no YAML, or names the first key that nothing reads, with the
            nearest known one, or the first value that cannot be.
    """
    if not osp.isfile(path):
        raise ValueError(f'--slurm {path} does not exist; configs/slurm.yaml is an example.')
    with open(path, encoding='utf-8') as file:
        try:
            stated = yaml.safe_load(file)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            reason = ' '.join(str(error).split())
            raise ValueError(f'{path} cannot be read as YAML: {reason}') from error
    stated = {} if stated is None else stated
    if not isinstance(stated, dict):
        raise ValueError(f'{path}: lines of the form "key: value" are needed.')
    for key, value in stated.items():
        if key not in _TAKES:
            near = difflib.get_close_matches(str(key), _TAKES, n=1)
            hint = f'did you mean {near[0]}?' if near else f'known are {", ".join(_TAKES)}.'
            raise ValueError(f'{path}: {key}: nothing reads this key; {hint}')
        takes, fits = _TAKES[key]
        if value is not None and not fits(value):
            raise ValueError(f'{path}: {key}: {value!r} cannot be; it takes {takes}.')
    cluster = Cluster(**{key: value for key, value in stated.items() if value is not None})
    if cluster.warning_seconds >= 60 * cluster.minutes:
        raise ValueError(
            f'{path}: warning_seconds: {cluster.warning_seconds} is not below the time limit, '
            f'hours: {cluster.hours}.'
        )
    return cluster


def check_reachable(cluster):
    """Raise a `ValueError` if jobs cannot be submitted from here."""
    if importlib.util.find_spec('submitit') is None:
        raise ValueError(
            '--machine slurm needs submitit, which is not installed: pip install "submitit>=1.5".'
        )
    if cluster.cluster == 'slurm':
        missing = [name for name in ('sbatch', 'srun') if shutil.which(name) is None]
        if missing:
            raise ValueError(
                f'--machine slurm: there is no {" and no ".join(missing)} in PATH; run this on a '
                'login node of the cluster.'
            )
