"""A config key that nothing reads is a mistake, and said before a run writes anything.

Only training checks: what is tested or shown may be a file of years ago, whose other keys do no
harm there. What is read is asked of those that read it, wherever that can be (see known.py).
"""

import sys

from mmcv.runner import HOOKS, OPTIMIZER_BUILDERS, OPTIMIZERS, CheckpointHook

from mmseg.core.builder import OPTIMIZER_BUILDERS as MMSEG_OPTIMIZER_BUILDERS
from mmseg.datasets.builder import DATASETS
from mmseg.engine.config_checks.helper_variables import helper_variables
from mmseg.engine.config_checks.known import keys_read_in, lr_hook, named_parameters
from mmseg.engine.config_checks.parts import need_dict, no_type, part_problems, unread
from mmseg.engine.runner import SeededRunner
from mmseg.engine.speed import speed_up
from mmseg.models.builder import MODELS
from mmseg.models.encoder_channels import encoder_channels, head_configs
from mmseg.utils.user_error import UserError

# Beside the sections: what the engine and mmcv read, what names a run, what published configs have.
SETTINGS = {
    *('seed', 'name', 'exp', 'work_dir', 'load_from', 'resume_from'),
    'load_from_without_classifier',
    *('classes', 'palette', 'log_level', 'cudnn_benchmark', 'deterministic'),
    *('n_gpus', 'git_rev', 'name_dataset', 'name_architecture', 'name_encoder', 'name_decoder'),
    *('name_uda', 'name_opt', 'use_ddp_wrapper', 'find_unused_parameters', 'scale_lr'),
}


def check_keys(cfg, name):
    """Check that something reads every key of a training config.

    Args:
        cfg (mmcv.Config): As ``load_config`` returns it, overrides included.
        name (str): Its path, for the message.

    Raises:
        UserError: Names the first key that nothing reads, with the nearest known one, or the first
            ``type`` that does not exist, and the paths of all others.
    """
    sections = {
        'model': _model,
        'uda': _uda,
        'data': _data,
        'runner': _runner,
        'speed': _speed,
        'optimizer': _optimizer,
        'lr_config': _lr_config,
        'optimizer_config': _optimizer_config,
        'evaluation': _evaluation,
        'checkpoint_config': _checkpoint_config,
        'log_config': _log_config,
    }
    known = SETTINGS | set(sections)
    helpers = helper_variables(cfg, known) & set(cfg)
    problems = list(unread('', cfg._cfg_dict, known | helpers))
    for key, check in sections.items():
        if isinstance(cfg.get(key), dict):
            problems += check(cfg[key])
        elif cfg.get(key) is not None:
            problems.append((key, need_dict(cfg[key])))
    if problems:
        (path, problem), *others = problems
        also = f' Also: {", ".join(path for path, _ in others)}.' if others else ''
        raise UserError(f'config {name}: {path}: {problem}{also}')


def _model(model):
    yield from part_problems('model', model, MODELS, folder='segmentors')
    for key in ('backbone', 'decode_head'):
        if isinstance(model.get(key), str):
            yield f'model.{key}', need_dict(model[key])
    kinds = [part.get('type') for part in [model, *head_configs(model)]]
    classes = [MODELS.get(kind) if isinstance(kind, str) else None for kind in kinds]
    if None not in classes:
        modules = {module for cls in classes for module in _modules_of(cls)}
        names = ('train_cfg', 'test_cfg', 'cfg')
        read = {key for module in modules for key in keys_read_in(module, *names)}
        read |= {'work_dir', 'log_config'}  # the published code wrote them into its train_cfg
        for key in ('train_cfg', 'test_cfg'):
            yield from unread(f'model.{key}', model.get(key) or {}, read)
    backbone = model.get('backbone')
    if isinstance(backbone, dict) and backbone.get('type') == 'TimmEncoder':
        encoder_channels(backbone)  # timm alone knows what it reads


