"""Mistakes in a training config, found before a run writes anything.

A key that nothing reads is refused by what reads it: the classes that a config names are built, and
the sections that no class reads are listed here. Only training checks. What is tested or shown may
be a file of years ago, whose other keys do no harm there.
"""

import contextlib
import copy
import difflib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real

import torch
from mmcv.runner import HOOKS, OPTIMIZERS
from torch.overrides import TorchFunctionMode

from mmseg.datasets.builder import DATASETS, PIPELINES
from mmseg.datasets.custom import CustomDataset
from mmseg.engine.checks.errors import (
    arguments_of,
    blamed_on,
    lr_hook,
    unknown_key,
)
from mmseg.engine.class_lists import shared_class_list
from mmseg.models.builder import MODELS, build_segmentor
from mmseg.models.encoder_channels import head_configs
from mmseg.utils.user_error import UserError


@dataclass(frozen=True)
class Kind:
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


def _list_of(kind, name, length=None):
    def fits(value):
        is_list = isinstance(value, list | tuple) and length in (None, len(value))
        return is_list and all(map(kind.fits, value))

    return Kind(name, fits)


def _some(kind):
    many = _list_of(kind, '')
    return Kind(
        f'{kind.name}, or a list of such', lambda v: kind.fits(v) or (v != [] and many.fits(v))
    )


ANY = Kind('anything', lambda v: True)
COUNT = Kind('a whole number above 0', lambda v: _is_int(v) and v > 0)
WHOLE = Kind('a whole number from 0', lambda v: _is_int(v) and v >= 0)
POSITIVE = Kind('a number above 0', lambda v: _is_number(v) and v > 0)
NOT_NEGATIVE = Kind('a number from 0', lambda v: _is_number(v) and v >= 0)
RATIO = Kind('a number from 0 to 1', lambda v: _is_number(v) and 0 <= v <= 1)
SWITCH = Kind('True or False', lambda v: isinstance(v, bool))
TEXT = Kind('text', lambda v: isinstance(v, str) and v != '')
TABLE = Kind('a dict', lambda v: isinstance(v, dict))
SIZE = _list_of(COUNT, 'a pair of whole numbers above 0', length=2)
PIXELS = Kind(
    'a whole number of pixels from 0, or a fraction of the image below 1',
    lambda v: NOT_NEGATIVE.fits(v) and (v < 1 or float(v).is_integer()),
)
LEVEL = Kind(
    "a level of Python's logging, such as 'INFO'",
    lambda v: TEXT.fits(v) and v in logging.getLevelNamesMapping(),
)
COMPILER = Kind(
    "a backend of torch.compile such as 'inductor', or None",
    # Naming one imports the compiler, which takes a second.
    lambda v: v is None or (TEXT.fits(v) and v in torch.compiler.list_backends(None)),
)
LOADER = {'samples_per_gpu': COUNT, 'workers_per_gpu': WHOLE}

