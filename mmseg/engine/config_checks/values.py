"""Values of a config that cannot be: text for a number, a number out of its range.

What stands here is what the engine, the method and the data sets read. Values of networks and
transforms are checked by the classes that are built from them.
"""

import logging
import re
from dataclasses import dataclass
from numbers import Real

import torch

from mmseg.engine.config_checks.classes import of_class_lists, of_feature_distance
from mmseg.models.encoder_channels import head_configs
from mmseg.utils.user_error import UserError


@dataclass(frozen=True)
class Kind:
    """What a value has to be.

    Attributes:
        name: For messages.
        fits: Whether a value is of this kind.
    """

    name: str
    fits: callable


def _is_int(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value):
    # The comparison is false for NaN.
    return isinstance(value, Real) and not isinstance(value, bool) and value == value


def _or_none(kind):
    return Kind(f'{kind.name} or None', lambda value: value is None or kind.fits(value))


def _list_of(kind, name, length=None):
    return Kind(
        name,
        lambda value: (
            isinstance(value, list | tuple)
            and (length is None or len(value) == length)
            and all(kind.fits(entry) for entry in value)
        ),
    )


def _one_of(*names):
    return Kind(
        f'one of {", ".join(map(repr, names))}', lambda v: isinstance(v, str) and v in names
    )


COUNT = Kind('a whole number above 0', lambda v: _is_int(v) and v > 0)
WHOLE = Kind('a whole number from 0', lambda v: _is_int(v) and v >= 0)
POSITIVE = Kind('a number above 0', lambda v: _is_number(v) and v > 0)
NOT_NEGATIVE = Kind('a number from 0', lambda v: _is_number(v) and v >= 0)
FINITE = Kind('a number', lambda v: _is_number(v) and abs(v) < float('inf'))
PIXELS = Kind(
    'a whole number of pixels from 0, or a share of the image below 1',
    lambda v: NOT_NEGATIVE.fits(v) and (v < 1 or float(v).is_integer()),
)
SHARE = Kind('a number from 0 to 1', lambda v: _is_number(v) and 0 <= v <= 1)
RATIO = Kind('a number above 0 and at most 1', lambda v: _is_number(v) and 0 < v <= 1)
SWITCH = Kind('True or False', lambda v: isinstance(v, bool))
TEXT = Kind('text', lambda v: isinstance(v, str) and v != '')
LEVEL = Kind(
    "a level of Python's logging, such as 'INFO'",
    lambda v: TEXT.fits(v) and v in logging.getLevelNamesMapping(),
)
TEXTS = Kind(
    'text or a list of texts', lambda v: TEXT.fits(v) or (v != [] and _list_of(TEXT, '').fits(v))
)
TABLE = Kind('a dict', lambda v: isinstance(v, dict))
TABLES = _list_of(TABLE, 'a list of dicts')
HEADS = Kind('a dict or a list of dicts', lambda v: TABLE.fits(v) or (v != [] and TABLES.fits(v)))
SIZE = _list_of(COUNT, 'a pair of whole numbers above 0', length=2)
SIZES = Kind(
    f'{SIZE.name}, or a list of such pairs',
    lambda v: SIZE.fits(v) or (v != [] and _list_of(SIZE, '').fits(v)),
)
COLOR = _list_of(FINITE, 'three numbers', length=3)
DEVIATION = _list_of(POSITIVE, 'three numbers above 0', length=3)
BETAS = _list_of(
    Kind('', lambda v: _is_number(v) and 0 <= v < 1), 'two numbers from 0 to below 1', length=2
)
INTEGER = Kind('a whole number', _is_int)
INDICES = Kind(
    'a whole number or a list of them', lambda v: _is_int(v) or _list_of(INTEGER, '').fits(v)
)
WARMUP = _or_none(_one_of('constant', 'linear', 'exp'))
TEST_MODE = _one_of('whole', 'slide')
METRIC = _one_of('mIoU', 'mDice', 'mFscore')
METRICS = Kind(
    f'{METRIC.name}, or a list of these',
    lambda v: METRIC.fits(v) or (v != [] and _list_of(METRIC, '').fits(v)),
)
COMPILER = Kind(
    "a backend of torch.compile such as 'inductor', or None",
    # Naming one imports the compiler, which takes a second.
    lambda v: v is None or (TEXT.fits(v) and v in torch.compiler.list_backends(None)),
)

