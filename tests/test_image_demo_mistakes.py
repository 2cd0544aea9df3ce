"""``python -m demo.image_demo``: mistakes are one line, and write nothing."""

import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.test_image_demo import image, predict, refused
from tests.tiny_runs import files_below

pytestmark = pytest.mark.usefixtures('one_thread')


@pytest.fixture
def workbench(trained_run, tmp_path, monkeypatch):
    """The current folder, with an image, a video, folders, and files that are neither."""
    picture = image((64, 32))
    monkeypatch.chdir(tmp_path)
    for name in ('empty', 'outputs', 'photos'):
        os.mkdir(name)
    for name in ('x.png', 'photos/x.png', 'outputs/x_pred.png'):
        picture.save(name)
    for name in ('text.png', 'text.mp4'):
        Path(name).write_text('no picture')
    writer = cv2.VideoWriter('clip.avi', cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 32))
    writer.write(np.zeros((32, 64, 3), np.uint8))
    writer.release()


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['nothing.png'], 'nothing.png does not exist'),
        (['empty'], 'no images in empty'),
        (['outputs'], r'no images in outputs but outputs \(1\)'),
        (['text.png'], 'text.png cannot be read: damaged, or not an image'),
        (['text.mp4'], 'text.mp4 cannot be read as a video'),
        (['x.png', '--out', 'x.png'], 'x.png: its output would replace x.png'),
        (['photos', '--overlay', '--labels', '--out', 'x.png'], 'x.png/x_overlay.png cannot be wr'),
        (['x.png', '--out', 'y.jpg', '--save-label-ids'], 'y.jpg: this is written as .png alone'),
        (['x.png', '--out', 'y.doc'], "y.doc: no image format ends in '.doc'"),
        (['x.png', '--out', 'text.png/y.png'], 'text.png/y.png cannot be written'),
        (['clip.avi', '--out', 'y.avi'], 'y.avi: this is written as .mp4 alone'),
        (['clip.avi', '--save-label-ids'], 'a video cannot hold ids'),
        (['clip.avi', '--out', 'text.png/y.mp4'], 'text.png/y.mp4 cannot be written'),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(trained_run, workbench, arguments, says):
    checkpoint = trained_run.folder / trained_run.checkpoint
    before = files_below('.')
    assert re.search(says, refused(arguments[0], checkpoint, *arguments[1:]))
    assert files_below('.') == before


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (['x.png'], 'required: CHECKPOINT'),
        (['x.png', 'x.json'], 'CHECKPOINT is missing'),
        (['x.json', 'x.pth'], 'INPUT or CHECKPOINT is missing'),
        (['x.png', 'x.pth', '--opacity', '1.5'], '--opacity'),
        (['x.png', 'x.pth', '--blend'], 'unrecognized arguments: --blend'),
    ],
)
def test_arguments_that_do_not_fit(capsys, arguments, says):
    assert refused(*arguments, code=2) == 2
    assert says in capsys.readouterr().err


def test_arguments_in_any_order():
    from demo.image_demo import parse_args

    for argv in (
        ['x.png', '--out', 'o', 'x.py', 'x.pth'],
        ['--out', 'o', 'x.png', 'x.py', 'x.pth'],
    ):
        args = parse_args(argv)
        assert (args.inputs, args.config, args.checkpoint) == (['x.png'], 'x.py', 'x.pth')


def test_a_checkpoint_without_a_config_needs_one(trained_run, tmp_path):
    image((64, 32)).save(tmp_path / 'x.png')
    path = tmp_path / 'published.pth'
    torch.save({'state_dict': trained_run.load()['state_dict']}, path)
    message = refused(tmp_path / 'x.png', path)
    assert message == f'Error: {path} holds no config: give the config of its run, too.'
    predict(tmp_path / 'x.png', trained_run.config, path)
