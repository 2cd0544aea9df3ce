"""Problems of the ``dict(type=...)`` parts of a config: keys that nothing reads, unknown types.

All functions yield tuples (path, problem). What is read is asked of the class that is built, and
what stands below is followed by the names of the class's arguments.
"""

import difflib
import re

from mmcv.cnn import ACTIVATION_LAYERS, CONV_LAYERS, NORM_LAYERS
from mmcv.cnn.utils.weight_init import INITIALIZERS

from mmseg.core.seg.builder import PIXEL_SAMPLERS
from mmseg.datasets.builder import DATASETS, PIPELINES
from mmseg.datasets.uda_dataset import UDADataset
from mmseg.engine.config_checks.known import keys_taken_by, named_parameters
from mmseg.models.builder import MODELS
from mmseg.models.decode_heads.decoder_layers import LAYERS

# What the dicts and lists of dicts with `type` at these arguments are built from, and the keys that
# the builder itself takes out of them.
PARTS = (
    (r'source|target|datasets?', DATASETS, {'separate_eval'}),
    (r'pipeline|transforms', PIPELINES, set()),
    (r'.*norm_cfg', NORM_LAYERS, {'requires_grad'}),
    (r'.*act_cfg', ACTIVATION_LAYERS, set()),
    (r'.*conv_cfg', CONV_LAYERS, set()),
    (r'.*init_cfg', INITIALIZERS, {'override'}),
    (r'sampler', PIXEL_SAMPLERS, set()),
    (r'.*(backbone|neck|head|loss).*', MODELS, set()),
)
# All networks are in one registry; these are the folders of what a key can mean.
FOLDERS = {'backbone': 'backbones', 'neck': 'necks', 'head': 'decode_heads', 'loss': 'losses'}


def part_problems(path, part, registry, more=(), folder='', given=()):
    """Problems of ``dict(type=..., **arguments)``, or a list of such dicts, and of all below.

    Args:
        path (str): Where it stands in the config.
        part (dict | list): Anything else is not looked at.
        registry (Registry): Where its types are.
        more (set[str]): Keys that its builder reads.
        folder (str): Of MMSegmentation's models that belong there.
        given (set[str]): Arguments that its builder sets.

    Yields:
        tuple[str, str]: Path and problem.
    """
    if isinstance(part, list | tuple):
        for number, entry in enumerate(part):
            yield from part_problems(f'{path}[{number}]', entry, registry, more, folder, given)
    if not isinstance(part, dict):
        return
    kind = part.get('type')
    target = registry.get(kind) if isinstance(kind, str) else None
    if target is None:
        names = [
            name
            for name, cls in registry.module_dict.items()
            if not cls.__module__.startswith('mmseg.models.') or f'.{folder}' in cls.__module__
        ]
        yield from no_type(path, kind, names)
        return
    known = keys_taken_by(target)
    if known is not None:
        yield from unread(path, part, {'type', *known, *more} - set(given))
    for key, value in part.items():
        yield from _below(f'{path}.{key}', key, value, target)


def _below(path, key, value, target):
    """Problems of an argument of the class ``target``."""
    if key == 'decoder_params' and hasattr(target, 'build_decoder'):
        yield from unread(path, value, named_parameters(target.build_decoder))
        for option in ('embed_cfg', 'embed_neck_cfg', 'fusion_cfg'):
            if isinstance(value, dict):
                yield from _decoder_layer(f'{path}.{option}', option, value.get(option))
    elif key == 'rare_class_sampling' and value is not None:
        yield from unread(path, value, named_parameters(UDADataset._set_up_rare_class_sampling))
    elif key == 'gt_seg_map_loader_cfg' and value is not None:
        yield from unread(path, value, keys_taken_by(PIPELINES.get('LoadAnnotations')))
    else:
        for pattern, registry, more in PARTS:
            if re.fullmatch(pattern, key):
                folder = next((FOLDERS[word] for word in FOLDERS if word in key), '')
                yield from part_problems(path, value, registry, more, folder)
                return


def _decoder_layer(path, option, layer):
    """Problems of a layer of DAFormerHead's."""
    if not isinstance(layer, dict):  # 'same_as_embed_cfg'
        return
    kind = layer.get('type')
    if not isinstance(kind, str) or kind not in LAYERS:
        yield from no_type(path, kind, LAYERS)
        return
    taken = keys_taken_by(LAYERS[kind])
    if taken is not None:
        known = {'type', *taken} - {'in_channels', 'out_channels'}
        if option == 'fusion_cfg':
            known.add('fusion')  # stands in published configs and means nothing
        yield from unread(path, layer, known)
    for key, value in layer.items():
        if key == 'context_cfg':
            yield from _decoder_layer(f'{path}.{key}', key, value)
        else:
            yield from _below(f'{path}.{key}', key, value, LAYERS[kind])


def unread(path, part, known):
    """The keys of a dict that nothing reads.

    Args:
        path (str): Where it stands in the config; '' is the top level.
        part (dict): Anything else is a problem, too.
        known (Collection[str]): The keys that are read.

    Yields:
        tuple[str, str]: Path and problem.
    """
    if not isinstance(part, dict):
        yield path, need_dict(part)
        return
    prefix = f'{path}.' if path else ''
    for key in part:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f'did you mean {prefix}{near[0]}?' if near else f'known are {_listed(known)}.'
            yield f'{prefix}{key}', f'nothing reads this key; {hint}'


def no_type(path, kind, names, key='type'):
    """A ``type`` that does not exist.

    Args:
        path (str): Where its dict stands in the config.
        kind (str | None): None if there is none.
        names (Iterable[str]): Those that exist.
        key (str): What the config calls it.

    Yields:
        tuple[str, str]: Path and problem.
    """
    if kind is None:
        yield path, f'has no {key}; there are {_listed(names)}.'
        return
    near = difflib.get_close_matches(str(kind), names, n=1)
    hint = f'did you mean {near[0]}? ' if near else ''
    yield f'{path}.{key}', f'there is no {kind}; {hint}There are {_listed(names)}.'


def need_dict(value):
    """What is wrong with a value at the place of a dict."""
    return f'is {value!r}, and a dict is needed'


def _listed(names):
    return ', '.join(sorted(names)) or 'none'
