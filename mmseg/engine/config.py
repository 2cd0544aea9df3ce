"""Reading config files: Python ones, and JSON ones as runs leave them behind."""

import argparse
import contextlib
import inspect
import json
import os.path as osp
import traceback

from mmcv import Config, DictAction

from mmseg.engine.checks.errors import blamed_on
from mmseg.engine.class_lists import complete_classes
from mmseg.models.builder import BACKBONES
from mmseg.models.encoder_channels import fill_in_channels
from mmseg.utils.user_error import UserError


def load_config(path, overrides=None):
    """Read and complete a config.

    Args:
        path (str): A Python file (which is executed: trust it) or a JSON file.
        overrides (dict | None): Values by dotted key.

    Returns:
        mmcv.Config: With ``seed``, ``name`` and ``log_level`` set.
    """
    return complete_config(read_file(path), path, overrides)


def read_file(path):
    """Read a config with its bases; see :func:`complete_config` for what it still lacks."""
    if not osp.isfile(path):
        raise UserError(f'config {path} does not exist. The ready ones are below configs/.')
    if osp.splitext(path)[1] not in ('.py', '.json'):
        raise UserError(f'config {path}: configs are Python files (.py) or JSON files (.json).')
    try:
        return Config.fromfile(path, import_custom_modules=False)
    except Exception as error:  # it is code of the user's
        where = ''
        for frame, line in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_name == '<module>':
                where = f' (line {line})'
            # mmcv leaves it open in a folder that is gone, about which Python complains later.
            if 'temp_config_file' in frame.f_locals:
                with contextlib.suppress(FileNotFoundError):
                    frame.f_locals['temp_config_file'].close()
        reason = f'{type(error).__name__}: {error}'.replace('\n', ' ')
        raise UserError(f'config {path} cannot be read: {reason}{where}') from error


def config_in_checkpoint(meta, path, overrides=None):
    """Return the config that a checkpoint keeps of its run.

    Args:
        meta (dict): The checkpoint's; its ``config`` is the resolved config as JSON.
        path (str): Of the checkpoint.
        overrides (dict | None): Values by dotted key.
    """
    if not isinstance(meta.get('config'), str):
        raise UserError(f'{path} holds no config: give the config of its run, too.')
    try:
        cfg = Config(json.loads(meta['config']))
    except (ValueError, TypeError) as error:
        raise UserError(f'{path} holds a damaged config ({error}): give one, too.') from error
    return complete_config(cfg, path, overrides)


def complete_config(cfg, path, overrides=None):
    """Apply overrides, then set in place what every config needs.

    These are tuples that JSON lacks, class lists, channels, ``seed``, ``name`` and ``log_level``.
    """
    _check_describes_run(cfg, path)
    try:
        cfg.merge_from_dict(overrides or {})
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f'{", ".join(overrides)} does not fit config {path}: {error}') from error
    _check_describes_run(cfg, path)
    if cfg.get('custom_imports'):
        raise UserError(
            f'config {path} has custom_imports, which no config may: JSON ones are data. Put the '
            'modules into a folder below mmseg/models or mmseg/datasets: there they are found.'
        )
    _restore_scales(cfg._cfg_dict)
    _restore_tuples_of_parts(cfg.model)
    try:
        complete_classes(cfg)
    except UserError as error:
        raise UserError(f'config {path}: {error}') from error
    with blamed_on('model'):
        fill_in_channels(cfg.model)
    if cfg.get('uda') is not None and not cfg.get('optimizer_config'):
        cfg.optimizer_config = None  # as published configs have it, or an empty dict
    defaults = dict(seed=0, name=osp.splitext(osp.basename(path))[0], log_level='INFO')
    for key, value in defaults.items():
        if cfg.get(key) is None:
            cfg[key] = value
    return cfg


def _check_describes_run(cfg, path):
    for key in ('model', 'data'):
        if not isinstance(cfg.get(key), dict):
            raise UserError(f'config {path} has no {key!r}: it describes no run.')


def parse_options(options, flag='--cfg-options'):
    """Parse ``KEY=VALUE`` strings as mmcv's ``--cfg-options`` does.

    Args:
        options (list[str] | None): E.g. ``['runner.max_iters=100', 'a.b=[1,2]']``.
        flag (str): The option that they were given to, for messages.

    Returns:
        dict: Python values by dotted key.
    """
    for option in options or []:
        if '=' not in option:
            raise UserError(f'{flag} {option}: write it as KEY=VALUE.')
    parser = argparse.ArgumentParser()
    parser.add_argument('--options', nargs='*', action=DictAction, default={})
    try:
        return dict(parser.parse_args(['--options', *(options or [])]).options)
    except (AssertionError, RecursionError) as error:  # brackets that mmcv cannot match
        raise UserError(
            f'{flag} {" ".join(options)}: a value cannot be read. Lists are a.b=[1,2]; write the '
            'entries of a dict one by one, as a.b.mode=slide.'
        ) from error


def as_dict(cfg):
    """Return the resolved config as JSON holds it: plain dicts and lists."""
    return json.loads(json.dumps(cfg._cfg_dict.to_dict()))


def _restore_tuples_of_parts(config):
    """Make tuples of arguments whose default is one: some networks insist on it (CGNet)."""
    for entry in config.values() if isinstance(config, dict) else config:
        if isinstance(entry, dict | list | tuple):
            _restore_tuples_of_parts(entry)
    # One registry holds all parts of a model.
    kind = config.get('type') if isinstance(config, dict) else None
    part = BACKBONES.get(kind) if isinstance(kind, str) else None
    for name, parameter in inspect.signature(part).parameters.items() if part else ():
        if isinstance(parameter.default, tuple) and isinstance(config.get(name), list):
            config[name] = tuple(config[name])


def _restore_scales(value):
    """Make tuples of scales: MMSegmentation takes a list of two numbers for two scales."""
    for entry in value.values() if isinstance(value, dict) else value:
        if isinstance(entry, dict | list):
            _restore_scales(entry)
    scale = value.get('img_scale') if isinstance(value, dict) else None
    if isinstance(scale, list):
        is_one = all(isinstance(side, int) for side in scale)
        value['img_scale'] = (
            tuple(scale)
            if is_one
            else [tuple(entry) if isinstance(entry, list) else entry for entry in scale]
        )
