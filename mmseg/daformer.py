"""Registers everything that DAFormer adds to MMSegmentation's registries; offers load and train.

In the checkout ``import mmseg`` registers. With the installed wheel, import this module before
anything else of mmseg. ``from mmseg.daformer import load, train`` is for programs (docs/python.md).

It imports all modules in the folders of the registries, so that a class in a new file is registered
too. MMSegmentation's own, which lie beside ours in an installed wheel, are left to its packages.
"""

import importlib
import importlib.metadata
from pathlib import Path

importlib.import_module('mmseg.mmcv_setup').prepare()

_HERE = Path(__file__).parent
_THEIRS = {
    file.as_posix()
    for distribution in importlib.metadata.distributions(name='mmsegmentation')
    for file in distribution.files or ()
}
for _folder in ('core', 'datasets', 'models'):
    for _file in sorted((_HERE / _folder).rglob('*.py')):
        _parts = _file.relative_to(_HERE).with_suffix('').parts
        # Copies that editors leave (`.ipynb_checkpoints`, `.#head.py`) are not modules.
        is_module = all(part.isidentifier() for part in _parts)
        if is_module and f'mmseg/{_file.relative_to(_HERE).as_posix()}' not in _THEIRS:
            importlib.import_module('.'.join(('mmseg', *_parts)).removesuffix('.__init__'))


def __getattr__(name):
    """Import the engine, which imports this, only for those who use it."""
    if name in ('load', 'train'):
        return getattr(importlib.import_module('mmseg.engine.segmenter'), name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
