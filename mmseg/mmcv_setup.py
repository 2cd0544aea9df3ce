"""What must happen before mmcv is imported."""

import contextlib
import fcntl
import importlib
import importlib.machinery
import importlib.util
import logging
import pickle
import sys
import types
import warnings
from pathlib import Path

import platformdirs


def prepare():
    """Import yapf and provide ``mmcv.ops``."""
    import_yapf()
    provide_ops()


def import_yapf():
    """Import yapf, which mmcv needs, one process at a time; a cache that does not load is removed.

    yapf moves each file of its cache there before the content is on disk.
    """
    cache = Path(platformdirs.user_cache_dir('YAPF', 'Google'))
    with contextlib.ExitStack() as stack:
        # Where the lock cannot be written, with a read-only home, yapf writes no cache either.
        with contextlib.suppress(OSError):
            cache.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(cache / 'daformer.lock', 'a', encoding='utf-8'))
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            importlib.import_module('yapf')
        except (EOFError, pickle.UnpicklingError):
            for cached in cache.rglob('*.pickle'):
                cached.unlink()
            importlib.import_module('yapf')


def _missing_operator(name):
    """Return a class that can be imported and subclassed, but not used."""
    if name.startswith('__'):
        raise AttributeError(name)

    def refuse(self, *args, **kwargs):
        raise ImportError(f'{name} is a compiled operator: build mmcv-full with MMCV_WITH_OPS=1')

    return type(name, (), {'__init__': refuse})


def provide_ops():
    """Put a stand-in at ``mmcv.ops``, from which ``mmseg.models`` imports, where it is missing."""
    warnings.filterwarnings('ignore', message='On January 1, 2023, MMCV')
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
    warnings.filterwarnings('ignore', message='Default ``avg_non_ignore`` is False')
    logging.getLogger('torch.utils.cpp_extension').setLevel(logging.ERROR)
    # By this mmcv asks whether it has operators; Python 3.14 removed it from pkgutil.
    finder = types.SimpleNamespace(find_loader=lambda name: importlib.util.find_spec(name))
    importlib.import_module('mmcv.utils.ext_loader').pkgutil = finder
    if 'mmcv.ops' in sys.modules or importlib.util.find_spec('mmcv._ext') is not None:
        return
    stand_in = types.ModuleType('mmcv.ops')
    stand_in.__getattr__ = _missing_operator
    stand_in.__spec__ = importlib.machinery.ModuleSpec('mmcv.ops', loader=None)
    stand_in.__path__ = []
    sys.modules['mmcv.ops'] = stand_in
