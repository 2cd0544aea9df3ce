"""A run from its config to its end: read and checked, then trained in the folder it holds."""

import copy
import os.path as osp

import torch

from mmseg.engine.checkpoint import is_finished
from mmseg.engine.config import Config, complete_config, load_config
from mmseg.engine.distributed import check_is_launched, main_process_first
from mmseg.engine.performance import keep_freed_memory
from mmseg.engine.preflight import check_config, check_files
from mmseg.engine.run_start import started
from mmseg.engine.train import train
from mmseg.utils.collective import get_dist_info
from mmseg.utils.files import reporting_write_errors
from mmseg.utils.user_error import UserError


def read_run(config, work_dir=None, overrides=None):
    """Read, complete and check the config of a run, rank 0 first.

    Args:
        config (str | mmcv.Config): A file, or a complete config.
        work_dir (str | None): Folder of the run; None takes the config's, or work_dirs/NAME.
        overrides (dict | None): Keys, dotted or nested, to values.
    """
    with main_process_first() as is_rank_0:
        if isinstance(config, Config):
            name = stem = config.get('name') or 'given'
            cfg = complete_config(copy.deepcopy(config), name, overrides)
        else:
            name, stem = config, osp.splitext(osp.basename(config))[0]
            cfg = load_config(config, overrides)
        cfg.work_dir = work_dir or cfg.get('work_dir') or osp.join('work_dirs', stem)
        if is_rank_0:
            check_config(cfg, name)
            check_is_launched(cfg, name)
            check_files(cfg)
    return cfg


def train_run(cfg, device):
    """Train in the run's locked folder; return the signal that stopped it before its end."""
    keep_freed_memory(device)
    is_rank_0 = get_dist_info()[0] == 0
    with started(cfg) as changes:
        if is_finished(cfg.work_dir, cfg.runner.max_iters):
            if is_rank_0:
                print(f'This run is finished: {cfg.work_dir}')
            return None
        try:
            with reporting_write_errors(cfg.work_dir):
                signal = train(cfg, device, changes)
        except torch.OutOfMemoryError as error:
            raise UserError(
                f'the memory of {device} is full ({str(error).splitlines()[0]}). Free the device, '
                'or set model.backbone.with_cp=True or speed.accumulate higher; the same command '
                'resumes.'
            ) from error
    if is_rank_0 and signal is not None:
        print(f'Stopped by signal {signal}. The same command resumes.')
    return signal
