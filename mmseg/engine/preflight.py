"""What is checked before a run writes anything: data sets, files of weights, loggers' packages."""

import importlib.util
import os.path as osp

from mmseg.engine.checkpoint import holds_state, load_file, saved_checkpoints
from mmseg.engine.checks.data import check_dataset, file_of, list_files, uses_of
from mmseg.utils.user_error import UserError
from mmseg.utils.weight_address import is_address, local_file


def check_files(*cfgs):
    """Check the data sets, weight files and loggers of training configs before anything is written.

    Of each data set all files are listed and a few decoded; ``tools/check_dataset.py`` reports
    everything.

    Args:
        *cfgs (mmcv.Config): Resolved. What several of them use is checked once.

    Raises:
        UserError: Names the first problem and the command or change that mends it.
    """
    checked = []
    for cfg in cfgs:
        check_loggers(cfg)
        for use in uses_of(cfg):
            if use not in checked:
                report = check_dataset(use)
                if report.problems:
                    raise UserError(report.problems[0])
                checked.append(use)
        # A run that goes on has its weights in its own checkpoints.
        if not (osp.isdir(cfg.get('work_dir') or '') and saved_checkpoints(cfg.work_dir)):
            check_weights(cfg)


def check_loggers(cfg):
    """Check that the package of a logger is there; TensorBoard's is required anyway."""
    wanted = any(hook.type == 'WandbLoggerHook' for hook in cfg.log_config.hooks)
    found = importlib.util.find_spec('wandb')
    # A folder of that name, such as wandb writes, looks like a package without a file.
    if wanted and (found is None or found.origin is None):
        raise UserError(
            'log_config.hooks has a WandbLoggerHook, but wandb is not installed: pip install '
            'wandb, or remove the hook.'
        )


def check_test_files(cfg, needs_labels):
    """Check that the data set to test on has its files; raises as :func:`check_files`."""
    list_files(cfg.data.test, needs_labels, file_of(cfg))


def check_weights(cfg):
    """Check that weight files exist; pretrained ones with an address are downloaded."""
    for name, path in (
        ('model.pretrained', cfg.model.get('pretrained')),
        ('model.backbone.pretrained', cfg.model.backbone.get('pretrained')),
        ('load_from', cfg.get('load_from')),
        ('resume_from', cfg.get('resume_from')),
    ):
        if path and 'pretrained' in name and is_address(path):
            local_file(path)
        elif path and not osp.isfile(path):
            hint = ''
            if 'pretrained' in name:
                hint = (
                    ' Put the ImageNet weights there as the README says ("Weights": '
                    'python tools/download.py --help), or train '
                    f'from scratch with --cfg-options {name}=None.'
                )
            raise UserError(f'{name} names {path}, which does not exist.{hint}')
    if cfg.get('load_from_without_classifier') and not cfg.get('load_from'):
        raise UserError('load_from_without_classifier is set, but load_from names no checkpoint.')
    if cfg.get('load_from'):
        load_file(cfg.load_from)
    if cfg.get('resume_from') and not holds_state(load_file(cfg.resume_from)):
        raise UserError(
            f'{cfg.resume_from} holds no state that a run of this code can resume from; start one '
            'from its weights with --load-from.'
        )
