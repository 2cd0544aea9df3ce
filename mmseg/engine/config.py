"""Reading config files: Python ones, and JSON ones as runs leave them behind."""

import argparse
import json
import os.path as osp

from mmcv import Config, DictAction

from mmseg.utils.user_error import UserError


def load_config(path, overrides=None):
    """Read a config with its bases.

    Args:
        path (str): A Python file (which is executed: trust it) or a JSON file.
        overrides (dict | None): Dotted keys to values, put over it.

    Returns:
        mmcv.Config: With ``seed``, ``name`` and ``log_level`` set.

    Raises:
        UserError: If a file is missing or not readable as a config.
    """
    if not osp.isfile(path):
        raise UserError(f'config {path} does not exist. The ready ones are below configs/.')
    try:
        cfg = Config.fromfile(path)
    except FileNotFoundError as error:
        raise UserError(f'config {path} builds on a file that does not exist: {error}') from None
    except (SyntaxError, json.JSONDecodeError) as error:
        raise UserError(f'config {path} cannot be read: {error}') from None
    except OSError as error:
        raise UserError(f'config {path}: {error}') from None
    for key in ('model', 'data'):
        if key not in cfg:
            raise UserError(f'config {path} has no {key!r}: it describes no run.')
    cfg.merge_from_dict(overrides or {})
    _restore_tuples(cfg._cfg_dict)
    if cfg.get('seed') is None:
        cfg.seed = 0
    if cfg.get('name') is None:
        cfg.name = osp.splitext(osp.basename(path))[0]
    if cfg.get('log_level') is None:
        cfg.log_level = 'INFO'
    return cfg


def parse_options(options, flag='--cfg-options'):
    """Parse ``KEY=VALUE`` strings as mmcv's ``--cfg-options`` does.

    Args:
        options (list[str] | None): E.g. ``['runner.max_iters=100', 'a.b=[1,2]']``.
        flag (str): The option that they were given to, for messages.

    Returns:
        dict: Dotted keys to Python values.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument('--options', nargs='*', action=DictAction, default={})
    for option in options or []:
        if '=' not in option:
            raise UserError(f'{flag} {option}: write it as KEY=VALUE.')
    return dict(parser.parse_args(['--options', *(options or [])]).options)


def as_dict(cfg):
    """The resolved config as JSON would hold it: plain dicts and lists."""
    return json.loads(json.dumps(cfg._cfg_dict.to_dict()))


def _restore_tuples(value):
    """JSON has no tuples, and MMSegmentation takes a list of two numbers for two scales."""
    if isinstance(value, list):
        for entry in value:
            _restore_tuples(entry)
    elif isinstance(value, dict):
        for key, entry in value.items():
            if key == 'img_scale' and isinstance(entry, list):
                value[key] = (
                    tuple(entry)
                    if all(isinstance(side, int) for side in entry)
                    else [tuple(scale) for scale in entry]
                )
            else:
                _restore_tuples(entry)