# The whole dotted path, without list indices → what stands there.
RULES = (
    (r'seed', WHOLE),
    (r'runner\.max_iters', COUNT),
    (r'(log_config|evaluation)\.interval', COUNT),
    (
        r'checkpoint_config\.interval',
        Kind('a whole number above 0, or -1 for the end alone', lambda v: v == -1 or COUNT.fits(v)),
    ),
    (r'checkpoint_config\.max_keep_ckpts', INTEGER),
    (r'n_gpus', COUNT),
    (
        r'cudnn_benchmark|deterministic|scale_lr|find_unused_parameters'
        r'|load_from_without_classifier',
        SWITCH,
    ),
    (r'log_level', LEVEL),
    (r'load_from|resume_from|model\.pretrained', _or_none(TEXT)),
    (r'model\.backbone|data\.train(\.(source|target))?', TABLE),
    (r'data\.(val|test)(_dataloader)?', _or_none(TABLE)),
    (r'model\.decode_head', HEADS),
    (r'model\.(decode|auxiliary)_head\.num_classes', COUNT),
    (r'model\.(decode|auxiliary)_head\.in_index', INDICES),
    (r'model\..*\bdilations', _list_of(COUNT, 'a list of whole numbers above 0')),
    (r'model\..*\bloss_weight', NOT_NEGATIVE),
    (r'model\.test_cfg\.mode', TEST_MODE),
    (r'model\.test_cfg\.(crop_size|stride)', SIZE),
    (r'evaluation\.metric', METRICS),
    (r'data\.((val|test)_dataloader\.)?samples_per_gpu', COUNT),
    (r'data\.((val|test)_dataloader\.)?workers_per_gpu', WHOLE),
    (r'data\..*\b(data_root|ann_dir|split|train_ids_dir)', _or_none(TEXT)),
    (r'data\..*\bimg_suffix', TEXTS),
    (r'data\..*\bseg_map_suffix', TEXT),
    (r'data\..*\bimg_dir', TEXT),
    (r'data\..*\b(pipeline|transforms)|log_config\.hooks', TABLES),
    (r'data\..*\bcrop_size', SIZE),
    (r'data\..*\bimg_scale', _or_none(SIZES)),
    (r'data\..*\bmean', COLOR),
    (r'data\..*\bstd', DEVIATION),
    (r'data\..*\bkeys', _list_of(TEXT, 'a list of names')),
    (r'data\.train\.resized_dir', _or_none(TEXT)),
    (r'data\.train\.rare_class_sampling', _or_none(TABLE)),
    (r'.*\.rare_class_sampling\.min_pixels', PIXELS),
    (r'.*\.rare_class_sampling\.class_temp', POSITIVE),
    (r'.*\.rare_class_sampling\.min_crop_ratio', NOT_NEGATIVE),
    (r'optimizer\.lr', POSITIVE),
    (r'optimizer\.weight_decay', NOT_NEGATIVE),
    (r'optimizer\.betas', BETAS),
    (r'optimizer\.fused', _or_none(SWITCH)),
    (r'optimizer_config\.grad_clip', _or_none(TABLE)),
    (r'optimizer_config\.grad_clip\.(max_norm|norm_type)', POSITIVE),
    (r'optimizer\.paramwise_cfg(\.custom_keys(\.\w+)?)?', _or_none(TABLE)),
    (r'optimizer\.paramwise_cfg\..*_mult', NOT_NEGATIVE),
    (r'lr_config\.(power|gamma)', NOT_NEGATIVE),
    (r'lr_config\.min_lr', _or_none(NOT_NEGATIVE)),
    (r'lr_config\.by_epoch', Kind('False: rates follow iterations', lambda v: v is False)),
    (r'lr_config\.warmup', WARMUP),
    (r'lr_config\.warmup_iters', WHOLE),
    (r'lr_config\.warmup_ratio', RATIO),
    (r'uda\.(alpha|pseudo_threshold|color_jitter_probability)', SHARE),
    (r'uda\.(pseudo_weight_ignore_(top|bottom)|debug_img_interval)', WHOLE),
    (r'uda\.imnet_feature_dist_lambda', NOT_NEGATIVE),
    (
        r'uda\.imnet_feature_dist_classes',
        _or_none(_list_of(WHOLE, 'a list of train ids or class names')),  # names are ids by now
    ),
    (r'uda\.imnet_feature_dist_scale_min_ratio', _or_none(SHARE)),
    (r'uda\.color_jitter_strength', SHARE),
    (r'speed\.amp', _or_none(_one_of('bf16', 'fp16'))),
    (r'speed\.channels_last', SWITCH),
    (r'speed\.compile', COMPILER),
    (r'speed\.accumulate', COUNT),
    (r'uda\.(blur|print_grad_magnitude)', SWITCH),
)
REQUIRED = (
    'runner.max_iters', 'model.backbone', 'model.decode_head', 'model.test_cfg.mode',
    'data.samples_per_gpu', 'data.workers_per_gpu', 'data.train',
    'optimizer.type', 'optimizer.lr', 'lr_config.policy', 'log_config.interval',
    'checkpoint_config.interval',
)  # fmt: skip


