"""Fixtures that several test files share: a tiny StreetScenes data set and a run trained on it."""

import importlib
import logging
import os
import random
import shutil
import sys

import tools.openmp  # noqa: F401

import numpy as np
import pytest
import torch

from tests.tiny_runs import FEATURE_DISTANCE, UDA_CONFIG, TrainedRun, noted_steps, run_experiment


def pytest_configure(config):
    """Fill yapf's cache before the test processes start (mmseg/mmcv_setup.py says why)."""
    if not hasattr(config, 'workerinput'):
        importlib.import_module('yapf')


@pytest.fixture(scope='session')
def street_scenes(tmp_path_factory):
    """A StreetScenes data set of a few images, drawn and converted by the real tools."""
    from tools import make_street_scenes
    from tools.convert_datasets import cityscapes, gta

    root = tmp_path_factory.mktemp('data') / 'street_scenes'
    sizes = ['--num-source', '8', '--num-target', '6', '--num-val', '3']
    make_street_scenes.main([str(root), *sizes, '--nproc', '1'])
    gta.main([str(root / 'gta'), '--nproc', '1'])
    cityscapes.main([str(root / 'cityscapes'), '--nproc', '1'])
    return root


@pytest.fixture
def workplace(tmp_path, monkeypatch, street_scenes):
    """An empty current folder, apart from a link to the data: runs write relative to it."""
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'street_scenes').symlink_to(street_scenes)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def own_data(workplace, street_scenes):
    """The data in :func:`workplace` as a copy, for tests that change it; its path."""
    link = workplace / 'data' / 'street_scenes'
    link.unlink()
    shutil.copytree(street_scenes, link)
    return link


@pytest.fixture(scope='session')
def shared_run(tmp_path_factory, street_scenes):
    """A finished run of four iterations with everything switched on; it must not be changed."""
    folder = tmp_path_factory.mktemp('run')
    (folder / 'data').mkdir()
    (folder / 'data' / 'street_scenes').symlink_to(street_scenes)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        steps = noted_steps(patch)
        run_experiment(UDA_CONFIG, *FEATURE_DISTANCE)
    yield TrainedRun(folder, steps)
    _forget_loggers()


@pytest.fixture
def trained_run(shared_run, monkeypatch):
    """:func:`shared_run`, with its folder as the current one."""
    monkeypatch.chdir(shared_run.folder)
    return shared_run


@pytest.fixture
def copied_run(shared_run, tmp_path, monkeypatch):
    """A copy of :func:`shared_run` that may be changed, in the current folder."""
    folder = tmp_path / 'copy'
    shutil.copytree(shared_run.folder, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return TrainedRun(folder)


@pytest.fixture
def one_thread():
    """Let torch use one thread: for tiny networks more of them only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def own_process_state():
    """Random numbers as in a fresh process; what a test's runs set in the environment goes."""
    environment = dict(os.environ)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    yield
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture(autouse=True)
def fresh_loggers():
    """Drop the log handlers of a test: they write to its captured output and to its files."""
    yield
    _forget_loggers()


def _forget_loggers():
    for name in ('mmseg', 'mmcv'):
        logger = logging.getLogger(name)
        for handler in logger.handlers[:]:
            logger.removeHandler(handler)
            handler.close()
        if 'mmcv.utils.logging' in sys.modules:
            sys.modules['mmcv.utils.logging'].logger_initialized.pop(name, None)