# Sections that no class reads as a whole, with all their keys; '' is the top level beside them.
SECTIONS = {
    '': {
        **{'seed': WHOLE, 'name': TEXT, 'log_level': LEVEL, 'n_gpus': _or_none(COUNT)},
        **dict.fromkeys(('work_dir', 'load_from', 'resume_from'), _or_none(TEXT)),
        **dict.fromkeys(
            ('load_from_without_classifier', 'cudnn_benchmark', 'deterministic', 'scale_lr',
             'find_unused_parameters'), _or_none(SWITCH),
        ),
        # What names a run, and what published configs have.
        **dict.fromkeys(
            ('exp', 'classes', 'palette', 'git_rev', 'use_ddp_wrapper', 'name_dataset',
             'name_architecture', 'name_encoder', 'name_decoder', 'name_uda', 'name_opt'), ANY,
        ),
    },
    'runner': {'max_iters': COUNT, 'type': _one_of('IterBasedRunner')},
    'data': {
        **LOADER,
        **{'train': TABLE, 'val': _or_none(TABLE), 'test': _or_none(TABLE)},
        **dict.fromkeys(('val_dataloader', 'test_dataloader'), _or_none(TABLE)),
    },
    'data.val_dataloader': LOADER,
    'data.test_dataloader': LOADER,
    'data.train.rare_class_sampling': {
        'min_pixels': PIXELS, 'class_temp': POSITIVE, 'min_crop_ratio': NOT_NEGATIVE,
    },
    'model.test_cfg': {
        'mode': _one_of('whole', 'slide'), 'crop_size': SIZE, 'stride': SIZE,
        # PointHead
        'subdivision_steps': ANY, 'subdivision_num_points': ANY, 'scale_factor': ANY,
    },
    'model.train_cfg': {
        'work_dir': ANY, 'log_config': ANY,  # The published code wrote them there.
        # PointHead
        'num_points': ANY, 'oversample_ratio': ANY, 'importance_sample_ratio': ANY,
    },
    'optimizer.paramwise_cfg': {
        'custom_keys': _or_none(TABLE),
        **dict.fromkeys(
            ('bias_lr_mult', 'bias_decay_mult', 'norm_decay_mult', 'dwconv_decay_mult',
             'dcn_offset_lr_mult'), NOT_NEGATIVE,
        ),
        'bypass_duplicate': SWITCH,
        # LearningRateDecayOptimizerConstructor
        'num_layers': COUNT, 'decay_rate': POSITIVE, 'decay_type': TEXT,
    },
    'optimizer_config.grad_clip': {'max_norm': POSITIVE, 'norm_type': POSITIVE},
    'evaluation': {
        'interval': COUNT,
        'metric': _some(_one_of('mIoU', 'mDice', 'mFscore')),
        'pre_eval': ANY,  # stands in MMSegmentation's schedules, and is what happens
    },
    'checkpoint_config': {
        'interval': Kind(
            'a whole number above 0, or -1 for the end alone', lambda v: v == -1 or COUNT.fits(v)
        ),
        'max_keep_ckpts': Kind('a whole number', _is_int),
        'out_dir': _or_none(TEXT),
        **dict.fromkeys(
            ('by_epoch', 'save_optimizer', 'save_last', 'sync_buffer', 'create_symlink'), SWITCH
        ),
    },
    'log_config': {'interval': COUNT, 'hooks': _list_of(TABLE, 'a list of dicts')},
    'speed': {
        'amp': _or_none(_one_of('bf16', 'fp16')), 'channels_last': SWITCH, 'compile': COMPILER,
        'accumulate': COUNT,
    },
}  # fmt: skip
# Values that the classes of other sections take as they come.
VALUES = {
    'model': {
        'backbone': TABLE, 'decode_head': _some(TABLE), 'test_cfg': TABLE,
        'pretrained': _or_none(TEXT),
    },
    'optimizer': {'lr': POSITIVE, 'paramwise_cfg': _or_none(TABLE)},
    'optimizer_config': {'grad_clip': _or_none(TABLE)},
    'lr_config': {'by_epoch': Kind('False: rates follow iterations', lambda v: v is False)},
    'uda': {
        **dict.fromkeys(('alpha', 'pseudo_threshold'), RATIO),
        **dict.fromkeys(('color_jitter_strength', 'color_jitter_probability'), RATIO),
        **dict.fromkeys(('pseudo_weight_ignore_top', 'pseudo_weight_ignore_bottom'), WHOLE),
        'imnet_feature_dist_lambda': NOT_NEGATIVE,
        'imnet_feature_dist_classes': _or_none(_list_of(WHOLE, 'a list of train ids or names')),
        'imnet_feature_dist_scale_min_ratio': _or_none(RATIO),
        'debug_img_interval': WHOLE, 'blur': SWITCH, 'print_grad_magnitude': SWITCH,
    },
    'data.train': {'resized_dir': _or_none(TEXT), 'rare_class_sampling': _or_none(TABLE)},
}  # fmt: skip
DATA_SET_VALUES = {
    **dict.fromkeys(('data_root', 'ann_dir', 'split', 'train_ids_dir'), _or_none(TEXT)),
    **{'img_dir': TEXT, 'seg_map_suffix': TEXT, 'img_suffix': _some(TEXT)},
}
REQUIRED = (
    'runner.max_iters', 'model.backbone', 'model.decode_head', 'model.test_cfg.mode',
    'data.samples_per_gpu', 'data.workers_per_gpu', 'data.train', 'optimizer.lr',
    'lr_config.policy', 'log_config.interval', 'log_config.hooks', 'checkpoint_config.interval',
    'evaluation.interval', 'optimizer_config.grad_clip.max_norm',
    *(f'data.train.rare_class_sampling.{key}' for key in
      SECTIONS['data.train.rare_class_sampling']),
)  # fmt: skip
OPTIONAL = ('evaluation', 'optimizer_config.grad_clip', 'data.train.rare_class_sampling')
SETTINGS = set(SECTIONS[''])
TABLES = {path.partition('.')[0] for path in (*SECTIONS, *VALUES)} - {''}


