"""Mistakes in a training config, found before a run writes anything.

A key that nothing reads is refused by what reads it: the classes that a config names are built, and
the sections that no class reads are listed here. Only training checks. What is tested or shown may
be a file of years ago, whose other keys do no harm there.
"""

import contextlib
import copy
import difflib
import logging
import re
from collections.abc import Callable
from numbers import Real
from typing import NamedTuple

import torch
from mmcv.runner import HOOKS, OPTIMIZERS
from torch.overrides import TorchFunctionMode

from mmseg.core.builder import (
    MMCV_OPTIMIZER_BUILDERS,
    OPTIMIZER_BUILDERS,
    build_optimizer_constructor,
)
from mmseg.datasets.builder import DATASETS, PIPELINES
from mmseg.datasets.custom import CustomDataset
from mmseg.datasets.joined import UNIFORM_OVER
from mmseg.datasets.pipelines import MultiScaleFlipAug, Normalize
from mmseg.engine.checks.errors import arguments_of, config_errors, lr_hook, unknown_key
from mmseg.engine.class_lists import shared_class_list
from mmseg.engine.data_sets import each, is_target, training_sets
from mmseg.engine.performance import build_grouped_optimizer
from mmseg.models.builder import MODELS, build_backbone
from mmseg.models.encoder_channels import head_configs
from mmseg.models.uda import build_train_model
from mmseg.utils.user_error import UserError


class Kind(NamedTuple):
    """What a value has to be: a description for messages, and whether a value fits it."""

    name: str
    fits: Callable[[object], bool]


def _is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value):
    # Infinity is one: a temperature of it draws all classes alike. NaN is not.
    return isinstance(value, Real) and not isinstance(value, bool) and value == value


def _or_none(kind):
    return Kind(f'{kind.name} or None', lambda value: value is None or kind.fits(value))


def _one_of(*names):
    known = ', '.join(map(repr, names))
    return Kind(f'one of {known}', lambda v: isinstance(v, str) and v in names)


def _is_list(value, kind):
    return isinstance(value, list | tuple) and all(map(kind.fits, value))


def _list_of(kind):
    return Kind(f'a list of {kind.name}', lambda v: _is_list(v, kind))


def _some(kind):
    return Kind(f'{kind.name}, or a list', lambda v: kind.fits(v) or (v and _is_list(v, kind)))


def _keys(kind, names):
    return dict.fromkeys(names.split(), kind)


ANY = Kind('anything', lambda v: True)
COUNT = Kind('a whole number above 0', lambda v: _is_int(v) and v > 0)
WHOLE = Kind('a whole number from 0', lambda v: _is_int(v) and v >= 0)
POSITIVE = Kind('a number above 0', lambda v: _is_number(v) and v > 0)
NOT_NEGATIVE = Kind('a number from 0', lambda v: _is_number(v) and v >= 0)
RATIO = Kind('a number from 0 to 1', lambda v: _is_number(v) and 0 <= v <= 1)
SAME_OR_RATIO = Kind("'same', or a number from 0 to 1", lambda v: v == 'same' or RATIO.fits(v))
FACTOR = Kind('a number above 0 and at most 1', lambda v: _is_number(v) and 0 < v <= 1)
SWITCH = Kind('True or False', lambda v: isinstance(v, bool))
TEXT = Kind('text', lambda v: isinstance(v, str) and v != '')
NAMES = Kind('a list of names', lambda v: bool(v) and _is_list(v, TEXT))
TABLE = Kind('a dict', lambda v: isinstance(v, dict))
SIZE = Kind('a pair of whole numbers above 0', lambda v: _is_list(v, COUNT) and len(v) == 2)
MARGIN = Kind('pixels, or a fraction', lambda v: WHOLE.fits(v) or (NOT_NEGATIVE.fits(v) and v < 1))
MARGINS = Kind(
    'a list of four numbers: top, bottom, left, right; whole ones are pixels, others fractions of '
    'a side, whose sum leaves some of it;',
    lambda v: (
        _is_list(v, MARGIN)
        and len(v) == 4
        and all(sum(m for m in pair if m < 1) < 1 for pair in (v[:2], v[2:]))
    ),
)
LABELLED = Kind(
    "a fraction such as '1/16', a list of images, or the name of a file that lists them",
    lambda v: TEXT.fits(v) or FACTOR.fits(v) or (bool(v) and _is_list(v, TEXT)),
)
JITTER = Kind(
    'a list of four numbers from 0 to 1: brightness, contrast, saturation, and hue up to 0.5',
    lambda v: _is_list(v, RATIO) and len(v) == 4 and v[3] <= 0.5,
)
SIGMAS = Kind(
    'a pair of numbers above 0, the smaller first',
    lambda v: _is_list(v, POSITIVE) and len(v) == 2 and v[0] <= v[1],
)
COMPILER = Kind(
    "a backend of torch.compile such as 'inductor'",
    lambda v: TEXT.fits(v) and v in torch.compiler.list_backends(None),
)
CONSTRUCTOR = Kind(
    "a registered optimizer constructor such as 'LayerDecay'",
    lambda v: TEXT.fits(v) and (v in OPTIMIZER_BUILDERS or v in MMCV_OPTIMIZER_BUILDERS),
)
LOADER = {'samples_per_gpu': COUNT, 'workers_per_gpu': WHOLE}

