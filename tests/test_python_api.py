"""``from mmseg.daformer import load``: what it segments, what it says goes wrong, how it trains."""

import os
import re
import shutil
import signal
import threading

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmseg.daformer import load, train
from mmseg.engine.config import as_dict, load_config, parse_options
from mmseg.utils.user_error import UserError
from tests.ranks import Ranks
from tests.tiny_runs import (
    CHECKOUT,
    SMALL_UDA,
    UDA_CONFIG,
    TrainedRun,
    assert_same_training,
    only,
    run_experiment,
    run_python,
)

pytestmark = pytest.mark.usefixtures('one_thread')

VAL = 'data/street_scenes/cityscapes/leftImg8bit/val/dunmore'
SHORT = parse_options([*SMALL_UDA, 'runner.max_iters=2', 'evaluation.interval=2'])


@pytest.fixture
def street(trained_run, tmp_path):
    """An image file of a size unlike those of training."""
    path = tmp_path / 'street.png'
    with Image.open(only(f'{VAL}/*_000000_*')) as picture:
        picture.resize((123, 77)).save(path)
    return path


@pytest.fixture
def segment(trained_run):
    return load(trained_run.checkpoint)


def expected_of(path, trained_run, network='model.'):
    return trained_run.predict(cv2.imread(str(path)), network)


# Segmenting


def test_three_lines(trained_run, street):
    segment = load(trained_run.checkpoint)
    labels = segment(street)
    assert labels.dtype == np.uint8 and labels.shape == (77, 123)
    np.testing.assert_array_equal(labels, expected_of(street, trained_run))
    assert len(np.unique(labels)) > 1
    assert segment.classes[0] == 'road' and segment.palette[0] == [128, 64, 128]
    assert segment.iteration == 4 and segment.config.runner.max_iters == 4
    assert isinstance(segment.model, torch.nn.Module) and not segment.model.training
    assert segment.device == next(segment.model.parameters()).device == torch.device('cpu')


def test_the_teacher(trained_run, street):
    labels = load(trained_run.checkpoint, device='cpu', weights='teacher')(str(street))
    np.testing.assert_array_equal(labels, expected_of(street, trained_run, 'ema_model.'))


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_arrays_and_images_of_pil_are_predicted_as_their_file(trained_run, street, order):
    segment = load(trained_run.checkpoint, channel_order=order)
    segment.model.decode_head.conv_seg.weight.data.mul_(20)  # so that channels matter
    picture = Image.open(street)
    array = np.asarray(picture) if order == 'rgb' else cv2.imread(str(street))
    labels = segment(street)
    assert (segment(array[..., ::-1]) != labels).any()
    for image in (array, picture, picture.convert('RGBA')):
        np.testing.assert_array_equal(segment(image), labels)
    # What comes back has the same order.
    (found,) = segment.stream(street)
    np.testing.assert_array_equal(found.image, array)
    assert found.name == str(street) and found.confidence is None
    colors = np.array(segment.palette, np.uint8)[labels][..., :: 1 if order == 'rgb' else -1]
    np.testing.assert_array_equal(segment.paint(labels), colors)
    over = segment.paint(labels, street, opacity=0.25)
    assert np.abs(over - (0.25 * colors + 0.75 * array)).max() <= 1
    np.testing.assert_array_equal(segment.paint(labels, array, 0.25), over)


def test_several_images_and_a_folder(segment, street, tmp_path):
    array = np.asarray(Image.open(only(f'{VAL}/*_000001_*')).resize((64, 48)))
    labels = [segment(street), segment(array)]
    for images in ([street, array], (street, array), iter([street, array])):
        found = segment(images)
        assert isinstance(found, list) and len(found) == 2
        for one, other in zip(found, labels, strict=True):
            np.testing.assert_array_equal(one, other)
    assert segment([]) == []
    assert [len(each) for each in (segment([street]), segment([street], confidence=True))] == [1, 1]

    (tmp_path / 'photos/sub').mkdir(parents=True)
    Image.fromarray(array).save(tmp_path / 'photos/sub/b.png')
    shutil.copy(street, tmp_path / 'photos/a.PNG')
    (tmp_path / 'photos/notes.txt').write_text('no image')
    found = segment(tmp_path / 'photos')
    assert list(found) == [f'{tmp_path}/photos/{name}' for name in ('a.PNG', 'sub/b.png')]
    for one, other in zip(found.values(), labels, strict=True):
        np.testing.assert_array_equal(one, other)


