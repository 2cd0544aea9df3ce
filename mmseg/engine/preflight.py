"""What is checked before a run writes anything: its config, data sets, weights and loggers."""

import importlib.util
import os.path as osp

from mmseg.engine.checkpoint import check_holds_state, load_file, saved_checkpoints
from mmseg.engine.checks.config import check_keys, check_values
from mmseg.engine.checks.data import check_dataset, check_sampling, datasets_of
from mmseg.models.weights import local_file
from mmseg.utils.user_error import UserError

# Places that are clear from what is said of them.
_ALONE = ('data.train', 'data.train.source', 'data.train.target', 'data.val')


def check_config(cfg, name):
    """Check the keys and values of a complete config, called ``name`` in messages."""
    check_keys(cfg, name)
    check_values(cfg, name)


def check_files(*cfgs):
    """Check the data sets, weight files and loggers of training configs, common ones once."""
    checked = []  # uses and reports; a use holds a config, which is no key of a dict
    for cfg in cfgs:
        check_loggers(cfg)
        reports = []
        for use in datasets_of(cfg):
            report = next((found for known, found in checked if known == use), None)
            if report is None:
                report = check_dataset(use)
                checked.append((use, report))
            if report.problems:
                is_one_of_several = use.place not in _ALONE
                where = f'{use.place}: ' if is_one_of_several else ''
                raise UserError(f'{where}{report.problems[0]}')
            reports.append(report)
        check_sampling(cfg, reports)
        # A run that resumes has its weights in its own checkpoints.
        if not (osp.isdir(cfg.get('work_dir') or '') and saved_checkpoints(cfg.work_dir)):
            check_weights(cfg)


def check_loggers(cfg):
    """Check that the package of a logger is there; TensorBoard's is required anyway."""
    package = importlib.util.find_spec('wandb')
    # A folder of that name, such as wandb writes, looks like a package without a file.
    is_missing = package is None or package.origin is None
    if is_missing and any(hook.type == 'WandbLoggerHook' for hook in cfg.log_config.hooks):
        raise UserError(
            'log_config.hooks has a WandbLoggerHook, but wandb is not installed: pip install '
            'wandb, or remove the hook.'
        )


def check_weights(cfg):
    """Check that weight files exist; download pretrained ones that have an address."""
    owners = {'model': cfg.model, 'model.backbone': cfg.model.backbone}
    if distillation := (cfg.get('uda') or {}).get('feature_distance'):
        owners['uda.feature_distance.teacher'] = distillation.teacher
    for owner, part in owners.items():
        name, path = f'{owner}.pretrained', part.get('pretrained')
        if path and not osp.isfile(local_file(path)):
            raise UserError(
                f'{name} names {path}, which does not exist. Put the ImageNet weights there '
                f'(docs/weights.md), or train from scratch with --cfg-options {name}=None.'
            )
    for name in ('load_from', 'resume_from'):
        if cfg.get(name) and not osp.isfile(cfg[name]):
            raise UserError(f'{name} names {cfg[name]}, which does not exist.')
    if cfg.get('load_from_without_classifier') and not cfg.get('load_from'):
        raise UserError('load_from_without_classifier is set, but load_from names no checkpoint.')
    if cfg.get('load_from'):
        load_file(cfg.load_from)
    if cfg.get('resume_from'):
        check_holds_state(cfg.resume_from, load_file(cfg.resume_from))