# Sections that no class reads as a whole, with all their keys; '' is the top level beside them.
SECTIONS = {
    '': {
        'seed': WHOLE, 'name': TEXT, 'n_gpus': _or_none(COUNT),
        'log_level': _one_of(*logging.getLevelNamesMapping()),
        **_keys(_or_none(TEXT), 'work_dir load_from resume_from'),
        **_keys(_or_none(SWITCH), 'load_from_without_classifier cudnn_benchmark deterministic'),
        **_keys(_or_none(SWITCH), 'scale_lr find_unused_parameters'),
        # What names a run, and what published configs have.
        **_keys(ANY, 'exp classes palette git_rev use_ddp_wrapper name_dataset name_architecture'),
        **_keys(ANY, 'name_encoder name_decoder name_uda name_opt gpu_model'),
    },
    'runner': {'max_iters': COUNT, 'type': _one_of('IterBasedRunner')},
    'data': {**LOADER, **_keys(ANY, 'train val test val_dataloader test_dataloader')},
    'data.val_dataloader': LOADER,
    'data.test_dataloader': LOADER,
    'data.train.rare_class_sampling': {
        'min_pixels': NOT_NEGATIVE, 'class_temp': POSITIVE, 'min_crop_ratio': NOT_NEGATIVE,
        'crop_tries': _or_none(COUNT),
    },
    'model.test_cfg': {
        'mode': _one_of('whole', 'slide'), 'crop_size': SIZE, 'stride': SIZE,
        'batched_slide': SWITCH,
        **_keys(ANY, 'subdivision_steps subdivision_num_points scale_factor'),  # PointHead
    },
    'model.train_cfg': {
        **_keys(ANY, 'work_dir log_config'),  # The published code wrote them there.
        **_keys(ANY, 'num_points oversample_ratio importance_sample_ratio'),  # PointHead
    },
    'optimizer.paramwise_cfg': {
        'custom_keys': _or_none(TABLE),
        **_keys(NOT_NEGATIVE, 'bias_lr_mult bias_decay_mult norm_decay_mult dwconv_decay_mult'),
        'dcn_offset_lr_mult': NOT_NEGATIVE, 'bypass_duplicate': SWITCH,
        **_keys(ANY, 'num_layers decay_rate decay_type'),  # LearningRateDecayOptimizerConstructor
    },
    'optimizer_config': {'type': _one_of('OptimizerHook'), 'grad_clip': ANY},  # see speed
    'optimizer_config.grad_clip': {'max_norm': POSITIVE, 'norm_type': POSITIVE},
    'evaluation': {
        'interval': COUNT,
        'metric': _some(_one_of('mIoU', 'mDice', 'mFscore')),
        'pre_eval': ANY,  # stands in MMSegmentation's schedules, and is what happens
    },
    'checkpoint_config': {
        'interval': Kind('a whole number above 0, or -1', lambda v: v == -1 or COUNT.fits(v)),
        'max_keep_ckpts': Kind('a whole number', _is_int), 'out_dir': _or_none(TEXT),
        **_keys(SWITCH, 'by_epoch save_optimizer save_last sync_buffer create_symlink'),
    },
    'log_config': {'interval': COUNT, 'hooks': _list_of(TABLE)},
    'uda.mask_generator': {
        'type': _one_of('block', 'token'), 'mask_ratio': RATIO,
        'mask_block_size': _or_none(POSITIVE), '_delete_': ANY,
    },
    **_keys({'main': NOT_NEGATIVE, 'aux': ANY}, 'uda.lambda_adv_target uda.lambda_ent'),
    'uda.augmentations': _keys(_or_none(TABLE), 'source target mix'),
    **_keys(
        {
            'jitter': JITTER, 'blur_sigma': SIGMAS,
            **_keys(RATIO, 'jitter_probability grey_probability blur_probability'),
        },
        'uda.augmentations.source uda.augmentations.target uda.augmentations.mix',
    ),
    'uda.feature_distance': {'teacher': TABLE, 'weight': NOT_NEGATIVE},
    'model.backbone.style_hallucination_cfg': {
        'concentration_coeff': POSITIVE, 'base_style_num': COUNT, 'style_dim': _or_none(COUNT),
    },
    'style_hallucination_hook': {'interval': COUNT, **LOADER},
    'speed': {
        'amp': _or_none(_one_of('bf16', 'fp16')), 'channels_last': SWITCH,
        'compile': _or_none(COMPILER), 'accumulate': COUNT,
    },
}  # fmt: skip
# In place of the entry above with optimizer.constructor='LayerDecay'.
LAYER_DECAY = {
    'encoder_lr_mult': POSITIVE, 'layer_decay': FACTOR, 'no_weight_decay': SWITCH,
    'custom_keys': _or_none(TABLE),
}  # fmt: skip
# Dicts whose other keys and values their classes check.
VALUES = {
    'model': {
        'decode_head': _some(TABLE), 'pretrained': _or_none(TEXT), 'scales': _list_of(FACTOR),
        'hr_crop_size': _or_none(SIZE), 'crop_coord_divisible': _or_none(COUNT),
    },
    **_keys(
        {
            'adapt': _or_none(TABLE), 'inside_scale': _or_none(POSITIVE),
            **_keys(SWITCH, 'mask_token frozen with_cp'),
        },
        'model.backbone uda.feature_distance.teacher',
    ),
    'model.backbone.adapt': {
        'r': COUNT, 'm': Kind('a whole number above 1', lambda v: COUNT.fits(v) and v > 1),
        'scale': POSITIVE, 'alpha': _or_none(POSITIVE),
        'dropout': Kind('a number from 0 to below 1', lambda v: RATIO.fits(v) and v < 1),
        'targets': _or_none(NAMES), 'start_block': _or_none(WHOLE),
        'init': _one_of('svd', 'none'),
    },
    'optimizer': {'lr': POSITIVE, 'constructor': CONSTRUCTOR},
    'lr_config': {'by_epoch': Kind('False: rates follow iterations', lambda v: v is False)},
    'uda': {
        **_keys(RATIO, 'alpha pseudo_threshold color_jitter_strength color_jitter_probability'),
        **_keys(WHOLE, 'pseudo_weight_ignore_top pseudo_weight_ignore_bottom debug_img_interval'),
        **_keys(NOT_NEGATIVE, 'imnet_feature_dist_lambda mask_lambda lr_D_power lr_D_min'),
        'style_consistency_lambda': NOT_NEGATIVE,
        'lr_D': POSITIVE,
        'mask_alpha': SAME_OR_RATIO, 'mask_pseudo_threshold': _or_none(SAME_OR_RATIO),
        'imnet_feature_dist_classes': _or_none(_list_of(WHOLE)),
        'imnet_feature_dist_scale_min_ratio': _or_none(RATIO),
        **_keys(SWITCH, 'blur print_grad_magnitude flip_pseudo_labels share_src_backward'),
    },
    'data.train': {
        'uniform_over': _one_of(*UNIFORM_OVER),
        'resized_dir': _or_none(TEXT), 'sync_crop_size': _or_none(SIZE), 'seg_map_suffix': TEXT,
    },
}  # fmt: skip
# Of each data set, and of a target beside that.
DATA_SET = {'seg_map_suffix': TEXT}
TARGET = {'crop_pseudo_margins': _or_none(MARGINS), 'labelled': _or_none(LABELLED)}
REQUIRED = (
    'runner.max_iters', 'model.backbone', 'model.decode_head', 'model.test_cfg.mode',
    'data.samples_per_gpu', 'data.workers_per_gpu', 'data.train', 'optimizer.lr',
    'lr_config.policy', 'log_config.interval', 'log_config.hooks', 'checkpoint_config.interval',
    'evaluation.interval', 'optimizer_config.grad_clip.max_norm',
    'uda.mask_generator.mask_ratio', 'uda.feature_distance.teacher',
    *(f'model.backbone.style_hallucination_cfg.{key}' for key in
      ('concentration_coeff', 'base_style_num')),
    *(f'style_hallucination_hook.{key}' for key in
      ('interval', 'samples_per_gpu', 'workers_per_gpu')),
    *(f'uda.augmentations.{images}.{key}' for images in ('source', 'target', 'mix')
      for key in ('jitter', 'jitter_probability')),
    *(f'uda.{key}.main' for key in ('lambda_adv_target', 'lambda_ent')),
    *(f'data.train.rare_class_sampling.{key}' for key in
      ('min_pixels', 'class_temp', 'min_crop_ratio')),
)  # fmt: skip
OPTIONAL = (
    'evaluation', 'optimizer_config.grad_clip', 'data.train.rare_class_sampling',
    'uda.mask_generator', 'uda.lambda_adv_target', 'uda.lambda_ent', 'uda.feature_distance',
    'model.backbone.style_hallucination_cfg', 'style_hallucination_hook',
    *(f'uda.augmentations.{images}' for images in ('source', 'target', 'mix')),
)  # fmt: skip
SETTINGS = set(SECTIONS[''])
TABLES = {path.partition('.')[0] for path in (*SECTIONS, *VALUES)} - {''}


