"""Read a config from a file, a run's folder or a checkpoint."""

import os.path as osp

from mmseg.engine.config import config_in_checkpoint, load_config
from mmseg.engine.data_sets import first_named
from mmseg.engine.run_start import config_of
from mmseg.models.weights import load_file
from mmseg.utils.user_error import UserError


def read_config(path, overrides=None):
    """Read a config (.py, .json), that of a run's folder, or the one that a checkpoint holds."""
    if osp.isdir(path):
        folder, path = path, config_of(path)
        if path is None:
            raise UserError(f'{folder} holds no config of a run.')
    if not path.endswith(('.py', '.json')):
        return config_in_checkpoint(load_file(path).get('meta', {}), path, overrides)
    return load_config(path, overrides)


def inference_size(cfg):
    """Height and width that a config predicts at: of the images, or of the sliding windows."""
    if cfg.model.test_cfg.mode == 'slide':
        return tuple(cfg.model.test_cfg.crop_size)
    for step in first_named(cfg.data.test).pipeline:
        scale = step.get('img_scale')
        if isinstance(scale, tuple) and all(isinstance(side, int) for side in scale):
            return scale[1], scale[0]
    raise UserError('the config does not say at which size it tests: give --shape H W.')
