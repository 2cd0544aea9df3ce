"""``python -m demo.image_demo``: what it takes, what it writes, and what it says goes wrong."""

import os
import re
import shutil

import cityscapesscripts.helpers.labels as cityscapes_labels
import cv2
import numpy as np
import pytest
from PIL import Image

from tests.tiny_runs import CHECKOUT, files_below, only, run_python

pytestmark = pytest.mark.usefixtures('one_thread')

VAL = 'data/street_scenes/cityscapes/leftImg8bit/val/dunmore'
COLORS = np.array([cityscapes_labels.trainId2label[i].color for i in range(19)], np.uint8)


def predict(*arguments):
    from demo import image_demo

    return image_demo.main([str(argument) for argument in arguments])


def refused(*arguments, code=1):
    """The message that arguments are refused with."""
    with pytest.raises(SystemExit) as exit_info:
        predict(*arguments)
    if code == 2:
        return exit_info.value.code
    message = exit_info.value.code
    assert isinstance(message, str) and re.fullmatch(r'Error: [^\n]+', message)
    return message


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in files_below(folder))


def image(size=(256, 128), number=0):
    """A validation image (RGB) of a size (width, height)."""
    with Image.open(only(f'{VAL}/*_00000{number}_*')) as picture:
        return picture.convert('RGB').resize(size)


def ids(path):
    with Image.open(path) as picture:
        assert picture.mode == 'L'
        return np.asarray(picture)


@pytest.fixture
def photos(tmp_path, trained_run):
    """A folder with pictures at two depths, and what is none."""
    folder = tmp_path / 'photos'
    for name in ('a.png', 'sub/b.jpg', 'sub/c.PNG'):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image((96, 48)).save(folder / name)
    (folder / 'notes.txt').write_text('no picture')
    (folder / '._a.png').write_text('what macOS leaves')
    return folder


@pytest.fixture
def clip(tmp_path, trained_run):
    """A video of seven frames of an odd size, 12.5 per second."""
    path = str(tmp_path / 'clip.avi')
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*'MJPG'), 12.5, (130, 66))
    for number in range(7):
        writer.write(np.roll(np.asarray(image((130, 66)))[..., ::-1], 9 * number, axis=1))
    writer.release()
    return path


def frames(path):
    capture = cv2.VideoCapture(path)
    found = []
    while (frame := capture.read()[1]) is not None:
        found.append(frame)
    return found, capture.get(cv2.CAP_PROP_FPS)


# One picture


@pytest.mark.parametrize(
    ('name', 'mode', 'size'),
    [('odd.png', 'RGB', (123, 77)), ('photo.jpg', 'RGB', (300, 151)), ('grey.png', 'L', (64, 200))],
)
def test_one_picture(trained_run, tmp_path, capsys, name, mode, size):
    path = tmp_path / name
    image(size).convert(mode).save(path)
    (out,) = predict(path, trained_run.config, trained_run.checkpoint)
    assert out == str(path.with_name(f'{path.stem}_pred.png'))
    assert capsys.readouterr().out == f'Wrote {out}\n'
    label = trained_run.predict(cv2.imread(str(path)))
    with Image.open(out) as picture:
        assert picture.size == size
        np.testing.assert_array_equal(np.asarray(picture.convert('RGB')), COLORS[label])


def test_the_range_of_12_bits_in_a_file_of_16_can_be_stated(trained_run, tmp_path, capsys):
    bits_8 = np.asarray(image())[..., ::-1]
    bits_12 = np.round(bits_8 * (4095 / 255)).astype(np.uint16)
    for name, array in (('8.png', bits_8), ('12.png', bits_12)):
        assert cv2.imwrite(str(tmp_path / name), array)
    (expected,) = predict(tmp_path / '8.png', trained_run.checkpoint)
    assert capsys.readouterr().err == ''
    predict(tmp_path / '12.png', tmp_path / '8.png', trained_run.checkpoint)
    says = (
        f'Warning: 1 of 2 images read hold 16 bits per channel, but no value above 4095: {tmp_path}'
    )
    shown = capsys.readouterr().err
    assert shown.startswith(says) and shown.count('\n') == 1
    assert "dict(type='LoadImageInRange', value_range=(0, 4095))" in shown
    # As it says.
    load = 'data.test.pipeline.0.'
    options = ['--cfg-options', f'{load}type=LoadImageInRange', f'{load}value_range=0,4095']
    (found,) = predict(tmp_path / '12.png', trained_run.checkpoint, *options)
    assert np.array_equal(cv2.imread(found), cv2.imread(expected))
    assert capsys.readouterr().err == ''