def check_keys(cfg, name):
    """Check the sections of a training config called ``name``, and build what it names."""
    with _naming(name):
        _check_sections(cfg)
        _check_data_sets(cfg.data)
        _check_networks(cfg)
        _check_hooks(cfg)


def check_values(cfg, name):
    """Check what the sections of a config ask for together."""
    with _naming(name):
        kind = cfg.data.train.get('type')
        if kind != 'DGDataset' and (cfg.get('uda') is None) != (kind != 'UDADataset'):
            raise UserError('uda and data.train.type=UDADataset go together: one is missing')
        if cfg.get('evaluation') is not None and cfg.data.get('val') is None:
            raise UserError('data.val is missing, which evaluation needs')
        if cfg.data.get('test') is None:
            raise UserError('data.test is missing, on which a checkpoint is tested: name data.val')
        size, parts = cfg.data.samples_per_gpu, (cfg.get('speed') or {}).get('accumulate', 1)
        if size % parts:
            raise UserError(f'speed.accumulate={parts} does not divide data.samples_per_gpu={size}')
        check_windows(cfg.model.test_cfg)
        _check_styles(cfg)
        _check_margins(cfg)
        _check_classes(cfg)


@contextlib.contextmanager
def _naming(name):
    try:
        yield
    except UserError as error:
        raise UserError(f'config {name}: {error}') from error


