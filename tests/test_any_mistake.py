"""Any mistake in a config or a label file: a message of ours that names the key or the file.

Property-based: Hypothesis draws what is wrong. The tiny StreetScenes run is started with it, for
one iteration, in this process; it trains, or it ends with one line.
"""

import copy
import json
import os
import re
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmseg.engine.config import as_dict, load_config, parse_options
from tests.tiny_runs import FEATURE_DISTANCE, SMALL_UDA, UDA_CONFIG, files_below
from tools import train

pytestmark = pytest.mark.usefixtures('one_thread')

OPTIONS = [
    *SMALL_UDA, *FEATURE_DISTANCE, 'runner.max_iters=1', 'evaluation.interval=1',
    'checkpoint_config.interval=1', 'uda.debug_img_interval=1', 'log_config.interval=1',
]  # fmt: skip
CONFIG = as_dict(load_config(str(UDA_CONFIG), parse_options(OPTIONS)))
SECTIONS = (
    'model', 'uda', 'data', 'runner', 'speed', 'optimizer', 'lr_config', 'evaluation',
    'checkpoint_config', 'log_config', 'seed', 'log_level', 'load_from', 'resume_from',
    'deterministic',
)  # fmt: skip
WRONG = (None, -1, 0, 3, 0.5, 'text', '', [], [1], {}, {'type': 'x'}, True, float('nan'))


def paths(value, path=()):
    """The paths of everything in a config."""
    if path:
        yield path
    entries = list(enumerate(value)) if isinstance(value, list) else []
    entries += value.items() if isinstance(value, dict) else []
    for key, entry in entries:
        yield from paths(entry, (*path, key))


PATHS = [path for path in paths(CONFIG) if path[0] in SECTIONS]


def start(config):
    """Start a run; returns the message that it ends with, None if it trains."""
    shutil.rmtree('run', ignore_errors=True)
    with open('config.json', 'w') as file:
        json.dump(config, file)
    try:
        train.main(['config.json', '--work-dir', 'run'])
    except SystemExit as stopped:
        assert isinstance(stopped.code, str), stopped.code
        assert stopped.code.startswith('Error: ') and '\n' not in stopped.code
        return stopped.code
    return None


def thoroughly(examples):
    """The settings of a property: how many examples, always the same ones, without a deadline."""
    return settings(
        max_examples=examples, derandomize=True, deadline=None, database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )  # fmt: skip


def check_wrong_value(path, value):
    config = copy.deepcopy(CONFIG)
    place = config
    for key in path[:-1]:
        place = place[key]
    if value is Ellipsis:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    message = start(config)
    names = [key for key in path if isinstance(key, str)]
    sections = {'.'.join(names[: depth + 1]) for depth in range(len(names))}
    # A class names itself, a data set its folder.
    own_words = r'DAFormerHead|decoder layer|is missing \(|is not finite'
    if message is not None and not re.search(own_words, message):
        said = re.sub(r'\[\d+\]', '', message)
        assert any(section in said for section in sections), (path, value, message)
    return message


WRONG_VALUE = {
    'path': st.sampled_from(PATHS),
    'value': st.sampled_from((*WRONG, Ellipsis)),  # Ellipsis: the key is missing
}


@thoroughly(10)
@given(**WRONG_VALUE)
def test_a_wrong_value(workplace, path, value):
    check_wrong_value(path, value)


@pytest.mark.long
@thoroughly(600)
@given(**WRONG_VALUE)
def test_many_wrong_values(workplace, path, value):
    check_wrong_value(path, value)


@pytest.mark.parametrize(
    ('path', 'value'),
    [
        (('lr_config', 'min_lr'), None),
        (('log_level',), 'text'),
        (('data', 'train', 'source', 'pipeline', 5, 'mean'), None),
        (('data', 'train', 'source', 'pipeline', 5, 'mean'), -1),
        (('data', 'train', 'target', 'pipeline', 4, 'std'), [0, 0, 0]),
    ],
)
def test_wrong_values_that_were_found(workplace, path, value):
    assert path[0] in check_wrong_value(path, value)


@thoroughly(30)
@given(
    path=st.sampled_from([path for path in PATHS if isinstance(path[-1], str)]),
    letters=st.text('abcdefghijklmnopqrstuvwxyz_', min_size=1, max_size=3),
)
def test_a_misspelled_key(workplace, path, letters):
    config = copy.deepcopy(CONFIG)
    place = config
    for key in path[:-1]:
        place = place[key]
    place[f'{path[-1]}{letters}'] = place.pop(path[-1])
    message = start(config)
    # Names of parameters are the user's; from the head's norm_cfg no layer is built.
    if 'custom_keys' in path[:-1] or path[:-1] == ('model', 'decode_head', 'norm_cfg'):
        return
    assert message is not None
    words = (f'{path[-1]}{letters}', 'missing', 'has no ')
    assert any(word in message for word in words), message


LABELS = st.one_of(
    st.binary(max_size=200),
    st.builds(
        np.full,
        st.tuples(st.integers(1, 300), st.integers(1, 600)),
        st.integers(0, 255),
        st.just(np.uint8),
    ),
)


@thoroughly(15)
@given(content=LABELS, which=st.sampled_from(['gta/labels', 'cityscapes/gtFine/val']))
def test_a_wrong_label_file(own_data, content, which):
    path = next(p for p in files_below(own_data / which) if p.name.endswith('_labelTrainIds.png'))
    before = path.read_bytes()
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        Image.fromarray(content).save(path)
    try:
        message = start(CONFIG)
    finally:
        path.write_bytes(before)
    if isinstance(content, bytes) or int(content.flat[0]) in range(19, 255):
        assert message is not None
    if message is not None:
        assert path.name in message or str(own_data.name) in message, message
    assert not os.path.exists('run') or message is None or 'cannot be read' in message
