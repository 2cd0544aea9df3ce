"""The wheel: installed beside MMSegmentation it registers everything, from any folder."""

import os
import os.path as osp
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
SITE = sysconfig.get_path('purelib')

SCRIPT = """
import mmseg.daformer
import mmseg
from mmseg.datasets import DATASETS
from mmseg.models.builder import BACKBONES, HEADS, LOSSES, NECKS, SEGMENTORS
assert 'site-packages' in mmseg.daformer.__file__, mmseg.daformer.__file__
assert mmseg.__version__.startswith('0.')
for registry, name in (
    (BACKBONES, 'mit_b5'), (HEADS, 'DAFormerHead'), (HEADS, 'SegFormerHead'), (HEADS, 'DLV2Head'),
    (NECKS, 'SegFormerAdapter'), (SEGMENTORS, 'DACS'), (DATASETS, 'UDADataset'),
    (DATASETS, 'GTADataset'), (LOSSES, 'NewLoss'),
):
    assert registry.get(name) is not None, name
from mmseg.daformer import load
from mmseg.utils.user_error import UserError
try:
    load('nowhere.pth')
except UserError as error:
    assert str(error) == 'checkpoint nowhere.pth does not exist.'
    print('all there')
"""

# A file in a folder of MMSegmentation's that holds none of ours.
NEW_FILE = 'mmseg/models/losses/new_loss.py'
NEW_LOSS = """
from mmseg.models.builder import LOSSES

@LOSSES.register_module()
class NewLoss:
    pass
"""


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp('wheel')
    # From a copy, since setuptools leaves build/ and *.egg-info where it runs.
    copy = folder / 'checkout'
    copy.mkdir()
    for name in ('mmseg', 'daformer_runs', 'setup.py', 'pyproject.toml', 'README.md', 'LICENSE'):
        path = osp.join(ROOT, name)
        (shutil.copytree if osp.isdir(path) else shutil.copy)(path, copy / name)
    (copy / NEW_FILE).parent.mkdir(exist_ok=True)
    (copy / NEW_FILE).write_text(NEW_LOSS)
    subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation',
         '--wheel-dir', str(folder), str(copy)],
        check=True,
    )  # fmt: skip
    return next(folder.glob('*.whl'))


def test_it_holds_every_added_file_and_no_init_of_mmsegmentations(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith('mmseg/')}
    added = {
        osp.relpath(osp.join(folder, name), ROOT).replace(os.sep, '/')
        for folder, _, names in os.walk(osp.join(ROOT, 'mmseg'))
        for name in names
        if name.endswith('.py')
    }
    assert packed == added - {'mmseg/__init__.py'} | {NEW_FILE}


@pytest.mark.long
def test_installed_it_registers_everything(wheel, tmp_path):
    subprocess.run(
        [sys.executable, '-m', 'venv', '--without-pip', str(tmp_path / 'venv')], check=True
    )
    python = str(tmp_path / 'venv' / 'bin' / 'python')
    site = subprocess.run(
        [python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    # MMSegmentation for the wheel's files to land in; torch and the rest are used where they are.
    shutil.copytree(osp.join(SITE, 'mmseg'), osp.join(site, 'mmseg'))
    with open(osp.join(site, 'rest.pth'), 'w') as file:
        file.write(SITE)
    subprocess.run(
        [sys.executable, '-m', 'pip', '--python', python, 'install', '--quiet', '--no-deps',
         '--no-index', str(wheel)],
        check=True,
    )  # fmt: skip
    result = subprocess.run(
        [python, '-c', SCRIPT], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == 'all there'
    assert 'formating' not in result.stderr  # an old name in MMSegmentation, which warns
