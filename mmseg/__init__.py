"""Joins this checkout's additions with the installed MMSegmentation under the one name ``mmseg``.

After ``import mmseg`` every network, data set and method of both is registered. This file stays out
of the wheel: there MMSegmentation's own stands, and ``import mmseg.daformer`` registers.
"""

import importlib
from pathlib import Path
from pkgutil import extend_path

_HERE = Path(__file__).parent

__path__ = extend_path(__path__, __name__)
_installed = [Path(path) for path in __path__ if Path(path, 'version.py').is_file()]
if not _installed:
    raise ModuleNotFoundError(
        'MMSegmentation is not installed here. Run `make setup` and use .venv/bin/python, or '
        'install requirements.txt as docs/setup.md says.'
    )

# Before mmcv and any of MMSegmentation's models are imported.
importlib.import_module('mmseg.mmcv_setup').prepare()

# The names that MMSegmentation's own top level offers (__version__, digit_version, ...).
_init = _installed[0] / '__init__.py'
exec(compile(_init.read_text(encoding='utf-8'), _init, 'exec'))

# A package of MMSegmentation's that has a folder here searches that folder before its own, where an
# installed wheel of this project leaves copies of the same files.
for _folder in sorted(_HERE.rglob('*/')):
    _parts = _folder.relative_to(_HERE).parts
    _is_joined = not (_folder / '__init__.py').exists()
    if _is_joined and _installed[0].joinpath(*_parts, '__init__.py').exists():
        importlib.import_module('.'.join((__name__, *_parts))).__path__.insert(0, str(_folder))
importlib.import_module('mmseg.daformer')
