"""The set-up: what make installs for whom, on which Pythons, and how mmcv-full is built."""

import os
import re
import subprocess
import sys
import zipfile

import pytest

from tests.tiny_runs import CHECKOUT

README = (CHECKOUT / 'README.md').read_text(encoding='utf-8')
# What mmcv-full's does: it reads a version by ``exec`` and ``locals()``, asks pkg_resources for
# OpenCV, and compiles its operators where torch is installed.
SETUP = """
from pkg_resources import DistributionNotFound, get_distribution, parse_version
from setuptools import setup
try:
    import torch
    name = 'compiled'
except ModuleNotFoundError:
    name = 'plain'
def get_version():
    exec(compile('__version__ = "1.7.2"', 'version.py', 'exec'))
    return locals()['__version__']
def missing(package):
    try:
        get_distribution(package)
    except DistributionNotFound:
        return [package]
    return []
setup(name=name, version=get_version(), install_requires=missing('not-there') + missing('torch'))
"""


@pytest.fixture
def fresh(tmp_path):
    """A clone's files that the set-up reads, without ``.venv``."""
    for name in ('Makefile', 'requirements.txt', 'tests/requirements.txt', 'tools/mmcv_build'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        os.symlink(CHECKOUT / name, tmp_path / name)
    return tmp_path


def make(folder, *arguments):
    return subprocess.run(
        ['make', '-C', str(folder), *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ('target', 'with_tests'),
    [('setup', False), ('demo', False), ('test', True), ('test-all', True), ('lint', True)],
)
def test_only_testing_installs_what_only_tests_need(fresh, target, with_tests):
    commands = make(fresh, '--dry-run', target).stdout
    assert 'install -r requirements.txt\n' in commands
    assert ('tests/requirements.txt' in commands) == with_tests
    (fresh / '.venv').mkdir()
    (fresh / '.venv/ready').touch()
    assert ('pip' in make(fresh, '--dry-run', target).stdout) == with_tests
    (fresh / '.venv/ready-to-test').touch()
    assert 'pip' not in make(fresh, '--dry-run', target).stdout


@pytest.mark.parametrize('version', [(2, 7), (3, 10), (3, 15)])
def test_python_that_was_not_tried_is_refused_in_one_line(fresh, version):
    python = fresh / 'python'
    code = f'import sys; sys.version_info = {version}; exec(sys.argv[1])'
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$2"\n')
    python.chmod(0o755)
    result = make(fresh, 'setup', f'PYTHON={python}')
    tried = re.search(r'Both need Python \((.*?)\)', README).group(1)
    message, from_make = result.stderr.splitlines()
    assert message == (
        f'This is Python {version[0]}.{version[1]}; {tried} were tried. Name one of them: '
        'make PYTHON=python3.13 ...'
    )
    assert result.returncode and 'Error 1' in from_make
    assert not (fresh / '.venv').exists()


def test_package_like_mmcv_full_is_built_without_operators(tmp_path):
    (tmp_path / 'setup.py').write_text(SETUP)
    subprocess.run(
        [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--no-build-isolation',
         '--no-index', '--wheel-dir', str(tmp_path), str(tmp_path)],
        env={**os.environ, 'PYTHONPATH': str(CHECKOUT / 'tools/mmcv_build')}, check=True,
    )  # fmt: skip
    wheel = zipfile.ZipFile(tmp_path / 'plain-1.7.2-py3-none-any.whl')
    metadata = wheel.read('plain-1.7.2.dist-info/METADATA').decode()
    assert re.findall('Requires-Dist: (.*)', metadata) == ['not-there']


def test_by_hand_is_what_make_does(fresh):
    commands = make(fresh, '--dry-run', 'setup').stdout
    page = (CHECKOUT / 'docs/setup.md').read_text(encoding='utf-8')
    by_hand = re.search(r'By hand.*?```sh\n(.*?)```', page, re.S).group(1).splitlines()
    assert len(by_hand) == 3
    for command in by_hand:
        command = command.replace('$PWD', str(fresh)).replace('pip ', '.venv/bin/python -m pip ', 1)
        assert command in commands.replace('--quiet ', '')
