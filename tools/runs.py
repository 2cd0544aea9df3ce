"""Runs of a command: those that are there to be resumed, and names and folders of new ones."""

import glob
import json
import os.path as osp
import shutil
import subprocess
import time
import uuid
from dataclasses import dataclass
from typing import NamedTuple

from daformer_runs.run_folder import read_json
from daformer_runs.same_run import compare_to_resume, describe
from mmseg.engine.checkpoint import is_finished, saved_checkpoints
from mmseg.engine.config import Config, as_dict
from mmseg.engine.run_start import config_of
from mmseg.utils.files import write_text
from mmseg.utils.user_error import UserError


class FoundRun(NamedTuple):
    """A run that is there, compared with the one that a command asks for."""

    differences: dict  # what makes it another run
    is_finished: bool
    config: str  # path of the resolved config in its folder

    @property
    def work_dir(self):
        """Its folder now; the config names the one in which it began."""
        return osp.dirname(self.config)


@dataclass
class Run:
    """A run that a command asks for."""

    cfg: Config  # complete and checked
    stated: dict  # its generated config: ``_base_`` paths and what is set over them
    group: str  # ``{machine}-{experiment}``, the folder of generated configs and runs
    found: FoundRun | None  # what there is of it, else the run that differs least from it

    @property
    def is_there(self):
        return self.found is not None and not self.found.differences

    @property
    def is_finished(self):
        return self.is_there and self.found.is_finished

    @property
    def n_gpus(self):
        return self.cfg.get('n_gpus') or 1

    def place(self, work_dir=None):
        """Name a run and write its generated config; return its path, None if it is finished."""
        found = self.found
        if self.is_finished:
            print(f'This run is finished: {found.work_dir} (--new starts another).')
            return None
        if self.is_there:
            print(f'Resuming {found.work_dir}')
            return self._write(osp.basename(found.config).removesuffix('.json'), found.work_dir)
        name = _waiting(self._content(), self._generated(f'*_{glob.escape(self.cfg.name)}_*'))
        name = name or f'{time.strftime("%y%m%d_%H%M")}_{self.cfg.name}_{uuid.uuid4().hex[:5]}'
        path = self._write(name, work_dir or osp.join('work_dirs', self.group, name))
        print(f'New run: {path}')
        if found is not None and not work_dir:
            print(f'{found.work_dir} is another run: {describe(found.differences)}')
        return path

    def _generated(self, name):
        return osp.join('configs', 'generated', self.group, f'{name}.json')

    def _content(self):
        """Return the generated config, less what is the run's own, as JSON holds it."""
        content = json.loads(json.dumps(self.stated))
        if '_base_' in content:
            folder = osp.dirname(self._generated(''))
            content['_base_'] = [osp.relpath(base, folder) for base in content['_base_']]
        return content

    def _write(self, name, work_dir):
        own = {'name': name, 'work_dir': work_dir, 'git_rev': git_revision()}
        self.cfg.merge_from_dict(own)
        write_text(self._generated(name), json.dumps(self._content() | own, indent=2) + '\n')
        return self._generated(name)


def _waiting(content, pattern):
    """Return the name of an equal generated config, of ``--dry-run``, whose run has not begun."""
    for path in sorted(glob.glob(pattern)):
        there = read_json(path) or {}
        own = {key: there.get(key) for key in ('name', 'work_dir', 'git_rev')}
        if there == content | own and not osp.isdir(own['work_dir']):
            return own['name']
    return None


def git_revision():
    """Return the commit of the code, with ``-dirty`` if files differ from it; '' outside git."""
    if shutil.which('git') is None:
        return ''
    result = subprocess.run(
        ['git', 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*'],
        cwd=osp.dirname(osp.abspath(__file__)), capture_output=True, text=True, check=False,
    )  # fmt: skip
    return result.stdout.strip() if result.returncode == 0 else ''


def short_revision():
    """Return the commit for people: ten digits, ``+changes`` after them; 'unknown' outside git."""
    commit, _, is_dirty = git_revision().partition('-')
    return (commit[:10] or 'unknown') + ('+changes' if is_dirty else '')


def find_run(cfg, group, work_dir=None, new=False):
    """Find the run that a config describes, else the one of its name that differs least.

    A given ``work_dir`` is the only folder that is looked at, and must hold no other run.
    """
    if new and not work_dir:
        return None
    # Only of this name: reading all configs of a large study would take minutes.
    pattern = osp.join('work_dirs', group, '*', f'*_{glob.escape(cfg.name)}_*.json')
    work_dirs = {work_dir} if work_dir else {osp.dirname(path) for path in glob.glob(pattern)}
    runs, wanted = [], as_dict(cfg)
    for path in filter(None, map(config_of, work_dirs)):
        there = read_json(path)
        finished = is_finished(osp.dirname(path), there['runner']['max_iters'])
        runs.append(FoundRun(compare_to_resume(there, wanted)[0], finished, path))
    # The newest unfinished one that is the same, else the newest finished, else the most alike.
    found = max(runs, default=None, key=_rank)
    if work_dir and found and (new or (found.differences and saved_checkpoints(work_dir))):
        what = f'another run: {describe(found.differences)}' if found.differences else 'this run'
        raise UserError(f'{work_dir} holds {what}. Choose another --work-dir, or delete that run.')
    return found


def _rank(run):
    return -len(run.differences), not run.is_finished, osp.getmtime(run.config), run.config