def _check_sections(cfg):
    for key in cfg:
        # mmcv keeps every variable of a config file: crop_size is no mistake, though never read.
        near = difflib.get_close_matches(key, SETTINGS | TABLES, n=1, cutoff=0.75)
        if near and near != [key]:
            raise UserError(unknown_key('', key, near))
        if key in TABLES and not isinstance(cfg[key], dict | None):
            raise UserError(f'{key} is {cfg[key]!r}; it has to be a dict')
    _check_section('', SECTIONS[''], {key: cfg[key] for key in SETTINGS & set(cfg)})
    sections = VALUES | SECTIONS
    if _at(cfg, 'optimizer.constructor') == 'LayerDecay':
        sections['optimizer.paramwise_cfg'] = LAYER_DECAY
    for path, kinds in sections.items():
        content = _at(cfg, path)
        if content is not None:
            _check_section(path, kinds, content, has_other_keys=path in VALUES)
    for key, options in (_at(cfg, 'optimizer.paramwise_cfg.custom_keys') or {}).items():
        kinds = dict.fromkeys(('lr_mult', 'decay_mult'), NOT_NEGATIVE)
        _check_section(f'optimizer.paramwise_cfg.custom_keys.{key}', kinds, options)
    left_out = [path for path in OPTIONAL if _at(cfg, path) is None]
    for path in REQUIRED:
        if path.rpartition('.')[0] not in left_out and _at(cfg, path) is None:
            raise UserError(f'{path} is missing')


def _at(cfg, path):
    value = cfg
    for key in path.split('.'):
        value = value.get(key) if hasattr(value, 'get') else None
    return value


def _check_section(path, kinds, content, has_other_keys=False):
    if not isinstance(content, dict):
        raise UserError(f'{path} is {content!r}; it has to be a dict')
    prefix = f'{path}.' if path else ''
    for key, value in content.items():
        if key in kinds and not kinds[key].fits(value):
            raise UserError(f'{prefix}{key} is {value!r}; it has to be {kinds[key].name}')
        if key not in kinds and not has_other_keys:
            raise UserError(unknown_key(path, key, kinds))