def test_as_a_module(trained_run, tmp_path):
    path = tmp_path / 'image.png'
    image().save(path)
    run = trained_run.folder
    result = run_python(
        '-m', 'demo.image_demo', path, run / trained_run.config, run / trained_run.checkpoint,
        cwd=CHECKOUT,
    )  # fmt: skip
    assert result.returncode == 0 and result.stderr == ''
    assert result.stdout == f'Wrote {tmp_path}/image_pred.png\n'


@pytest.mark.parametrize(('which', 'prefix'), [('student', 'model.'), ('teacher', 'ema_model.')])
def test_all_outputs_of_a_network_without_a_config(trained_run, tmp_path, which, prefix):
    path = tmp_path / 'x.png'
    image().save(path)
    everything = ['--overlay', '--labels', '--confidence', '--save-label-ids', '--opacity', '0.25']
    predict(path, trained_run.checkpoint, '--weights', which, *everything, '--out', tmp_path / 'o/')
    assert names(tmp_path / 'o') == [
        'x_confidence.png', 'x_label_ids.png', 'x_labels.png', 'x_overlay.png',
    ]  # fmt: skip
    original = cv2.imread(str(path))
    label = trained_run.predict(original, prefix)
    colored = COLORS[label][..., ::-1]
    np.testing.assert_array_equal(ids(tmp_path / 'o/x_label_ids.png'), label)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'o/x_labels.png')), colored)
    overlay = cv2.imread(str(tmp_path / 'o/x_overlay.png'))
    assert np.abs(overlay - (0.25 * colored + 0.75 * original)).max() <= 1
    confidence = ids(tmp_path / 'o/x_confidence.png')
    assert confidence.shape == label.shape and 255 // 19 <= confidence.min() < confidence.max()


def test_out_is_the_file_of_a_single_output(trained_run, tmp_path):
    image((64, 64)).save(tmp_path / 'x.png')
    arguments = [tmp_path / 'x.png', trained_run.checkpoint, '--out']
    assert predict(*arguments, tmp_path / 'o/y.jpg', '--overlay') == [f'{tmp_path}/o/y.jpg']
    found = predict(*arguments, tmp_path / 'folder', '--labels', '--save-label-ids')
    assert found == [f'{tmp_path}/folder/x_labels.png', f'{tmp_path}/folder/x_label_ids.png']


def test_options_go_over_the_checkpoints_config(trained_run, tmp_path, monkeypatch):
    from mmseg.models import EncoderDecoder

    seen = []
    original = EncoderDecoder.encode_decode
    monkeypatch.setattr(
        EncoderDecoder,
        'encode_decode',
        lambda self, img, metas: seen.append(tuple(img.shape[2:])) or original(self, img, metas),
    )
    image().save(tmp_path / 'x.png')
    arguments = [tmp_path / 'x.png', trained_run.checkpoint, '--cfg-options']
    slide = ['model.test_cfg.mode=slide', 'model.test_cfg.stride=80,80']
    predict(*arguments, *slide, 'model.test_cfg.crop_size=100,100')
    assert seen == [(100, 100)] * 6
    del seen[:]
    predict(*arguments, *slide, 'model.test_cfg.crop_size=512,512')  # a window of the whole image
    assert seen == [(128, 256)]


def test_palette_of_a_data_set_of_mmsegmentation(trained_run, tmp_path):
    from mmseg.core import get_palette

    image().save(tmp_path / 'x.png')
    arguments = [tmp_path / 'x.png', trained_run.checkpoint, '--labels', '--save-label-ids']
    colored, label = predict(*arguments, '--palette', 'ade')
    np.testing.assert_array_equal(
        cv2.imread(colored)[..., ::-1], np.array(get_palette('ade'))[ids(label)]
    )
    predict(*arguments, '--palette', 'cityscapes')
    np.testing.assert_array_equal(cv2.imread(colored)[..., ::-1], COLORS[ids(label)])


def test_orientation_is_what_a_viewer_shows(trained_run, tmp_path):
    upright = image((96, 160))
    exif = Image.Exif()
    exif[0x112] = 6
    upright.save(tmp_path / 'upright.png')
    upright.transpose(Image.ROTATE_90).save(tmp_path / 'turned.png', exif=exif)
    one, other = (
        predict(tmp_path / name, trained_run.checkpoint) for name in ('upright.png', 'turned.png')
    )
    np.testing.assert_array_equal(cv2.imread(one[0]), cv2.imread(other[0]))


# Several images


