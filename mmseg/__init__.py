"""Joins this checkout's additions with the installed MMSegmentation under the one name ``mmseg``.

The folders here hold only what MMSegmentation lacks, at the path where it would stand there. After
``import mmseg`` every network, data set and method of both is registered. This file stays out of
the wheel: there MMSegmentation's own ``__init__`` stands, and ``import mmseg.daformer`` registers.
"""

import importlib
import os.path as osp
from pkgutil import extend_path

_HERE = osp.dirname(osp.abspath(__file__))

__path__ = extend_path(__path__, __name__)
_installed = [path for path in __path__ if osp.isfile(osp.join(path, 'version.py'))]
if not _installed:
    raise ModuleNotFoundError(
        'MMSegmentation is not installed here. Run `make setup` and use .venv/bin/python, or '
        'install requirements.txt as the README says.'
    )

# Before mmcv and any of MMSegmentation's models are imported (see the modules).
importlib.import_module('mmseg.yapf_cache').import_yapf()
importlib.import_module('mmseg.mmcv_ops').provide()

# The names that MMSegmentation's own top level offers (__version__, digit_version, ...).
with open(osp.join(_installed[0], '__init__.py'), encoding='utf-8') as _file:
    exec(compile(_file.read(), _file.name, 'exec'))


def _put_checkout_first(package_name):
    """Let ``package_name`` search this checkout before its installed folder.

    An installed wheel of this project leaves copies of the same files there; at the end of the
    path they would win over the checkout's.
    """
    package = importlib.import_module(package_name)
    package.__path__.insert(0, osp.join(_HERE, *package_name.split('.')[1:]))


for _name in ('utils', 'core', 'models', 'models.backbones', 'models.decode_heads', 'models.necks',
              'datasets', 'datasets.pipelines'):  # fmt: skip
    _put_checkout_first(f'mmseg.{_name}')
importlib.import_module('mmseg.daformer')