def check_values(cfg, name):
    """Check the values of a training config whose keys are known to be right.

    Args:
        cfg (mmcv.Config): As ``load_config`` returns it, overrides included.
        name (str): Its path, for the message.

    Raises:
        UserError: Names the first key whose value cannot be, or that is missing.
    """
    problems = [f'{path} is missing' for path in REQUIRED if _at(cfg, path) is None]
    for path, value in _walk(cfg._cfg_dict):
        place = re.sub(r'\[\d+\]', '', path)
        for pattern, kind in RULES:
            if re.fullmatch(pattern, place) and not path.endswith(']') and not kind.fits(value):
                problems.append(f'{path} is {value!r}; it has to be {kind.name}')
    if not problems:
        problems += [
            *_of_method(cfg),
            *_of_speed(cfg),
            *_of_heads(cfg.model),
            *_of_testing(cfg),
            *_of_data_sets(cfg.data, bool(cfg.get('evaluation') and cfg.data.get('val'))),
            *of_class_lists(cfg),
            *of_feature_distance(cfg),
        ]
    if problems:
        raise UserError(f'config {name}: {problems[0]}.')


def _of_method(cfg):
    """What does not go together with the way of training."""
    if (cfg.get('uda') is None) != (cfg.data.train.get('type') != 'UDADataset'):
        yield 'uda and data.train.type=UDADataset go together: one of them is missing'


def _of_speed(cfg):
    """Options of ``speed`` and ``optimizer_config`` that do not go with others."""
    speed, size = cfg.get('speed') or {}, cfg.data.samples_per_gpu
    parts = speed.get('accumulate', 1)
    if size % parts:
        yield f'speed.accumulate={parts} does not divide data.samples_per_gpu={size}'
    clip = (cfg.get('optimizer_config') or {}).get('grad_clip')
    if clip is not None and 'max_norm' not in clip:
        yield 'optimizer_config.grad_clip.max_norm is missing'
    hook = {'type': 'OptimizerHook', 'grad_clip': None, **(cfg.get('optimizer_config') or {})}
    if hook['type'] != 'OptimizerHook' or len(hook) > 2:
        yield 'optimizer_config can have grad_clip alone (dict(max_norm=…)); see speed, too'


def _of_heads(model):
    """What decode heads lack."""
    if any('num_classes' not in head for head in head_configs(model)):
        yield 'num_classes is missing in a decode or auxiliary head of model'


def _of_testing(cfg):
    """What testing and evaluation lack."""
    if cfg.get('evaluation') is not None:
        if 'interval' not in cfg.evaluation:
            yield 'evaluation.interval is missing'
        if cfg.data.get('val') is None:
            yield 'data.val is missing, which evaluation needs'
    test_cfg = cfg.model.test_cfg
    if test_cfg.mode == 'slide':
        missing = [key for key in ('crop_size', 'stride') if key not in test_cfg]
        yield from (f"model.test_cfg.{key} is missing, which mode='slide' needs" for key in missing)
        stride, crop = (tuple(test_cfg.get(key, ())) for key in ('stride', 'crop_size'))
        if any(step > side for step, side in zip(stride, crop, strict=False)):
            yield f'model.test_cfg.stride={stride} leaves gaps between windows of crop_size={crop}'


def _of_data_sets(data, is_evaluated):
    """What data sets lack."""
    train = {'data.train': data.train}
    if data.train.get('type') == 'UDADataset':
        train = {f'data.train.{key}': data.train.get(key) or {} for key in ('source', 'target')}
        rcs = data.train.get('rare_class_sampling')
        for key in ('min_pixels', 'class_temp', 'min_crop_ratio') if rcs is not None else ():
            if key not in rcs:
                yield f'data.train.rare_class_sampling.{key} is missing'
    val = {'data.val': data.val} if is_evaluated else {}
    for path, dataset in {**train, **val}.items():
        if dataset.get('type') in ('RepeatDataset', 'ConcatDataset'):
            yield f'{path}.type is {dataset.type}; it has to be a data set of files'
            return
        missing = [key for key in ('type', 'img_dir', 'pipeline') if key not in dataset]
        yield from (f'{path}.{key} is missing' for key in missing)


def _walk(value, path=''):
    """Paths and values of everything in a config."""
    if path:
        yield path, value
    if isinstance(value, dict):
        for key, entry in value.items():
            yield from _walk(entry, f'{path}.{key}' if path else key)
    elif isinstance(value, list | tuple):
        for number, entry in enumerate(value):
            yield from _walk(entry, f'{path}[{number}]')


def _at(cfg, path):
    value = cfg
    for key in path.split('.'):
        value = value.get(key) if hasattr(value, 'get') else None
    return value