def test_a_folder_keeps_its_structure_and_gives_the_same_when_repeated(
    trained_run, photos, tmp_path, capsys
):
    shutil.copy(photos / 'a.png', photos / 'a.jpg')  # so that both keep their endings
    arguments = [photos, trained_run.checkpoint, '--labels', '--out']
    predict(*arguments, tmp_path / 'out')
    expected = ['a.jpg_labels.png', 'a.png_labels.png', 'sub/b_labels.png', 'sub/c_labels.png']
    assert names(tmp_path / 'out') == expected
    assert 'Wrote 4 files\n' in capsys.readouterr().out
    label = trained_run.predict(cv2.imread(str(photos / 'sub/b.jpg')))
    found = cv2.imread(str(tmp_path / 'out/sub/b_labels.png'))
    assert (found != COLORS[label][..., ::-1]).any(axis=2).mean() < 1e-2
    # Into the folder itself, twice: nothing is predicted that was written.
    before = names(photos)
    for _ in range(2):
        predict(*arguments, photos)
        assert names(photos) == sorted([*before, *expected])


def test_several_files_and_folders(trained_run, photos, tmp_path):
    """As a shell makes of a pattern; outputs are among them the second time."""
    for _ in range(2):
        given = [photos / 'a.png', *sorted((photos / 'sub').iterdir())]
        predict(*given, trained_run.config, trained_run.checkpoint)
        written = ['a_pred.png', 'sub/b_pred.png', 'sub/c_pred.png']
        assert [name for name in names(photos) if 'pred' in name] == written
    predict(photos / 'a.png', photos / 'sub', trained_run.checkpoint, '--out', tmp_path / 'out')
    assert names(tmp_path / 'out') == written


def test_a_name_with_brackets_is_a_file(trained_run, tmp_path):
    image((64, 64)).save(tmp_path / 'x[1].png')
    assert predict(tmp_path / 'x[1].png', trained_run.checkpoint) == [f'{tmp_path}/x[1]_pred.png']


def test_what_cannot_be_read_is_skipped_named_and_counted(trained_run, photos, tmp_path, capsys):
    (photos / 'broken.png').write_bytes((photos / 'a.png').read_bytes()[:500])
    (photos / 'empty.jpg').touch()
    message = refused(photos, trained_run.checkpoint, '--out', tmp_path / 'out')
    assert message == 'Error: 2 of 5 images could not be read.'
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    for line, name in zip(lines, ('broken.png', 'empty.jpg'), strict=True):
        assert line.startswith(f'Skipped: {photos}/{name} cannot be read')
    assert names(tmp_path / 'out') == ['a_pred.png', 'sub/b_pred.png', 'sub/c_pred.png']


# Videos


def test_a_video_becomes_one_of_the_same_size_and_rate(trained_run, clip, tmp_path, capsys):
    found = predict(clip, trained_run.checkpoint, '--labels', '--confidence')
    assert found == [f'{tmp_path}/clip_labels.mp4', f'{tmp_path}/clip_confidence.mp4']
    assert capsys.readouterr().out == f'Wrote {", ".join(found)}\n'
    assert sorted(os.listdir(tmp_path)) == ['clip.avi', 'clip_confidence.mp4', 'clip_labels.mp4']
    original, _ = frames(clip)
    labels, rate = frames(found[0])
    assert len(original) == len(labels) == 7 and rate == 12.5
    for frame, label in zip(original, labels, strict=True):
        assert frame.shape == label.shape
        expected = COLORS[trained_run.predict(frame)][..., ::-1]
        assert np.abs(expected.astype(int) - label).mean() < 15  # it has losses


def test_frames_of_odd_size_lose_their_last_row_and_column(tmp_path):
    from demo.video import VideoWriter

    path = str(tmp_path / 'folder/x.mp4')
    with VideoWriter(path, 10) as writer:
        for _ in range(3):
            writer.write(np.zeros((33, 65, 3), np.uint8))
    found, _ = frames(path)
    assert [each.shape for each in found] == [(32, 64, 3)] * 3


def test_a_failing_video_leaves_no_file(tmp_path):
    from demo.video import VideoWriter

    with pytest.raises(ZeroDivisionError), VideoWriter(str(tmp_path / 'x.mp4'), 10) as writer:
        writer.write(np.zeros((32, 32, 3), np.uint8))
        raise ZeroDivisionError
    with VideoWriter(str(tmp_path / 'x.mp4'), 10):
        pass
    assert os.listdir(tmp_path) == []


def test_a_video_that_breaks_off_is_written_until_there(trained_run, clip, tmp_path):
    os.truncate(clip, os.path.getsize(clip) // 2)
    message = refused(clip, trained_run.checkpoint)
    assert re.fullmatch(rf'Error: {clip} breaks off after frame [34] of 7.', message)
    assert len(frames(f'{tmp_path}/clip_pred.mp4')[0]) in (3, 4)


def test_a_videos_legend_lists_all_classes_in_every_frame(trained_run, clip):
    (path,) = predict(clip, trained_run.checkpoint, '--overlay', '--legend')
    found, _ = frames(path)
    assert len(found) == 7 and found[0].shape[0] > 66 + 19 * 12