def check_keys(cfg, name):
    """Check the sections of a training config, and build what it names.

    Args:
        cfg (mmcv.Config): As ``load_config`` returns it, overrides included.
        name (str): Its path, for the message.
    """
    with _naming(name):
        _check_sections(cfg)
        _check_data_sets(cfg.data, bool(cfg.get('evaluation')))
        _check_networks(cfg)
        _check_hooks(cfg)


def check_values(cfg, name):
    """Check what the sections of a config ask for together; arguments as of :func:`check_keys`."""
    with _naming(name):
        _check_method_options(cfg)
        _check_speed_options(cfg)
        _check_testing(cfg)
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
    for path, kinds in (*VALUES.items(), *SECTIONS.items()):
        content = _at(cfg, path)
        if path == '':
            content = {key: cfg[key] for key in SETTINGS & set(cfg)}
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
    """Check the keys and values of a section."""
    if not isinstance(content, dict):
        raise UserError(f'{path} is {content!r}; it has to be a dict')
    prefix = f'{path}.' if path else ''
    for key, value in content.items():
        if key in kinds and not kinds[key].fits(value):
            raise UserError(f'{prefix}{key} is {value!r}; it has to be {kinds[key].name}')
        if key not in kinds and not has_other_keys:
            raise UserError(unknown_key(path, key, kinds))


def _check_arguments(path, part):
    """Check the keys of a part that is not built here against its class and the class's bases."""
    known = arguments_of(path, part) | {'type'}
    for key in part:
        if key not in known:
            raise UserError(unknown_key(path, key, known))


def _check_type(path, part, registry):
    """Look up the class of a part."""
    with blamed_on(path, part):
        if part['type'] not in registry:
            raise KeyError(f'{part["type"]} is not in the {registry.name} registry')
    return registry.get(part['type'])


def _check_data_sets(data, is_evaluated):
    places = {f'data.{key}': data.get(key) for key in ('train', 'val', 'test')}
    if data.train.get('type') == 'UDADataset':
        train = places.pop('data.train')
        _check_arguments('data.train', train)
        places |= {f'data.train.{key}': train.get(key, {}) for key in ('source', 'target')}
    for path, dataset in places.items():
        if dataset is not None:
            is_used = path.startswith('data.train') or (path == 'data.val' and is_evaluated)
            _check_data_set(path, dataset, is_used)


def _check_data_set(path, dataset, is_used):
    """Build a data set and its pipeline without looking for files."""
    _check_section(path, DATA_SET_VALUES, dataset, has_other_keys=True)
    cls = _check_type(path, dataset, DATASETS)
    if not issubclass(cls, CustomDataset):
        raise UserError(f'{path}.type is {dataset.type}; it has to be a data set of files')
    if not is_used:  # it may be unfinished
        _check_arguments(path, dataset)
        return
    with blamed_on(f'{path}.pipeline', dataset.get('pipeline')):
        for transform in dataset.get('pipeline', ()):
            PIPELINES.build(transform)
    without_files = type(cls.__name__, (cls,), {'load_annotations': lambda self, *args: []})
    options = {key: value for key, value in dataset.items() if key != 'type'}
    if 'pipeline' in options:
        options['pipeline'] = []
    # Some look for their folders, which are checked later and need not be there for a dry run.
    with blamed_on(path, dataset), contextlib.suppress(AssertionError, OSError):
        without_files(**options)


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
    parts = repr([cfg.model, cfg.optimizer])
    if parts in _BUILT:
        return
    with blamed_on('model', cfg.model), _NoWeights():
        build_segmentor(copy.deepcopy(cfg.model))
    optimizer = _check_type('optimizer', cfg.optimizer, OPTIMIZERS)
    taken = ('type', 'constructor', 'paramwise_cfg')  # by its constructor
    options = {key: value for key, value in cfg.optimizer.items() if key not in taken}
    with blamed_on('optimizer', cfg.optimizer):
        optimizer([torch.nn.Parameter(torch.zeros(1))], **options)
    _BUILT.add(parts)