def test_confidence_is_the_probability_of_what_is_predicted(segment, street):
    labels, confidence = segment(street, confidence=True)
    np.testing.assert_array_equal(labels, segment(street))
    assert confidence.shape == labels.shape and confidence.dtype == np.float32
    assert 1 / 19 <= confidence.min() < confidence.max() <= 1
    ((_, again),) = segment([street], confidence=True)
    np.testing.assert_array_equal(again, confidence)


def test_a_stream_reads_one_image_ahead(segment, street):
    read = []

    def images():
        for number in range(4):
            read.append(number)
            yield street if number % 2 else np.full((32, 48, 3), number, np.uint8)

    stream = segment.stream(images(), confidence=True)
    assert read == []
    first = next(stream)
    assert first.name == 0 and first.confidence.shape == (32, 48) and len(read) <= 2
    assert [found.name for found in stream] == [str(street), 2, str(street)]


def test_it_predicts_what_the_demo_and_the_test_write(segment, trained_run, tmp_path):
    from demo import image_demo
    from tools import test

    path = only(f'{VAL}/*_000001_*')
    labels, confidence = segment(path, confidence=True)
    arguments = ['--save-label-ids', '--confidence', '--overlay', '--out', str(tmp_path / 'demo')]
    ids, grey, overlay = image_demo.main([path, trained_run.checkpoint, *arguments])
    np.testing.assert_array_equal(cv2.imread(ids, cv2.IMREAD_UNCHANGED), labels)
    written = cv2.imread(grey, cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(written, np.round(255 * confidence))
    np.testing.assert_array_equal(cv2.imread(overlay)[..., ::-1], segment.paint(labels, path))
    test.main([trained_run.checkpoint, '--show-dir', str(tmp_path / 'test')])
    written = cv2.imread(only(tmp_path / 'test/**/*_000001_*'))
    np.testing.assert_array_equal(written[..., ::-1], segment.paint(labels))


def test_settings_and_a_config_for_a_checkpoint_without_one(trained_run, street, tmp_path):
    path = tmp_path / 'published.pth'
    torch.save({'state_dict': trained_run.load()['state_dict']}, path)
    with pytest.raises(UserError, match=r'published\.pth holds no config: give the config'):
        load(path)
    segment = load(path, trained_run.config, overrides={'model.test_cfg.mode': 'whole'})
    np.testing.assert_array_equal(segment(street), expected_of(street, trained_run))
    slide = {'model': dict(test_cfg=dict(mode='slide', crop_size=(96, 96), stride=(64, 64)))}
    assert load(trained_run.checkpoint, overrides=slide).model.test_cfg.mode == 'slide'


# Mistakes


def small(*shape, dtype=np.uint8):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ('images', 'says'),
    [
        ('nowhere.png', r'^image nowhere\.png does not exist\.$'),
        ('text.png', r'^text\.png cannot be read: damaged, or not an image'),
        ('empty', r'^no images in empty\.$'),
        (['empty'], r'^empty is a folder: give it alone'),
        (small(32, 32), r'^image 0 has the shape \(32, 32\): an array has \(H, W, 3\)'),
        (small(2, 32, 32, 3), r'^image 0 has the shape .*; several are a list\.$'),
        (small(0, 32, 3), r'^image 0 has the shape \(0, 32, 3\)'),
        ([small(32, 32, 3), small(3, 32, 32)], r'^image 1 has the shape \(3, 32, 32\)'),
        (small(32, 32, 3, dtype=np.float32), r'^image 0 has the dtype float32: an array is uint8'),
        (Image.new('I;16', (32, 32)), r'^image 0 has mode I;16: make it 8 bits per channel\.$'),
        ([torch.zeros(3, 32, 32)], r'^image 0 is a Tensor: an image is a path, an array'),
        (None, r'^NoneType: an image is a path, an array'),
    ],
)
def test_what_is_no_image(segment, tmp_path, monkeypatch, images, says):
    monkeypatch.chdir(tmp_path)
    os.mkdir('empty')
    with open('text.png', 'w') as file:
        file.write('no image')
    with pytest.raises(UserError, match=says):
        segment(images)


def test_what_is_skipped(segment, street, tmp_path):
    skipped = []
    images = [tmp_path / 'nowhere.png', street, small(32, 32)]
    found = segment.stream(images, skip=lambda name, error: skipped.append((name, str(error))))
    assert [each.name for each in found] == [str(street)]
    assert [name for name, _ in skipped] == [f'{tmp_path}/nowhere.png', 2]
    assert 'does not exist' in skipped[0][1] and 'image 2 has the shape' in skipped[1][1]


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (dict(checkpoint='nowhere.pth'), r'^checkpoint nowhere\.pth does not exist\.$'),
        (dict(config='nowhere.py'), r'^config nowhere\.py does not exist'),
        (dict(weights='best'), r"^weights='best' has to be 'student' or 'teacher'\.$"),
        (dict(channel_order='RGB'), r"^channel_order='RGB' has to be 'rgb' or 'bgr'\.$"),
        (dict(device='gpu'), 'no such device; use cuda, cuda:N or cpu'),
        (dict(overrides={'model.type.name': 3}), r'^model\.type\.name does not fit config'),
    ],
    ids=str,
)
def test_what_cannot_be_loaded(trained_run, arguments, says):
    with pytest.raises(UserError, match=says):
        load(**{'checkpoint': trained_run.checkpoint, **arguments})


