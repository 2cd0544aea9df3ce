"""The config that is shown is the one that a run gets, and what differs is named."""

import json

import pytest

from daformer_runs.same_run import MISSING, differences
from mmseg.engine.config import as_dict, load_config
from tests.test_mistakes import refused
from tests.tiny_runs import CHECKOUT, SOURCE_ONLY_CONFIG, UDA_CONFIG, run_python
from tools import print_config


def shown(*arguments):
    return print_config.main(list(map(str, arguments)))


def test_it_is_what_a_run_gets(tmp_path):
    options = ['runner.max_iters=7', 'data.train.source.pipeline.3.cat_max_ratio=0.5']
    expected = as_dict(
        load_config(
            str(UDA_CONFIG),
            {'runner.max_iters': 7, 'data.train.source.pipeline.3.cat_max_ratio': 0.5},
        )
    )
    assert json.loads(shown(UDA_CONFIG, '--json', '--cfg-options', *options)) == expected
    (tmp_path / 'config.py').write_text(shown(UDA_CONFIG, '--cfg-options', *options))
    assert as_dict(load_config(str(tmp_path / 'config.py'))) == expected
    assert expected['model']['decode_head']['in_channels'] == [32, 64, 160, 256]


def test_a_part_of_it():
    assert shown(UDA_CONFIG, '--key', 'uda.alpha') == 'uda.alpha = 0.99'
    part = as_dict(load_config(str(UDA_CONFIG)))['data']['train']['target']
    assert json.loads(shown(UDA_CONFIG, '--key', 'data.train.target', '--json')) == part
    scale = shown(UDA_CONFIG, '--key', 'data.train.target.pipeline.1')
    assert scale.splitlines() == ["type = 'Resize'", 'img_scale = (256, 128)']


def test_runs_and_checkpoints_are_read_too(trained_run):
    config = shown(trained_run.config, '--json')
    assert shown(trained_run.work_dir, '--json') == config
    assert shown(trained_run.checkpoint, '--json') == config


def test_differences_of_two_configs():
    text = shown(UDA_CONFIG, '--diff', UDA_CONFIG, '--cfg-options', 'optimizer.lr=0.5', 'uda.new=1')
    assert text.splitlines() == [
        f'{UDA_CONFIG} -> {UDA_CONFIG}',
        'uda.new: 1 -> (missing)',
        'optimizer.lr: 0.5 -> 0.004',
    ]
    text = shown(SOURCE_ONLY_CONFIG, '--diff', UDA_CONFIG, '--key', 'data').splitlines()
    assert "train.type: 'GTADataset' -> 'UDADataset'" in text
    assert "train.target.type: (missing) -> 'CityscapesDataset'" in text
    assert shown(UDA_CONFIG, '--diff', UDA_CONFIG) == f'{UDA_CONFIG} and {UDA_CONFIG} are equal.'


def test_differences_of_dicts():
    one = {'a': {'b': 1, 'c': [1, 2]}, 'steps': [{'type': 'X', 'n': 1}, {'type': 'Y'}], 'e': {}}
    other = {'a': {'b': 1, 'c': [1]}, 'steps': [{'type': 'X', 'n': 2}, {'type': 'Y'}], 'd': None}
    assert differences(one, other) == {
        'a.c': ([1, 2], [1]), 'steps.0.n': (1, 2), 'e': ({}, MISSING), 'd': (MISSING, None),
    }  # fmt: skip
    # More transforms: the lists themselves.
    longer = {**one, 'steps': [{'type': 'Z'}, *one['steps']]}
    assert differences(one, longer) == {'steps': (one['steps'], longer['steps'])}
    assert differences(one, one, {**one, 'a': {'b': 2}}) == {
        'a.b': (1, 1, 2), 'a.c': ([1, 2], [1, 2], MISSING),
    }  # fmt: skip
    assert differences({}, {'a': {'b': 1, 'c': [1, 2]}, 'e': {}}) == {
        'a.b': (MISSING, 1), 'a.c': (MISSING, [1, 2]), 'e': (MISSING, {}),
    }  # fmt: skip


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['nowhere.py'], ['nowhere.py does not exist']),
        (['.'], ['. holds no config']),
        (
            [UDA_CONFIG, '--key', 'data.trian'],
            ['no data.trian', 'there is', 'train, val, test'],
        ),
        ([UDA_CONFIG, '--key', 'seed.x'], ['no seed.x']),
        (
            [UDA_CONFIG, '--key', 'data.val.pipeline.2'],
            ['no data.val.pipeline.2'],
        ),
        ([UDA_CONFIG, '--diff', 'nowhere.pth'], ['nowhere.pth does not exist']),
    ],
)
def test_mistakes(tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    with refused(*says):
        shown(*arguments)


@pytest.mark.long
def test_as_a_command():
    result = run_python('tools/print_config.py', UDA_CONFIG, '--key', 'seed', cwd=CHECKOUT)
    assert (result.returncode, result.stdout, result.stderr) == (0, 'seed = 0\n', '')
