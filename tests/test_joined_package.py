"""The one name ``mmseg``: this checkout's additions and the installed MMSegmentation together."""

import fcntl
import importlib
import importlib.metadata
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import pytest

from tests.tiny_runs import CHECKOUT, files_below, run_python

LOCAL = CHECKOUT / 'mmseg'


def installed_files():
    """Files of the installed MMSegmentation, relative to its mmseg/."""
    files = importlib.metadata.files('mmsegmentation')
    return {path.relative_to('mmseg') for path in files if path.parts[0] == 'mmseg'}


@pytest.mark.parametrize(
    'name',
    ['mmseg', 'mmseg.models', 'mmseg.models.backbones', 'mmseg.models.decode_heads',
     'mmseg.models.necks', 'mmseg.datasets', 'mmseg.utils'],
)  # fmt: skip
def test_checkout_comes_first_and_the_installed_second(name):
    import mmseg  # noqa: F401  (joins)

    path = [Path(folder).resolve() for folder in importlib.import_module(name).__path__]
    local = LOCAL.joinpath(*name.split('.')[1:])
    assert path[0] == local
    assert any('site-packages' in folder.parts for folder in path[1:])


def test_every_local_module_is_imported_from_the_checkout():
    import mmseg  # noqa: F401  (registers)

    for name, module in list(sys.modules.items()):
        path = LOCAL.joinpath(*name.split('.')[1:]).with_suffix('.py')
        if name.startswith('mmseg.') and path.is_file():
            assert Path(module.__file__).resolve() == path


def test_no_local_file_has_the_name_of_an_installed_one():
    local = {path.relative_to(LOCAL) for path in LOCAL.rglob('*.py')}
    installed = {Path(path) for path in installed_files()}
    assert Path('models/builder.py') in installed
    assert local & installed == {Path('__init__.py')}


def test_everything_is_registered_by_importing_mmseg():
    from mmseg.datasets import DATASETS
    from mmseg.models.builder import BACKBONES, HEADS, NECKS, SEGMENTORS

    for registry, names in (
        (BACKBONES, ['mit_b0', 'mit_b1', 'mit_b2', 'mit_b3', 'mit_b4', 'mit_b5', 'ResNetV1c']),
        (HEADS, ['DAFormerHead', 'SegFormerHead', 'DLV2Head', 'UPerHead']),
        (NECKS, ['SegFormerAdapter']),
        (SEGMENTORS, ['DACS', 'EncoderDecoder']),
        (DATASETS, ['UDADataset', 'GTADataset', 'SynthiaDataset', 'ACDCDataset',
                    'CityscapesDataset', 'DarkZurichDataset']),
    ):  # fmt: skip
        missing = [name for name in names if name not in registry]
        assert not missing


def test_a_new_file_in_any_folder_is_registered(tmp_path):
    """Also in a folder that is new here, or in one of MMSegmentation's that holds no file here."""
    shutil.copytree(LOCAL, tmp_path / 'mmseg')
    added = {
        'models/losses/new_loss.py': ('models.builder', 'LOSSES', 'NewLoss'),
        'models/segmentors/new_segmentor.py': ('models.builder', 'SEGMENTORS', 'NewSegmentor'),
        'models/uda/new_method.py': ('models.builder', 'SEGMENTORS', 'NewMethod'),
        'models/prompts/new_head.py': ('models.builder', 'HEADS', 'NewHead'),
        'datasets/new_dataset.py': ('datasets.builder', 'DATASETS', 'NewDataset'),
        'datasets/pipelines/new_transform.py': ('datasets.builder', 'PIPELINES', 'NewTransform'),
        'core/seg/sampler/new_sampler.py': ('core.seg.builder', 'PIXEL_SAMPLERS', 'NewSampler'),
    }
    script = 'import mmseg\n'
    for file, (module, registry, name) in added.items():
        path = tmp_path / 'mmseg' / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f'from mmseg.{module} import {registry}\n'
            f'@{registry}.register_module()\nclass {name}: pass\n'
        )
        script += (
            f'from mmseg.{module} import {registry}\nassert "{name}" in {registry}, "{name}"\n'
        )
    script += 'import mmseg.utils.new_helper, mmseg.engine.new_checks.check\n'
    for file in ('utils/new_helper.py', 'engine/new_checks/check.py'):
        (tmp_path / 'mmseg' / file).parent.mkdir(exist_ok=True)
        (tmp_path / 'mmseg' / file).write_text('')
    copy = tmp_path / 'mmseg/models/losses/.ipynb_checkpoints/new_loss-checkpoint.py'
    copy.parent.mkdir()
    copy.write_text('raise AssertionError("an editor\'s copy is imported")')
    result = run_python('-W', 'error:::mmseg', '-c', script, cwd=tmp_path)
    assert (result.stdout, result.stderr, result.returncode) == ('', '', 0)


def test_names_of_the_installed_top_level_are_there():
    import mmseg

    assert mmseg.__version__ == importlib.metadata.version('mmsegmentation')
    assert mmseg.digit_version('1.2') > mmseg.digit_version('1.1')


# yapf's cache


