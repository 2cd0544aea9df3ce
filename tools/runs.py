"""Where a run lives: its generated config, its work folder, and finding the one to resume.

All paths are relative to the folder in which the command runs, normally the checkout.
"""

import copy
import glob
import json
import os.path as osp
import subprocess
import tempfile
import time
import uuid
from dataclasses import dataclass

from mmseg.engine.checkpoint import is_finished
from mmseg.engine.config import as_dict, load_config
from mmseg.utils.files import write_text
from mmseg.utils.user_error import UserError
from tools.run_folder import find_config
from tools.same_run import compare_to_resume

# What differs between two runs of one config.
_OF_THE_RUN = ('name', 'work_dir', 'git_rev', 'resume_from')


@dataclass(frozen=True)
class FoundRun:
    """A run that is there, compared with what is asked for.

    Args:
        config: path of the resolved config in its folder.
        name: the run's.
        is_finished: whether it is finished.
        differences: what makes it another run, as `compare_to_resume` gives it; {} for the same.
        is_equal: whether its config is the one that is asked for, word for word.
    """

    config: str
    name: str
    is_finished: bool
    differences: dict
    is_equal: bool

    @property
    def work_dir(self):
        """Its folder now; the config names where it was when it began."""
        return osp.dirname(self.config)


def new_run(cfg, group, child, work_dir=None):
    """Name a run and write its generated config, that of ``--dry-run`` if it is still waiting.

    Args:
        cfg (mmcv.Config): The resolved config.
        group (str): ``{machine}-{experiment}``, the folder of generated configs and runs.
        child (dict): The config as it was stated: ``_base_`` paths and what is put over them.
        work_dir (str | None): None: ``work_dirs/{group}/{name}``.

    Returns:
        str: Path of the generated config, ``configs/generated/{group}/{name}.json``, which names
        the ``work_dir``.
    """
    name = _waiting(cfg, group)
    if name is None:
        name = f'{time.strftime("%y%m%d_%H%M")}_{cfg.name}_{uuid.uuid4().hex[:5]}'
    return write_config(cfg, group, child, name, work_dir or osp.join('work_dirs', group, name))


def write_config(cfg, group, child, name, work_dir):
    """Write the generated config of a run; arguments and result as of :func:`new_run`."""
    path = osp.join('configs', 'generated', group, f'{name}.json')
    own = dict(name=name, work_dir=work_dir, git_rev=git_revision())
    bases = [osp.relpath(base, osp.dirname(path)) for base in child['_base_']]
    write_text(path, json.dumps({**child, '_base_': bases, **own}, indent=2) + '\n')
    if not _describes(path, cfg):
        # An override that a child config cannot express, such as an entry of a list.
        write_text(path, json.dumps({**as_dict(cfg), **own}, indent=2) + '\n')
    return path


def _waiting(cfg, group):
    """The name of an equal generated config whose run has not begun; None if there is none."""
    pattern = osp.join('configs', 'generated', group, f'*_{glob.escape(cfg.name)}_*.json')
    for path in sorted(glob.glob(pattern)):
        if _describes(path, cfg) and not osp.isdir(load_config(path).work_dir):
            return osp.splitext(osp.basename(path))[0]
    return None


def resolve(child):
    """Read a stated config (see :func:`new_run`) without leaving a file.

    Returns:
        mmcv.Config: The resolved config.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = osp.join(folder, f'{child["name"]}.json')
        bases = [osp.relpath(base, folder) for base in child['_base_']]
        write_text(path, json.dumps({**child, '_base_': bases}))
        return load_config(path)


def child_config(base, overrides):
    """State a config as a base file with dotted keys put over it."""
    return put_over({'_base_': [base]}, overrides)


def put_over(child, overrides):
    """Put dotted keys over a stated config; returns another one."""
    child = copy.deepcopy(child)
    for key, value in overrides.items():
        place = child
        *parents, last = key.split('.')
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return child


def find_run(cfg, work_dirs):
    """Find the run that a command asks for, else the one that differs least.

    Args:
        cfg (mmcv.Config): The resolved and checked config of the command.
        work_dirs (list[str]): Folders of runs.

    Returns:
        FoundRun | None: The newest unfinished run that is the same, else the newest finished one,
        else the one with the fewest differences; None if the folders hold no run.
    """
    found = []
    for work_dir in work_dirs:
        path = config_of(work_dir)
        if path is None:
            continue
        there = load_config(path)
        differences, _ = compare_to_resume(as_dict(there), as_dict(cfg))
        finished = is_finished(work_dir, there.runner.max_iters)
        is_equal = comparable(there) == comparable(cfg)
        run = FoundRun(path, there.name, finished, differences, is_equal)
        rank = (-len(differences), not finished, osp.getmtime(path), path)
        found.append((*rank, run))
    return max(found)[-1] if found else None


def config_of(work_dir):
    """:func:`tools.run_folder.find_config` for users."""
    try:
        return find_config(work_dir)
    except ValueError as error:
        raise UserError(str(error)) from error


def comparable(cfg):
    """A resolved config without what is different in every run."""
    return {key: value for key, value in as_dict(cfg).items() if key not in _OF_THE_RUN}


def git_revision():
    """The commit of the code, with ``-dirty`` where files differ from it; '' outside git."""
    result = subprocess.run(
        ['git', 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*'],
        cwd=osp.dirname(osp.abspath(__file__)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    return result.stdout.strip() if result.returncode == 0 else ''


def _describes(path, cfg):
    try:
        return comparable(load_config(path)) == comparable(cfg)
    except UserError:
        return False
