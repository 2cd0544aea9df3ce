"""A stand-in for ``mmcv.ops`` where mmcv-full was installed without its compiled operators.

``mmseg.models`` imports a few operators by name although nothing in DAFormer uses them. The
stand-in lets those imports pass and raises when such an operator is really used. An mmcv that has
its operators is left alone.
"""

import importlib
import importlib.machinery
import importlib.util
import logging
import sys
import types
import warnings


class _Missing:
    """An operator that is not there: it can be imported and subclassed, but not used."""

    def __init__(self, *args, **kwargs):
        raise ImportError(
            f'{type(self).__name__} is a compiled operator of mmcv-full, and this mmcv-full was '
            'installed without them. Nothing in DAFormer needs it; for a network that does, build '
            'mmcv-full with MMCV_WITH_OPS=1.'
        )


class _OpsStandIn(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return type(name, (_Missing,), {})


def provide():
    """Put the stand-in at ``mmcv.ops`` if the compiled extension ``mmcv._ext`` is missing."""
    # What mmcv and MMSegmentation say on import (mmcv's version 2, a missing CUDA tool kit, the
    # operators that are known to be missing) helps nobody here.
    warnings.filterwarnings('ignore', message='On January 1, 2023, MMCV')
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention``')
    warnings.filterwarnings('ignore', message='Default ``avg_non_ignore`` is False')
    logging.getLogger('torch.utils.cpp_extension').setLevel(logging.ERROR)
    # By this mmcv asks whether it has operators; Python 3.14 removed it from pkgutil.
    finder = types.SimpleNamespace(find_loader=lambda name: importlib.util.find_spec(name))
    importlib.import_module('mmcv.utils.ext_loader').pkgutil = finder
    if 'mmcv.ops' in sys.modules or importlib.util.find_spec('mmcv._ext') is not None:
        return
    stand_in = _OpsStandIn('mmcv.ops')
    stand_in.__spec__ = importlib.machinery.ModuleSpec('mmcv.ops', loader=None)
    stand_in.__path__ = []
    sys.modules['mmcv.ops'] = stand_in
