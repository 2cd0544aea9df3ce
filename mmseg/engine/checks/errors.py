"""One line for whatever the classes that a config names say when they are built from it."""

import contextlib
import difflib
import inspect
import os.path as osp
import re
import traceback

import torch
from mmcv.cnn import ACTIVATION_LAYERS, CONV_LAYERS, NORM_LAYERS
from mmcv.runner import HOOKS, OPTIMIZERS

from mmseg.datasets.builder import DATASETS, PIPELINES
from mmseg.models.adapters.base import ADAPTERS
from mmseg.models.builder import MODELS
from mmseg.models.decode_heads.decoder_layers import LAYERS
from mmseg.utils.user_error import TRACEBACK, UserError

# What a config can name; the layers of a decode head are in a dict.
_REGISTRIES = (
    *(MODELS, ADAPTERS, DATASETS, PIPELINES, OPTIMIZERS, HOOKS),
    *(NORM_LAYERS, ACTIVATION_LAYERS, CONV_LAYERS, LAYERS),
)
# Taken out before the class is built.
_BUILDERS_OWN = frozenset({'requires_grad', 'constructor', 'paramwise_cfg'})
# No value of a config raises these: no name becomes unknown, and memory is not the config's.
_BUGS = (NameError, ImportError, RecursionError, MemoryError, torch.OutOfMemoryError)
_LAYERS = ('.norm_cfg', '.act_cfg', '.conv_cfg')  # mmcv builds these by their type
_VALUES = (str, bytes, int, float, list, tuple, dict, type(None))  # what a config can hold
_TORCH = osp.dirname(torch.__file__)
_UNKNOWN_KEY = re.compile(r"unexpected keyword argument '(\w+)'")
_NO_TYPE = re.compile(r'(\w+) is not (?:in|registered in) the|Unrecognized \w+ type (\w+)')


@contextlib.contextmanager
def config_errors(section, content=None):
    """Raise a :class:`UserError` for whatever goes wrong while a part of a config is built.

    What can only be a bug keeps its type and traceback. Anything else may be a mistake in the class
    as well, so the last line outside of torch where it happened is named, too. ``content`` stands
    at ``section`` of the config.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        first = error
        while isinstance(first.__context__, type(error)):  # mmcv's registry raises once more
            first = first.__context__
        said = first.args[0] if isinstance(first, KeyError) else first
        problem = _wrong_key(str(said), section, content)
        if problem is not None:
            raise UserError(problem) from error
        is_bug = isinstance(first, _BUGS)
        if isinstance(first, AttributeError):  # a value of a wrong kind lacks attributes, too
            is_bug = not isinstance(first.obj, _VALUES)
        if is_bug:
            error.add_note(f"while the config's {section} was built")
            raise
        frames = traceback.extract_tb(first.__traceback__)
        frame = next((f for f in reversed(frames) if not f.filename.startswith(_TORCH)), frames[-1])
        said = f'{type(error).__name__}: {error}'
        if not str(first):  # a bare assertion says nothing but its own line
            said += f' {frame.line}'
        reason = ' '.join(said.split())
        raise UserError(
            f"the config's {section} cannot be used: {reason} ({frame.filename}, line "
            f'{frame.lineno}; {TRACEBACK}=1 shows the call stack)'
        ) from error


def _wrong_key(said, section, content):
    """The key that an error is about, if it is one of ``content``; else None."""
    parts = list(_dicts(content, section))
    if found := _UNKNOWN_KEY.search(said):
        for path, part in parts:
            if found[1] in part:
                known = arguments_of(path, part)
                if not known:  # it is taken by a method of a class, which said names
                    return f'{path}: {said}'
                return unknown_key(path, found[1], known, _BUILDERS_OWN)
    elif found := _NO_TYPE.search(said):
        name = found[1] or found[2]
        for path, part in parts:
            key = next((key for key, value in part.items() if value == name), None)
            if key is not None:
                names = {name for r in _REGISTRIES for name in getattr(r, 'module_dict', r)}
                return f'{path}.{key}: there is no {name}{_hint(name, names)}'
    elif said == 'type' or 'must contain the key "type"' in said:
        for path, part in parts:
            if 'type' not in part and (f'got {part}' in said or path.endswith(_LAYERS)):
                return f'{path} has no type'
    return None


def unknown_key(path, key, known, unlisted=frozenset()):
    """Say that nothing reads a key of the dict at ``path``, and which known one is meant."""
    prefix = f'{path}.' if path else ''
    hint = _hint(key, [*known, *unlisted], prefix) or f'; known are {", ".join(sorted(known))}.'
    return f'{prefix}{key}: nothing reads this key{hint}'


def _hint(name, names, prefix=''):
    alike = [known for known in names if known.lower() == name.lower()]
    near = alike or difflib.get_close_matches(name, names, n=1)
    return f'; did you mean {prefix}{near[0]}?' if near else ''


def _dicts(content, path):
    """Paths of all dicts in a part of a config, and the dicts."""
    if isinstance(content, dict):
        yield path, content
        for key, value in content.items():
            yield from _dicts(value, f'{path}.{key}' if path else key)
    elif isinstance(content, list | tuple):
        for number, entry in enumerate(content):
            yield from _dicts(entry, f'{path}[{number}]')


def class_at(path, part):
    """The class or function that a dict of a config is for; None if that is not known."""
    kind = part.get('type')
    if path == 'lr_config':
        kind = lr_hook(part.get('policy'))
    elif path == 'optimizer_config':
        kind = part.get('type', 'OptimizerHook')
    return next((r.get(kind) for r in _REGISTRIES if isinstance(kind, str) and kind in r), None)


def arguments_of(path, part):
    """The names of the arguments that the class of a dict, or one of its bases, has."""
    return {
        name
        for function in constructors(class_at(path, part))
        for name, parameter in inspect.signature(function).parameters.items()
        if name != 'self' and parameter.kind != parameter.VAR_KEYWORD
    }


def constructors(target):
    """The functions that take what a class is built with.

    Those are its ``__init__``, and those of its bases as long as ``**kwargs`` are passed on.
    """
    if not inspect.isclass(target):
        return [] if target is None else [target]
    found = []
    for function in (vars(base).get('__init__') for base in target.__mro__):
        if inspect.isfunction(function):
            found.append(function)
            kinds = {p.kind for p in inspect.signature(function).parameters.values()}
            if inspect.Parameter.VAR_KEYWORD not in kinds:
                break
    return found


def lr_hook(policy):
    """The name of the hook that mmcv finds for a policy: 'poly' is PolyLrUpdaterHook."""
    name = str(policy)
    return f'{name.title() if name.islower() else name}LrUpdaterHook'


def has_default(path, part, key, value):
    """Whether leaving a key out of a part of a config means the same as this value of JSON."""
    for function in constructors(class_at(path, part)):
        parameter = inspect.signature(function).parameters.get(key)
        if parameter is not None:
            default = parameter.default
            return (list(default) if isinstance(default, tuple) else default) == value
    return False
