"""Predictions as files: each image has its own, and a folder holds those of one command."""

import os
import shutil

import cityscapesscripts.helpers.labels as cityscapes_labels
import cv2
import numpy as np
import pytest
from PIL import Image

from mmseg.engine.predictions import origin_of, write_image
from tests.test_command_line import VAL, run_test
from tests.tiny_runs import files_below, only
from tools import test

pytestmark = pytest.mark.usefixtures('one_thread')


def drives(folder, names):
    """Images without labels at these places, and what lets the run test on them."""
    image = cv2.imread(only(f'{VAL}/*_000000_*'))
    for number, name in enumerate(names):
        path = folder / f'{name}_leftImg8bit.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.roll(image, 40 * number, axis=1))
    return ['--cfg-options', f'data.test.data_root={folder}', 'data.test.img_dir=.']


def test_images_of_equal_names_are_all_in_a_submission(copied_run, tmp_path, capsys):
    options = drives(tmp_path / 'drives', ['drive_1/0001', 'drive_2/0001', 'drive_2/0002'])
    for _ in range(2):  # the same command again
        run_test(copied_run, '--format-only', *options)
    folder = f'{copied_run.work_dir}/labelIds'
    written = [os.path.relpath(path, folder) for path in files_below(folder)]
    assert written == [f'drive_{drive}_leftImg8bit.png' for drive in ('1/0001', '2/0001', '2/0002')]
    assert f'Predictions are in {folder}' in capsys.readouterr().out
    ids = np.array([cityscapes_labels.trainId2label[i].id for i in range(19)])
    for name in written:
        label = copied_run.predict(cv2.imread(str(tmp_path / 'drives' / name)))
        np.testing.assert_array_equal(np.asarray(Image.open(f'{folder}/{name}')), ids[label])


@pytest.mark.parametrize('kind', ['shown', 'sent'])
def test_predictions_of_several_commands_are_never_mixed(copied_run, tmp_path, kind):
    """Another data set, checkpoint, network, way of testing; and files of nobody knows whom."""
    one = drives(tmp_path / 'one', ['a/0001', 'a/0002'])
    other = drives(tmp_path / 'other', ['a/0002', 'a/0003'])
    folder = str(tmp_path / kind)
    where = {
        'shown': ['--show-dir', folder],
        'sent': ['--eval-options', f'imgfile_prefix={folder}'],
    }[kind]

    def predict(*more, checkpoint='latest.pth'):
        shutil.rmtree(f'{copied_run.work_dir}/labelIds', ignore_errors=True)  # the default
        checkpoint = f'{copied_run.work_dir}/{checkpoint}'
        test.main([copied_run.config, checkpoint, '--format-only', *where, *more])

    predict(*one)
    before = {path: path.read_bytes() for path in files_below(folder)}
    assert len(before) == 2
    for more, checkpoint in (
        (other, 'latest.pth'),
        (one, 'iter_4.pth'),
        ([*one, '--weights', 'teacher'], 'latest.pth'),
        ([*one, '--aug-test'], 'latest.pth'),
    ):
        with pytest.raises(SystemExit, match=f'Error: {folder} holds PNGs of another'):
            predict(*more, checkpoint=checkpoint)
        assert {path: path.read_bytes() for path in files_below(folder)} == before
    predict(*one)
    assert {path: path.read_bytes() for path in files_below(folder)} == before
    Image.new('L', (4, 4)).save(files_below(folder)[0])
    with pytest.raises(SystemExit, match=f'Error: {folder} holds PNGs of another test'):
        predict(*one)
    shutil.rmtree(folder)  # as the message says
    predict(*other)


def test_a_moved_run_replaces_its_own_predictions(copied_run):
    run_test(copied_run, '--format-only')
    os.rename(copied_run.work_dir, 'elsewhere')
    test.main([f'elsewhere/{copied_run.name}.json', 'elsewhere/latest.pth', '--format-only'])


def test_files_that_would_be_replaced_within_one_command(copied_run):
    with pytest.raises(SystemExit, match='Error: --show-dir both is where the files for the se'):
        run_test(
            copied_run, '--format-only', '--show-dir', 'both',
            '--eval-options', 'imgfile_prefix=both',
            '--cfg-options', 'data.test.img_dir=leftImg8bit/val/dunmore',
        )  # fmt: skip
    assert not os.path.exists('both')


def test_a_picture_above_pillows_limit_keeps_its_origin(tmp_path):
    """The same command again does not take it for another command's."""
    path = str(tmp_path / 'large.png')
    write_image(np.zeros((10_000, 18_000), np.uint8), path, origin='ours')
    assert origin_of(path) == 'ours'
    for content in (b'', b'no PNG'):
        (tmp_path / 'large.png').write_bytes(content)
        assert origin_of(path) is None