def _check_hooks(cfg):
    policy = cfg.lr_config.policy
    if lr_hook(policy) not in HOOKS:
        names = [name for name in HOOKS.module_dict if name.endswith('LrUpdaterHook')]
        names = ', '.join(name.removesuffix('LrUpdaterHook') for name in sorted(names))
        raise UserError(f'lr_config.policy is {policy!r}; there are {names}')
    options = {key: value for key, value in cfg.lr_config.items() if key != 'policy'}
    with blamed_on('lr_config', cfg.lr_config):
        HOOKS.build({**options, 'type': lr_hook(policy)})
    if cfg.get('optimizer_config') is not None:
        with blamed_on('optimizer_config', cfg.optimizer_config):
            HOOKS.build({'type': 'OptimizerHook', **cfg.optimizer_config})
    for hook in cfg.log_config.hooks:
        with blamed_on('log_config.hooks', cfg.log_config.hooks):
            try:
                HOOKS.build(hook)
            except ImportError as error:  # a package that the hook logs to
                raise UserError(f'log_config.hooks, {hook["type"]}: {error}') from error


def _check_method_options(cfg):
    if (cfg.get('uda') is None) != (cfg.data.train.get('type') != 'UDADataset'):
        raise UserError('uda and data.train.type=UDADataset go together: one of them is missing')


def _check_speed_options(cfg):
    speed, size = cfg.get('speed') or {}, cfg.data.samples_per_gpu
    parts = speed.get('accumulate', 1)
    if size % parts:
        raise UserError(f'speed.accumulate={parts} does not divide data.samples_per_gpu={size}')
    hook = {'type': 'OptimizerHook', 'grad_clip': None, **(cfg.get('optimizer_config') or {})}
    if hook['type'] != 'OptimizerHook' or len(hook) > 2:
        raise UserError('optimizer_config can have grad_clip alone; see speed for the rest')


def _check_testing(cfg):
    if cfg.get('evaluation') is not None and cfg.data.get('val') is None:
        raise UserError('data.val is missing, which evaluation needs')
    test_cfg = cfg.model.test_cfg
    if test_cfg.mode == 'slide':
        for key in ('crop_size', 'stride'):
            if test_cfg.get(key) is None:
                raise UserError(f"model.test_cfg.{key} is missing, which mode='slide' needs")
        stride, crop = tuple(test_cfg.stride), tuple(test_cfg.crop_size)
        if any(step > side for step, side in zip(stride, crop, strict=True)):
            raise UserError(
                f'model.test_cfg.stride={stride} leaves gaps between windows of crop_size={crop}'
            )


def _check_classes(cfg):
    """Check heads and the feature distance against the class list that all data sets share."""
    names, datasets = shared_class_list(cfg)
    datasets.pop('data.train.target', None)  # whose labels are not read
    for head in head_configs(cfg.model):
        ignored = head.get('ignore_index', 255)
        for place, dataset in datasets.items():
            if dataset.get('ignore_index', 255) != ignored:
                raise UserError(
                    f'{place}.ignore_index is {dataset.get("ignore_index", 255)}, but a head of '
                    f'model ignores {ignored}: set both to one value'
                )
        if head['num_classes'] != len(names):
            raise UserError(
                f'num_classes is {head["num_classes"]} in a head of model, but the data sets have '
                f'{len(names)} classes: set it to {len(names)}, or choose some of them with '
                'classes = [...] at the top level of the config'
            )
    uda = cfg.get('uda') or {}
    classes = uda.get('imnet_feature_dist_classes')
    if not uda.get('imnet_feature_dist_lambda') or classes is None:
        return
    if uda.get('imnet_feature_dist_scale_min_ratio') is None:
        raise UserError(
            'uda.imnet_feature_dist_classes needs uda.imnet_feature_dist_scale_min_ratio (0.75)'
        )
    unknown = [train_id for train_id in classes if train_id >= len(names)]
    if unknown:
        raise UserError(
            f'uda.imnet_feature_dist_classes has {unknown}, but the last train id is '
            f'{len(names) - 1}'
        )