def _modules_of(cls):
    """The modules in which a class and its bases are written, less torch's."""
    names = {base.__module__ for base in cls.__mro__ if base is not object}
    return [sys.modules[name] for name in sorted(names) if not name.startswith('torch.')]


def _uda(uda):
    yield from part_problems('uda', uda, MODELS, folder='uda', given={'model'})


def _data(data):
    loading = {'samples_per_gpu', 'workers_per_gpu'}
    loaders = {'val_dataloader', 'test_dataloader'}
    yield from unread('data', data, loading | loaders | {'train', 'val', 'test'})
    for key in sorted(loaders):
        yield from unread(f'data.{key}', data.get(key) or {}, loading)
    for key in ('train', 'val', 'test'):
        yield from part_problems(f'data.{key}', data.get(key), DATASETS, {'separate_eval'})


def _runner(runner):
    yield from unread('runner', runner, {'type', 'max_iters'})
    if runner.get('type') != 'IterBasedRunner':
        yield from no_type('runner', runner.get('type'), ['IterBasedRunner'])


def _speed(speed):
    yield from unread('speed', speed, named_parameters(speed_up) - {'model', 'device', 'grad_clip'})


def _optimizer(optimizer):
    builder = {'constructor', 'paramwise_cfg'}
    yield from part_problems('optimizer', optimizer, OPTIMIZERS, builder, given={'params'})
    kind = optimizer.get('constructor', 'DefaultOptimizerConstructor')
    constructor = MMSEG_OPTIMIZER_BUILDERS.get(kind) or OPTIMIZER_BUILDERS.get(kind)
    if constructor is None:
        names = {*MMSEG_OPTIMIZER_BUILDERS.module_dict, *OPTIMIZER_BUILDERS.module_dict}
        yield from no_type('optimizer', kind, names, key='constructor')
        return
    modules = _modules_of(constructor)
    paramwise = optimizer.get('paramwise_cfg') or {}
    known = {key for module in modules for key in keys_read_in(module, 'paramwise_cfg')}
    yield from unread('optimizer.paramwise_cfg', paramwise, known)
    known = {key for module in modules for key in keys_read_in(module, 'custom_keys')}
    custom_keys = (paramwise.get('custom_keys') or {}) if isinstance(paramwise, dict) else {}
    if not isinstance(custom_keys, dict):
        yield 'optimizer.paramwise_cfg.custom_keys', need_dict(custom_keys)
        return
    for key, entry in custom_keys.items():
        yield from unread(f'optimizer.paramwise_cfg.custom_keys.{key}', entry, known)


def _lr_config(lr_config):
    ending = 'LrUpdaterHook'
    policy = lr_config.get('policy')
    hook = lr_hook(policy)
    if hook not in HOOKS:
        names = [name.removesuffix(ending) for name in HOOKS.module_dict if name.endswith(ending)]
        names = [name.lower() if name.istitle() else name for name in names]
        yield from no_type('lr_config', policy, names, key='policy')
        return
    yield from part_problems('lr_config', {**lr_config, 'type': hook}, HOOKS, {'policy'})


def _optimizer_config(optimizer_config):
    hook = {'type': 'OptimizerHook', **optimizer_config}
    yield from part_problems('optimizer_config', hook, HOOKS)
    clip = optimizer_config.get('grad_clip')
    yield from unread('optimizer_config.grad_clip', clip or {}, {'max_norm', 'norm_type'})


def _evaluation(evaluation):
    # All of MMSegmentation's schedules say pre_eval=True, and that is what happens.
    yield from unread('evaluation', evaluation, {'interval', 'metric', 'pre_eval'})


def _checkpoint_config(checkpoint_config):
    # What the hook does not know it hands on to the runner.
    known = named_parameters(CheckpointHook) | named_parameters(SeededRunner.save_checkpoint)
    yield from unread('checkpoint_config', checkpoint_config, known)


def _log_config(log_config):
    yield from unread('log_config', log_config, {'interval', 'hooks'})
    yield from part_problems('log_config.hooks', log_config.get('hooks'), HOOKS)