def test_labels_of_another_image_are_not_painted_over_it(segment, street):
    with pytest.raises(UserError, match=r'^labels \(8, 8\) are not of an image \(77, 123\)\.$'):
        segment.paint(small(8, 8), street)


# Training


def interrupt_the_second_iteration(patch):
    """Let this process get a Ctrl-C in the middle of it."""
    from mmseg.models.uda.dacs import DACS

    original = DACS.train_step

    def train_step(self, batch, optimizer, *, step):
        if step.iteration == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return original(self, batch, optimizer, step=step)

    patch.setattr(DACS, 'train_step', train_step)


def run_at(folder):
    """A run in a folder that was named."""
    run = object.__new__(TrainedRun)
    run.folder, run.work_dir, run.checkpoint = (
        folder.parent,
        folder.name,
        f'{folder.name}/latest.pth',
    )
    return run


@pytest.mark.long
def test_fit_trains_from_the_weights_and_the_object_holds_the_result(copied_run, tmp_path, capsys):
    image, folder = only(f'{VAL}/*_000000_*'), tmp_path / 'fit'
    segment = load(copied_run.checkpoint, device='cpu')
    before = segment(image)
    one = {**SHORT, 'runner': dict(max_iters=1)}
    assert segment.fit(UDA_CONFIG, folder, **one) is segment
    assert segment.iteration == 1 and segment.checkpoint == f'{folder}/iter_1.pth'
    assert segment.config.load_from == copied_run.checkpoint
    after = segment(image)
    assert not segment.model.training and (before != after).any()
    np.testing.assert_array_equal(load(folder / 'latest.pth')(image), after)

    # Finished: for this object, which holds that run's result now, and for another one.
    capsys.readouterr()
    for again in (segment, load(copied_run.checkpoint)):
        again.fit(UDA_CONFIG, folder, **one)
        np.testing.assert_array_equal(again(image), after)
        assert f'This run is finished: {folder}' in capsys.readouterr().out
    says = r'holds a run with other settings .*: seed: 0 → 1\. Choose another --work-dir'
    with pytest.raises(UserError, match=says):
        segment.fit(segment.config, seed=1)
    np.testing.assert_array_equal(segment(image), after)


@pytest.mark.long
def test_fit_is_the_commands_training_bit_for_bit_and_resumes(copied_run, tmp_path):
    """Of three iterations the first two before a Ctrl-C."""
    image, three = only(f'{VAL}/*_000000_*'), {**SHORT, 'runner': dict(max_iters=3)}
    segment = load(copied_run.checkpoint, device='cpu')
    before = segment(image)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt_the_second_iteration(patch)
        segment.fit(UDA_CONFIG, tmp_path / 'fit', **three)
    assert os.path.isfile(tmp_path / 'fit/resume_2.pth')
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    assert segment.checkpoint == copied_run.checkpoint
    np.testing.assert_array_equal(segment(image), before)
    segment.fit(UDA_CONFIG, tmp_path / 'fit', **three)

    options = ['runner.max_iters=3', 'evaluation.interval=2']
    arguments = ['--load-from', copied_run.checkpoint, '--work-dir', str(tmp_path / 'command')]
    run_experiment(UDA_CONFIG, *options, arguments=[*arguments, '--device', 'cpu'])
    assert_same_training(run_at(tmp_path / 'fit'), run_at(tmp_path / 'command'))
    np.testing.assert_array_equal(load(tmp_path / 'command/latest.pth')(image), segment(image))


def fit_as_a_rank(checkpoint, image):
    """What each process of the next test runs."""
    torch.set_num_threads(1)
    segment = load(checkpoint, device='cpu')
    segment.fit(UDA_CONFIG, 'run', **{**SHORT, 'data.samples_per_gpu': 1, 'n_gpus': 2})
    np.save(f'labels_{os.environ["RANK"]}.npy', segment(image))