def _check_arguments(path, part, others=frozenset()):
    known = arguments_of(path, part) | {'type'} | others
    for key in part:
        if key not in known:
            raise UserError(unknown_key(path, key, known))


def _check_type(path, part, registry):
    with config_errors(path, part):
        if 'type' not in part:
            raise UserError(f'{path} has no type')
        if part['type'] not in registry:
            raise KeyError(f'{part["type"]} is not in the {registry.name} registry')
    return registry.get(part['type'])


def _check_data_sets(data):
    places = training_sets(data.train)
    if 'data.train' not in places:
        _check_arguments('data.train', data.train)
    for key in ('val', 'test'):
        _check_names(f'data.{key}', data.get(key))
        places |= each(f'data.{key}', data.get(key))
    for path, dataset in places.items():
        of_target = TARGET if is_target(path) else {}
        _check_section(path, DATA_SET | of_target, dataset, has_other_keys=True)
        if not issubclass(_check_type(path, dataset, DATASETS), CustomDataset):
            raise UserError(f'{path}.type is {dataset.type}; it has to be a data set of files')
        # UDADataset takes these out of a target's config.
        _check_arguments(path, dataset, frozenset(of_target))
        with config_errors(f'{path}.pipeline', dataset.get('pipeline')):
            for transform in dataset.get('pipeline', ()):
                _check_norms(PIPELINES.build(transform), path)


def _check_names(path, value):
    """Check the names of several data sets, which begin those of their metrics."""
    if not isinstance(value, dict | None):
        raise UserError(
            f'{path} is a {type(value).__name__}; it has to be a data set, or several by their '
            'names, dict(NAME=dict(type=...), ...)'
        )
    for name, part in (value or {}).items():
        if not isinstance(part, dict) or name == 'pipeline':
            continue
        if not isinstance(name, str) or not re.fullmatch(r'\w[\w-]*(/\w[\w-]*)*', name):
            raise UserError(f'{path}.{name}: a name has letters, digits, and / - _ between them')
        if 'type' not in part and 'type' not in value:
            raise UserError(
                f"{path}.{name} has no type; a group of sets is in their names, as '{name}/…'"
            )
        if 'type' in part and 'type' in value:
            raise UserError(
                f'{path} is a data set and holds one, {name}: to have several by their names in '
                f'place of one from a base, write {path.removeprefix("data.")}=dict(_delete_=True, '
                f'{name}=...)'
            )


def _check_norms(transform, path):
    """Check mean and std, of which mmcv takes a single number for the first channel alone."""
    if isinstance(transform, MultiScaleFlipAug):
        for inner in transform.transforms.transforms:
            _check_norms(inner, path)
    elif isinstance(transform, Normalize):
        for key in ('mean', 'std'):
            if (value := getattr(transform, key)).shape != (3,):
                raise UserError(
                    f'{path}.pipeline: {key} of Normalize is {value.tolist()}; it has to be a list '
                    'of three numbers'
                )


_BUILT = set()  # what the runs of an experiment share is built once


