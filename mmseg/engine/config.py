"""Reading config files: Python ones, and JSON ones as runs leave them behind."""

import argparse
import contextlib
import inspect
import json
import os.path as osp
import traceback

from mmcv import Config, DictAction

from mmseg.engine.checks.errors import config_errors
from mmseg.engine.class_lists import complete_classes
from mmseg.models.builder import BACKBONES
from mmseg.models.encoder_channels import fill_in_channels
from mmseg.utils.user_error import UserError

_LONGEST_ERROR = 200  # characters: mmcv's may have a whole config


def load_config(path, overrides=None):
    """Read and complete a Python config (which is executed: trust it) or a JSON one."""
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
    """Return the config that a checkpoint keeps, as JSON, in the ``config`` of its meta."""
    if not isinstance(meta.get('config'), str):
        raise UserError(f'{path} holds no config: give the config of its run, too.')
    try:
        cfg = Config(json.loads(meta['config']))
    except (ValueError, TypeError) as error:
        raise UserError(f'{path} holds a damaged config ({error}): give one, too.') from error
    return complete_config(cfg, path, overrides)


def complete_config(cfg, path, overrides=None):
    """Apply overrides, then set what every config needs: tuples, classes, channels, defaults."""
    _check_describes_run(cfg, path)
    try:
        cfg.merge_from_dict(overrides or {})
    except (KeyError, TypeError, AttributeError) as error:
        hint = ''
        if 'list indices' in str(error):
            hint = '; an entry of a list has its number, as data.train.target.0.data_root'
        said = f'{str(error)[:_LONGEST_ERROR]}{hint}'
        raise UserError(f'{", ".join(overrides)} does not fit config {path}: {said}') from error
    _check_describes_run(cfg, path)
    if cfg.get('custom_imports'):
        raise UserError(
            f'config {path} has custom_imports, which no config may: put the modules below '
            'mmseg/models or mmseg/datasets, where they are found.'
        )
    restore_tuples(cfg._cfg_dict)
    try:
        complete_classes(cfg)
    except UserError as error:
        raise UserError(f'config {path}: {error}') from error
    with config_errors('model', cfg.model):
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
    """Parse ``KEY=VALUE`` strings of an option to a dict, as mmcv's ``--cfg-options`` does."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--options', nargs='*', action=DictAction, default={})
    try:
        return dict(parser.parse_args(['--options', *(options or [])]).options)
    except (AssertionError, RecursionError, ValueError) as error:  # no `=`, unmatched brackets
        raise UserError(
            f'{flag} {" ".join(options)}: write it as KEY=VALUE, lists as a.b=[1,2] and the '
            'entries of a dict one by one, as a.b.mode=slide.'
        ) from error


def as_dict(cfg):
    """Return the resolved config as JSON holds it: plain dicts and lists."""
    return json.loads(json.dumps(cfg._cfg_dict.to_dict()))


def restore_tuples(value):
    """Make tuples, which JSON lacks, of scales and of arguments whose default is one (CGNet)."""
    for entry in value.values() if isinstance(value, dict) else value:
        if isinstance(entry, dict | list | tuple):
            restore_tuples(entry)
    if not isinstance(value, dict):
        return
    scale = value.get('img_scale')
    if isinstance(scale, list) and all(isinstance(side, int) for side in scale):
        value['img_scale'] = tuple(scale)
    elif isinstance(scale, list):
        value['img_scale'] = [tuple(e) if isinstance(e, list) else e for e in scale]
    # One registry holds all parts of a model.
    kind = value.get('type')
    part = BACKBONES.get(kind) if isinstance(kind, str) else None
    for name, parameter in inspect.signature(part).parameters.items() if part else ():
        if isinstance(parameter.default, tuple) and isinstance(value.get(name), list):
            value[name] = tuple(value[name])
