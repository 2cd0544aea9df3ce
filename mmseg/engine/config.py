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
    if osp.splitext(path)[1] not in ('.py', '.json'):
        raise UserError(f'config {path}: configs are Python files (.py) or JSON files (.json).')
    cfg = _read(path)
    _check_describes_run(cfg, path)
    _put_over(cfg, overrides, path)
    return _completed(cfg, path)


def config_in_checkpoint(meta, path, overrides=None):
    """The config that a checkpoint keeps of its run.

    Args:
        meta (dict): The checkpoint's; its ``config`` is the resolved config as JSON.
        path (str): Of the checkpoint.
        overrides (dict | None): As for :func:`load_config`.

    Returns:
        mmcv.Config: As :func:`load_config` gives it.

    Raises:
        UserError: It keeps none, as published checkpoints do, or a damaged one.
    """
    if not isinstance(meta.get('config'), str):
        raise UserError(f'{path} holds no config: give the config of its run, too.')
    try:
        cfg = Config(json.loads(meta['config']))
    except (ValueError, TypeError) as error:
        raise UserError(f'{path} holds a damaged config ({error}): give one, too.') from error
    _check_describes_run(cfg, path)
    _put_over(cfg, overrides, path)
    return _completed(cfg, path)


def _put_over(cfg, overrides, path):
    try:
        cfg.merge_from_dict(overrides or {})
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f'{", ".join(overrides)} does not fit config {path}: {error}') from error
    _check_describes_run(cfg, path)


def _completed(cfg, path):
    """What every config needs, however it was read: tuples, classes, channels, seed and name."""
    if cfg.get('custom_imports'):
        raise UserError(
            f'config {path} has custom_imports, which no config may: JSON ones are data. Put the '
            'modules into a folder below mmseg/models or mmseg/datasets: there they are found.'
        )
    _restore_tuples(cfg._cfg_dict)
    _restore_tuples_of_parts(cfg.model)
    try:
        complete_classes(cfg)
    except UserError as error:
        raise UserError(f'config {path}: {error}') from error
    with blamed_on('model'):
        fill_in_channels(cfg.model)
    if cfg.get('uda') is not None and not cfg.get('optimizer_config'):
        cfg.optimizer_config = None  # as published configs have it, or an empty dict
    if cfg.get('seed') is None:
        cfg.seed = 0
    if cfg.get('name') is None:
        cfg.name = osp.splitext(osp.basename(path))[0]
    if cfg.get('log_level') is None:
        cfg.log_level = 'INFO'
    return cfg


def _check_describes_run(cfg, path):
    for key in ('model', 'data'):
        if not isinstance(cfg.get(key), dict):
            raise UserError(f'config {path} has no {key!r}: it describes no run.')


def _read(path):
    """Read a config file. It is code of the user's, so whatever it raises is for the user."""
    try:
        return Config.fromfile(path, import_custom_modules=False)
    except Exception as error:
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
    try:
        return dict(parser.parse_args(['--options', *(options or [])]).options)
    except (AssertionError, RecursionError) as error:  # brackets that mmcv cannot match
        raise UserError(
            f'{flag} {" ".join(options)}: a value cannot be read. Lists are a.b=[1,2]; write the '
            'entries of a dict one by one, as a.b.mode=slide.'
        ) from error


def as_dict(cfg):
    """The resolved config as JSON would hold it: plain dicts and lists."""
    return json.loads(json.dumps(cfg._cfg_dict.to_dict()))


def _restore_tuples_of_parts(config):
    """Arguments whose default is a tuple get tuples: some networks insist on it (CGNet)."""
    for entry in config.values() if isinstance(config, dict) else config:
        if isinstance(entry, dict | list | tuple):
            _restore_tuples_of_parts(entry)
    # One registry holds all parts of a model.
    kind = config.get('type') if isinstance(config, dict) else None
    part = BACKBONES.get(kind) if isinstance(kind, str) else None
    for name, parameter in inspect.signature(part).parameters.items() if part else ():
        if isinstance(parameter.default, tuple) and isinstance(config.get(name), list):
            config[name] = tuple(config[name])


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
                    else [tuple(scale) if isinstance(scale, list) else scale for scale in entry]
                )
            else:
                _restore_tuples(entry)
