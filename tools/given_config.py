"""A config however it is given: as a file, as a run's folder, or inside a checkpoint."""

import os.path as osp

from mmseg.engine.checkpoint import load_file
from mmseg.engine.config import config_in_checkpoint, load_config
from mmseg.utils.user_error import UserError
from tools.runs import config_of


def read_config(path, overrides=None):
    """Read a config as a run, a test or a tool would get it.

    Args:
        path (str): A config (.py, .json), a run's folder, or a checkpoint that holds its config.
        overrides (dict | None): Dotted keys to values, put over it.

    Returns:
        mmcv.Config: As :func:`mmseg.engine.config.load_config` gives it.

    Raises:
        UserError: There is no such thing, or no config in it.
    """
    if osp.isdir(path):
        folder, path = path, config_of(path)
        if path is None:
            raise UserError(
                f'{folder} holds no config of a run (NAME.json, written by the run called NAME).'
            )
    if not path.endswith(('.py', '.json')):
        return config_in_checkpoint(load_file(path).get('meta', {}), path, overrides)
    return load_config(path, overrides)


def size_of_tests(cfg):
    """Height and width that a config predicts at; None if it does not say.

    These are of the window where the config predicts in windows (``test_cfg.mode='slide'``).
    """
    if cfg.model.test_cfg.mode == 'slide':
        return tuple(cfg.model.test_cfg.crop_size)
    for step in cfg.data.test.pipeline:
        scale = step.get('img_scale')
        if isinstance(scale, list) and len(scale) == 1:
            scale = scale[0]
        if isinstance(scale, tuple) and all(isinstance(side, int) for side in scale):
            return scale[1], scale[0]
    return None