@pytest.mark.parametrize('size', [0, 8192])
def test_a_broken_cache_of_yapf_is_made_anew(tmp_path, size):
    def in_new_process(code):
        environment = {**os.environ, 'XDG_CACHE_HOME': str(tmp_path)}
        return subprocess.run(
            [sys.executable, '-c', code], env=environment, capture_output=True, text=True,
            cwd=CHECKOUT, check=False,
        )  # fmt: skip

    assert in_new_process('import yapf').returncode == 0
    cached = list(tmp_path.rglob('*.pickle'))
    for file in cached:
        os.truncate(file, min(size, file.stat().st_size - 1))
    assert in_new_process('import yapf').returncode != 0
    by_path = (
        'import runpy; runpy.run_path("mmseg/mmcv_setup.py")["import_yapf"]();'
        'import yapf; print(yapf.yapf_api.FormatCode("a=1")[0])'
    )
    result = in_new_process(by_path)
    assert (result.stdout.strip(), result.returncode) == ('a = 1', 0), result.stderr
    assert sorted(tmp_path.rglob('*.pickle')) == sorted(cached)


def test_processes_import_yapf_one_after_the_other(tmp_path, monkeypatch):
    """The lock is in a folder of the user's: in one that all share, others may put a link there."""
    import mmseg.mmcv_setup

    (tmp_path / 'shared').mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'shared'))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'own'))
    monkeypatch.setattr(importlib, 'import_module', lambda name: imported.append(is_locked()))
    imported = []

    def is_locked():
        (lock,) = files_below(tmp_path)
        assert lock.is_relative_to(tmp_path / 'own')
        with open(lock, encoding='utf-8') as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True

    mmseg.mmcv_setup.import_yapf()
    assert imported == [True]


def test_yapf_is_imported_where_no_cache_can_be_kept(tmp_path, monkeypatch):
    """As with a read-only home."""
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file' / 'cache'))
    code = 'import runpy; runpy.run_path("mmseg/mmcv_setup.py")["import_yapf"](); import yapf'
    result = run_python('-c', code, cwd=CHECKOUT)
    assert (result.returncode, result.stderr) == (0, '')


# mmcv.ops


@pytest.fixture
def no_ops(monkeypatch):
    """As if mmcv had been installed without its operators, and nothing stood in for them yet."""
    importlib.import_module('mmseg')  # first, while packages can be found
    monkeypatch.delitem(sys.modules, 'mmcv.ops', raising=False)
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)


def test_missing_operator_can_be_imported_but_not_used(no_ops):
    from mmseg.mmcv_setup import provide_ops

    provide_ops()
    from mmcv.ops import CrissCrossAttention, point_sample

    with pytest.raises(ImportError, match=r'CrissCrossAttention is a compiled operator.*WITH_OPS'):
        CrissCrossAttention(8)
    with pytest.raises(ImportError, match='point_sample is a compiled operator'):
        point_sample(None, None)


def test_operators_that_are_there_are_left_alone(monkeypatch):
    from mmseg.mmcv_setup import provide_ops

    real = types.ModuleType('mmcv.ops')
    monkeypatch.setitem(sys.modules, 'mmcv.ops', real)
    provide_ops()
    assert sys.modules['mmcv.ops'] is real
    # Not imported yet, but compiled: nothing is put in its place.
    monkeypatch.delitem(sys.modules, 'mmcv.ops')
    monkeypatch.setattr('importlib.util.find_spec', lambda name: object())
    provide_ops()
    assert 'mmcv.ops' not in sys.modules


def test_mmcv_knows_on_new_pythons_that_operators_are_missing(monkeypatch):
    from mmcv.utils.ext_loader import check_ops_exist

    import mmseg  # noqa: F401  (provides)

    monkeypatch.delattr(pkgutil, 'find_loader', raising=False)
    assert check_ops_exist() == (importlib.util.find_spec('mmcv._ext') is not None)


# From outside the checkout


@pytest.mark.parametrize(
    ('tool', 'needs_torch'),
    [('run_experiments.py', False), ('tools/train.py', False), ('tools/test.py', True),
     ('demo/image_demo.py', True)],
)  # fmt: skip
def test_tool_works_from_another_folder(tmp_path, monkeypatch, tool, needs_torch):
    """And libgomp, which torch loads, finds the bound of its threads' spinning."""
    for name in ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('OMP_DISPLAY_ENV', 'verbose')
    result = run_python(CHECKOUT / tool, '--help', cwd=tmp_path)
    assert result.returncode == 0 and result.stdout.startswith('usage: ')
    assert re.findall(r"GOMP_SPINCOUNT = '(\d+)'", result.stderr) == ['10000'] * needs_torch
    displayed = r'\nOPENMP DISPLAY ENVIRONMENT BEGIN\n.*OPENMP DISPLAY ENVIRONMENT END\n'
    assert re.sub(displayed, '', result.stderr, flags=re.DOTALL) == ''


def test_without_mmsegmentation_the_message_says_so(tmp_path):
    """-S leaves the installed packages out."""
    result = subprocess.run(
        [sys.executable, '-S', '-c', 'import mmseg'],
        cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(CHECKOUT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 1
    assert 'MMSegmentation is not installed here. Run `make setup`' in result.stderr