@pytest.mark.long
def test_fit_in_several_processes(copied_run):
    image = only(f'{VAL}/*_000000_*')
    ranks = Ranks(copied_run.folder, fit_as_a_rank, copied_run.checkpoint, image)
    assert ranks.end() == [0, 0]
    labels = load('run/latest.pth')(image)
    for rank in range(2):
        np.testing.assert_array_equal(np.load(f'labels_{rank}.npy'), labels)


def test_sigterm_ends_the_program(workplace, monkeypatch):
    monkeypatch.setattr('mmseg.engine.segmenter.train_run', lambda cfg, device: signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped:
        train(UDA_CONFIG, **SHORT)
    assert stopped.value.code == 128 + signal.SIGTERM


def test_what_cannot_be_trained(trained_run, tmp_path):
    segment, folder = load(trained_run.checkpoint), tmp_path / 'run'
    with pytest.raises(UserError, match=r'^uda\.alhpa: nothing reads this key|uda\.alhpa'):
        segment.fit(UDA_CONFIG, folder, uda=dict(alhpa=0.9))
    with pytest.raises(UserError, match='n_gpus=2, and this is one process'):
        segment.fit(segment.config, folder, n_gpus=2)
    with pytest.raises(UserError, match=r'nowhere\.py does not exist'):
        segment.fit('nowhere.py', folder)
    teacher = load(trained_run.checkpoint, weights='teacher')
    with pytest.raises(UserError, match=r'starts from a student.*publish_model\.py --weights'):
        teacher.fit(segment.config, folder)
    errors = []

    def fit():
        try:
            segment.fit(segment.config, folder)
        except UserError as error:
            errors.append(str(error))

    thread = threading.Thread(target=fit)
    thread.start()
    thread.join()
    assert errors == ['training needs the main thread, where signals that stop it arrive.']
    assert not folder.exists()


# The page, and what importing takes


PAGE = (CHECKOUT / 'docs/python.md').read_text(encoding='utf-8')
TRAINING = PAGE.index('## Training')


def run_blocks(text):
    """Run the blocks of Python, all of which are runnable, as one program made small."""
    found = re.findall(r'^```python( runnable)?\n(.*?)^```', text, re.M | re.S)
    assert len(found) > 4 and all(runnable for runnable, _ in found)
    code = '\n'.join(block for _, block in found)
    for pattern, smaller in {
        r'max_iters=\d+': 'max_iters=1',
        r'configs/[\w/]+/(\w+\.py)': r'\1',
    }.items():
        code = re.sub(pattern, smaller, code)
    names = {}
    exec(compile(code, 'docs/python.md', 'exec'), names)
    return names


@pytest.fixture
def place(street, copied_run):
    """The current folder, with the files that the page names; it is set up last."""
    shutil.copy(copied_run.checkpoint, 'latest.pth')
    os.mkdir('photos')
    with Image.open(street) as picture:
        picture.save('street.jpg')
        picture.save('photos/a.jpg')
    writer = cv2.VideoWriter('drive.mp4', cv2.VideoWriter_fourcc(*'mp4v'), 10, (64, 32))
    for grey in (0, 90):
        writer.write(np.full((32, 64, 3), grey, np.uint8))
    writer.release()
    config = as_dict(load_config(str(UDA_CONFIG), {**SHORT, 'runner.max_iters': 1}))
    for name in ('my_town.py', UDA_CONFIG.name):
        with open(name, 'w') as file:
            file.writelines(f'{key} = {value!r}\n' for key, value in config.items())


def test_the_page_segments(place, capsys):
    found = run_blocks(PAGE[:TRAINING])
    assert list(found['by_path']) == ['photos/a.jpg']
    assert sum(found['pixels'].values()) == 77 * 123
    assert os.path.isfile('segmented.png') and os.path.isfile('photos/a.jpg.segmented.png')
    assert re.fullmatch(r'0 0\.\d+\n1 0\.\d+\n', capsys.readouterr().out)


@pytest.mark.long
def test_the_page_trains(place):
    segment = run_blocks(PAGE)['segment']
    assert os.path.isfile('work_dirs/my_town/iter_1.pth')
    assert segment.iteration == 1 and segment.config.get('load_from') is None


@pytest.mark.long
def test_importing_mmseg_does_not_import_the_engine():
    code = (
        'import sys, mmseg\n'
        'before = {name for name in sys.modules if name.startswith("mmseg.engine.")}\n'
        'from mmseg.daformer import load\n'
        'print(before & {"mmseg.engine.segmenter", "mmseg.engine.train"}, load.__module__)\n'
    )
    result = run_python('-c', code, cwd=CHECKOUT)
    assert (result.stdout, result.stderr) == ('set() mmseg.engine.segmenter\n', '')
