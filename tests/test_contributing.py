"""The examples of CONTRIBUTING.md: written where they say they go, and trained."""

import os
import re
import shutil

import pytest

from tests.tiny_runs import CHECKOUT, SMALL_UDA, only, run_python

EXAMPLES = dict(
    re.findall(
        r'^```python example (\S+)\n(.*?)^```',
        (CHECKOUT / 'CONTRIBUTING.md').read_text(encoding='utf-8'),
        re.M | re.S,
    )
)
CONFIGS = sorted(path for path in EXAMPLES if path.startswith('configs/'))


@pytest.fixture(scope='module')
def checkout(tmp_path_factory, street_scenes):
    """A copy of the checkout with the files of the examples."""
    root = tmp_path_factory.mktemp('checkout')
    for name in ('mmseg', 'daformer_runs', 'tools', 'configs'):
        shutil.copytree(CHECKOUT / name, root / name)
    for name in ('run_experiments.py', 'experiments.py'):
        shutil.copy(CHECKOUT / name, root)
    for path, content in EXAMPLES.items():
        assert not (root / path).exists(), path
        (root / path).write_text(content, encoding='utf-8')
    (root / 'data').mkdir()
    (root / 'data/street_scenes').symlink_to(street_scenes)
    return root


@pytest.mark.parametrize(
    'config',
    [c if 'entropy' in c else pytest.param(c, marks=pytest.mark.long) for c in CONFIGS],
)
def test_an_example_trains(checkout, config):
    options = [o for o in SMALL_UDA if 'entropy' not in config or not o.startswith('uda.')]
    work_dir = f'work_dirs/{os.path.basename(config)}'
    result = run_python(
        'run_experiments.py', '--config', config, '--work-dir', work_dir, '--cfg-options', *options,
        'runner.max_iters=2', 'log_config.interval=1', cwd=checkout,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    with open(only(checkout / work_dir / '*.log.json')) as file:
        log = file.read()
    assert ('target.loss_entropy' in log) == ('entropy' in config)
    assert '"mIoU"' in log


def test_every_example_is_trained():
    code = [path for path in EXAMPLES if path.startswith('mmseg/')]
    assert len(CONFIGS) == len(code) == 3