class _NoWeights(TorchFunctionMode):
    """Give the weights of networks no memory, so that building them takes little time."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.empty:
            kwargs = {**(kwargs or {}), 'device': 'meta'}
        return function(*args, **(kwargs or {}))


def _check_networks(cfg):
    if cfg.get('uda') is not None:
        _check_type('uda', cfg.uda, MODELS)
        _check_arguments('uda', cfg.uda)
    _check_type('optimizer', cfg.optimizer, OPTIMIZERS)
    _check_arguments('optimizer', cfg.optimizer, {'constructor', 'paramwise_cfg'})
    _check_constructor(cfg.optimizer.to_dict())
    size = cfg.data.samples_per_gpu // (cfg.get('speed') or {}).get('accumulate', 1)
    method = repr((cfg.model, cfg.get('uda'), cfg.optimizer, size, cfg.data.train.get('type')))
    if method not in _BUILT:
        _build_method(cfg, size)
        _BUILT.add(method)


def _build_method(cfg, size):
    path = 'uda.feature_distance.teacher'
    if teacher := _at(cfg, path):
        with config_errors(path, teacher), _NoWeights():
            build_backbone(copy.deepcopy(teacher))
    with config_errors('model', cfg.model), _NoWeights():
        method = build_train_model(copy.deepcopy(cfg))
    method.check_batch(size)
    if method.needs_target and cfg.data.train.get('type') == 'DGDataset':
        raise UserError(
            f"uda.type={cfg.uda.type!r} needs a target: set data.train.type='UDADataset' and its "
            'target, or (DACS) uda.source_only=True'
        )
    hallucination = getattr(method.model.backbone, 'style_hallucination', None)
    if hallucination is not None and not method.hallucinates_styles:
        raise UserError(
            "model.backbone.style_hallucination_cfg is for uda.type='DACS', with source_only=True "
            'for the source alone: leave it out'
        )
    with config_errors('optimizer', cfg.optimizer):
        build_grouped_optimizer(method.model, cfg.optimizer, method.trained_beside())


def _check_constructor(optimizer):
    kind = optimizer.pop('constructor', 'DefaultOptimizerConstructor')
    options = optimizer.pop('paramwise_cfg', None)
    with config_errors('optimizer', {'constructor': kind, 'paramwise_cfg': options}):
        build_optimizer_constructor(
            {'type': kind, 'optimizer_cfg': optimizer, 'paramwise_cfg': options}
        )


def _check_hooks(cfg):
    policy = cfg.lr_config.policy
    if lr_hook(policy) not in HOOKS:
        raise UserError(f"lr_config.policy is {policy!r}; it has to be one of mmcv's, e.g. 'poly'")
    options = {key: value for key, value in cfg.lr_config.items() if key != 'policy'}
    with config_errors('lr_config', cfg.lr_config):
        HOOKS.build({**options, 'type': lr_hook(policy)})
    for hook in cfg.log_config.hooks:
        with config_errors('log_config.hooks', cfg.log_config.hooks):
            HOOKS.build(hook)


def check_windows(test_cfg):
    """Check how images are predicted; of what is tested or shown, too, whatever else it says."""
    path = 'model.test_cfg'
    _check_section(path, SECTIONS[path], {'mode': None, **(test_cfg or {})}, has_other_keys=True)
    if test_cfg['mode'] != 'slide':
        return
    crop, stride = test_cfg.get('crop_size'), test_cfg.get('stride')
    if crop is None or stride is None:
        raise UserError("model.test_cfg: mode='slide' needs crop_size and stride")
    if stride[0] > crop[0] or stride[1] > crop[1]:
        raise UserError(f'model.test_cfg.stride={stride} leaves gaps: crop_size={crop} is smaller')


def _check_styles(cfg):
    path, hook = 'model.backbone.style_hallucination_cfg', 'style_hallucination_hook'
    if (_at(cfg, path) is None) != (cfg.get(hook) is None):
        raise UserError(f'{path} and {hook} go together: one is missing')


def _check_margins(cfg):
    for place, target in training_sets(cfg.data.train).items():
        margins = target.get('crop_pseudo_margins')
        for key in ('pseudo_weight_ignore_top', 'pseudo_weight_ignore_bottom'):
            if margins is not None and cfg.uda.get(key):
                raise UserError(
                    f'{place}.crop_pseudo_margins={margins} takes the place of uda.{key}='
                    f'{cfg.uda[key]}: set uda.{key}=0, or crop_pseudo_margins=None'
                )


def _check_classes(cfg):
    """Check heads and the feature distance against the class list that all data sets share."""
    names, datasets = shared_class_list(cfg)
    # The labels of targets are not read.
    datasets = {place: d for place, d in datasets.items() if not is_target(place)}
    for head in head_configs(cfg.model):
        ignored = head.get('ignore_index', 255)
        for place, dataset in datasets.items():
            stated = dataset.get('ignore_index', 255)
            if stated != ignored:
                raise UserError(
                    f'{place}.ignore_index is {stated}, but a head of model ignores {ignored}'
                )
        if head['num_classes'] != len(names):
            raise UserError(
                f'num_classes is {head["num_classes"]} in a head of model, but the data sets have '
                f'{len(names)} classes'
            )
    uda, key = cfg.get('uda') or {}, 'uda.imnet_feature_dist_classes'
    classes = uda.get('imnet_feature_dist_classes')
    if not uda.get('imnet_feature_dist_lambda') or classes is None:
        return
    if uda.get('imnet_feature_dist_scale_min_ratio') is None:
        raise UserError(f'{key} needs uda.imnet_feature_dist_scale_min_ratio (0.75)')
    unknown = [train_id for train_id in classes if train_id >= len(names)]
    if unknown:
        raise UserError(f'{key} has {unknown}, but the last train id is {len(names) - 1}')
