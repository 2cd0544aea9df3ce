"""Where a run lives: its generated config, its work folder, and finding the one to go on with.

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

from mmseg.engine.checkpoint import is_finished, saved_checkpoints
from mmseg.engine.config import as_dict, load_config
from mmseg.utils.files import write_text
from mmseg.utils.user_error import UserError

# What differs between two runs of one config.
_OF_THE_RUN = ('name', 'work_dir', 'git_rev', 'resume_from')


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
    path = osp.join('configs', 'generated', group, f'{name}.json')
    own = dict(
        name=name,
        work_dir=work_dir or osp.join('work_dirs', group, name),
        git_rev=git_revision(),
    )
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
    """Find the run of an equal config to go on with.

    Args:
        cfg (mmcv.Config): The resolved config.
        work_dirs (list[str]): Folders of runs.

    Returns:
        tuple[str, bool] | None: The resolved config file of the newest unfinished run, else of the
        newest finished one, and whether it is finished; None if there is no equal run.
    """
    equal = []
    for work_dir in work_dirs:
        path = config_of(work_dir)
        if path is not None and comparable(load_config(path)) == comparable(cfg):
            equal.append((is_finished(work_dir, cfg.runner.max_iters), osp.getmtime(path), path))
    if not equal:
        return None
    unfinished = [run for run in equal if not run[0]]
    finished, _, path = max(unfinished or equal, key=lambda run: run[1])
    return path, finished


def config_of(work_dir):
    """The resolved config file that a run left in its folder; None if there is none."""
    files = [
        path
        for path in sorted(glob.glob(osp.join(glob.escape(work_dir), '*.json')))
        if not path.endswith('.log.json')
    ]
    if len(files) > 1:
        raise UserError(f'{work_dir} holds several configs: {", ".join(files)}. Keep one.')
    return files[0] if files else None


def check_is_free(work_dir):
    """Raise a :class:`UserError` if a folder holds a run that has saved something."""
    there = config_of(work_dir)
    if there is not None and saved_checkpoints(work_dir):
        raise UserError(
            f'{work_dir} holds another run ({there}). Choose another --work-dir, or delete that '
            'run.'
        )


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
