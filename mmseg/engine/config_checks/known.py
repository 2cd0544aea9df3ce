"""Which keys a class or function takes from a config: derived from signatures and sources."""

import ast
import functools
import inspect

from mmcv.runner import HOOKS, OPTIMIZERS
from torch import nn

from mmseg.datasets.builder import DATASETS, PIPELINES
from mmseg.engine.speed import speed_up
from mmseg.models.builder import MODELS
from mmseg.models.decode_heads.decoder_layers import LAYERS


@functools.cache
def keys_taken_by(target):
    """The keys that a config dict may have to be given to ``target`` as keyword arguments.

    ``**kwargs`` are followed to the base class that they are handed on to. Where they are not
    handed on to one and are used in another way, the class takes any key.

    Args:
        target (type | Callable): A class or function of a registry.

    Returns:
        frozenset[str] | None: None stands for any.
    """
    if not inspect.isclass(target):
        return _keys_of([target])
    # object's and nn.Module's take **kwargs to refuse them.
    classes = [cls for cls in target.__mro__ if cls not in (object, nn.Module)]
    return _keys_of([vars(cls)['__init__'] for cls in classes if '__init__' in vars(cls)])


def named_parameters(target):
    """The parameters that can be given by name to a function, or to a class's own ``__init__``."""
    parameters = inspect.signature(target).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {p.name for p in parameters if p.kind in kinds} - {'self'}


def _keys_of(functions):
    """The keys of the first of these functions, which may hand on the rest to the next one."""
    if not functions:
        return frozenset()
    function, *bases = functions
    named = named_parameters(function) | _old_names(function)
    parameters = inspect.signature(function).parameters.values()
    rest = [p.name for p in parameters if p.kind == p.VAR_KEYWORD]
    if not rest:
        return frozenset(named)
    try:
        source = inspect.getsource(function)
    except OSError:  # typed in by hand, or compiled
        return None
    # A method's is indented, apart from what its docstring may have.
    tree = ast.parse(f'if True:\n{source}' if source[0].isspace() else source)
    calls = [node for node in ast.walk(tree) if _hands_on(node, rest[0])]
    reads = [read for read in _reads(tree, rest) if isinstance(read[1], ast.Name)]
    uses = [n for n in ast.walk(tree) if _is_named(n, rest) and isinstance(n.ctx, ast.Load)]
    if len(uses) > len(calls) + len(reads):
        return None
    named |= {key for key, _ in reads}
    for call in calls:
        of_base = _keys_of(bases)
        if of_base is None:
            return None
        # What the class itself gives to its base cannot be given once more.
        named |= of_base - {keyword.arg for keyword in call.keywords}
    return frozenset(named)


def _old_names(function):
    """Arguments under former names, which mmcv's decorator ``deprecated_api_warning`` takes."""
    if not hasattr(function, '__wrapped__'):
        return set()
    return set(inspect.getclosurevars(function).nonlocals.get('name_dict', ()))


def _hands_on(node, rest):
    """Whether a node is ``super().__init__(..., **rest)``."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == '__init__'
        and isinstance(node.func.value, ast.Call)
        and _is_named(node.func.value.func, ['super'])
        and any(k.arg is None and _is_named(k.value, [rest]) for k in node.keywords)
    )


def _is_named(node, names):
    return isinstance(node, ast.Name) and node.id in names


@functools.cache
def keys_read_in(module, *names):
    """The keys that the code of a module reads from the dicts with these names.

    ``cfg.get('key')``, ``self.cfg['key']``, ``'key' in cfg``, ``cfg.key``, ``getattr(cfg, 'key')``
    and, of dicts of dicts, ``cfg[name]['key']`` are understood.

    Args:
        module (module): Its source is read.
        *names (str): Of variables and attributes.

    Returns:
        frozenset[str]: The keys.
    """
    return frozenset(key for key, _ in _reads(ast.parse(inspect.getsource(module)), names))


def _reads(tree, names):
    """Pairs of a constant key and the dict that it is read from, a node with one of these names."""
    found = []
    for node in ast.walk(tree):
        key = place = None
        match node:
            case ast.Call(
                func=ast.Attribute(value=place, attr='get' | 'pop' | 'setdefault'),
                args=[ast.Constant(value=key), *_],
            ):
                pass
            case ast.Call(
                func=ast.Name(id='getattr' | 'hasattr'), args=[place, ast.Constant(value=key), *_]
            ):
                pass
            case ast.Subscript(value=place, slice=ast.Constant(value=key)):
                pass
            case ast.Compare(left=ast.Constant(value=key), comparators=[place]):
                pass
            case ast.Attribute(value=place, attr=name):
                key = None if hasattr(dict, name) else name
        if isinstance(key, str) and _is_dict(place, names):
            found.append((key, place))
    return found


def _is_dict(node, names):
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in names
        case ast.Subscript(value=value, slice=ast.Name()):
            return _is_dict(value, names)
    return False


def has_default(path, part, key, value):
    """Whether leaving a key out of a part of a config means the same as this value.

    Args:
        path (str): Where the part stands, dotted.
        part (dict): With a ``type``, or one of the sections that need none.
        key (str): A key of it.
        value: As JSON holds it.
    """
    target = _built_from(path, part)
    functions = [target]
    if inspect.isclass(target):
        functions = [vars(cls).get('__init__') for cls in target.__mro__ if cls is not object]
    for function in functions:
        parameter = function and inspect.signature(function).parameters.get(key)
        if parameter:
            default = parameter.default
            # JSON has no tuples.
            return (list(default) if isinstance(default, tuple) else default) == value
    return False


def _built_from(path, part):
    """The class or function that takes a part of a config; None if that is not known."""
    if path == 'speed':
        return speed_up
    kind = part.get('type')
    if path == 'lr_config':
        kind = lr_hook(part.get('policy'))
    if path == 'optimizer_config':
        kind = part.get('type', 'OptimizerHook')
    registries = (MODELS, DATASETS, PIPELINES, OPTIMIZERS, HOOKS, LAYERS)
    return next((r.get(kind) for r in registries if isinstance(kind, str) and kind in r), None)


def lr_hook(policy):
    """The name of the hook that mmcv finds for a policy: 'poly' is PolyLrUpdaterHook."""
    name = str(policy)
    return f'{name.title() if name.islower() else name}LrUpdaterHook'
