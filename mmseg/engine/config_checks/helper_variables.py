"""Variables of config files that other entries are made from; they stay in the resolved config.

mmcv makes a key of every variable of a config file. ``crop_size`` is read by nothing after the
file has been read, and is no mistake all the same.
"""

import ast
import difflib
import functools
import os.path as osp
from pathlib import Path

import mmcv

CONFIGS = Path(__file__).resolve().parents[3] / 'configs'


def helper_variables(cfg, known):
    """The keys at the top level of a config that are helper variables.

    Args:
        cfg (mmcv.Config): As read from its file, apart from overrides.
        known (set[str]): The keys that something reads.

    Returns:
        set[str]: Names that the files of configs/_base_ and the config's own base files assign,
        those that the file itself uses, and those in a resolved config.
    """
    names = set(_assigned_in_base_files())
    # mmcv keeps the texts of all files, each after a line with its absolute path.
    suffixes = ('.py', '.json', '.yaml', '.yml')
    files = [line for line in cfg.text.splitlines() if osp.isabs(line) and line.endswith(suffixes)]
    *bases, leaf = files
    for path in bases:
        names.update(_assigned(Path(path)))
    if leaf.endswith('.py'):
        names.update(_variables(Path(leaf), ast.Load))
    elif not bases:
        names.update(_of_resolved(_assigned(Path(leaf)), known))
    return names


@functools.cache
def _assigned_in_base_files():
    return {name for path in CONFIGS.glob('_base_/**/*.py') for name in _assigned(path)}


def _of_resolved(keys, known):
    """What may be a helper variable in a config without bases and code.

    It is a resolved one, where helpers cannot be told from mistakes, unless these look like a key
    that is read. One that a run left in its folder was checked when the run began.
    """
    if 'work_dir' in keys:
        return keys
    return {key for key in keys if not difflib.get_close_matches(key, known, cutoff=0.75)}


def _assigned(path):
    if path.suffix == '.py':
        return _variables(path, ast.Store)
    return set(mmcv.load(str(path)))


def _variables(path, use):
    """The names that a Python file assigns (``ast.Store``) or uses (``ast.Load``)."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    return {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, use)}
