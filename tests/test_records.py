"""What a run records while it goes on: evaluations, Rare Class Sampling, TensorBoard."""

import json
import os
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from mmcv.runner.hooks.logger import TensorboardLoggerHook
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mmseg.datasets import CityscapesDataset
from mmseg.datasets.joined import JoinedSets
from mmseg.engine.hooks import RareClassRecord
from mmseg.engine.logs import truncate_logs
from mmseg.engine.predictions import draw_sample, sample_indices
from mmseg.engine.tensorboard import purge_after_resume
from mmseg.utils.drawing import as_image, draw_confusion, draw_sampling

CLASSES = list(CityscapesDataset.CLASSES)


def read(*path):
    with open(os.path.join(*path)) as file:
        return json.load(file)


# The log


def test_log_has_the_weight_of_the_pseudo_labels(trained_run):
    noted = [trained_run.steps[i]['pseudo_label_weight'] for i in range(4)]
    assert all(0 <= share <= 1 for share in noted)
    expected = [np.mean(noted[:2]), np.mean(noted[2:])]
    found = [entry['pseudo_label_weight'] for entry in trained_run.log('train')]
    assert found == pytest.approx(expected, abs=1e-5)


def test_log_has_the_memory_of_training_alone(trained_run):
    assert all(entry['peak_resident_mb'] > 100 for entry in trained_run.log('train'))
    assert not any('peak_resident_mb' in entry for entry in trained_run.log('val'))


# Evaluations


def test_confusion_matrix_is_that_of_the_metrics(trained_run):
    found = read(trained_run.work_dir, 'evaluation/iter_000004.json')
    assert found['iter'] == 4 and found['classes'] == CLASSES
    confusion = np.array(found['confusion'])
    assert confusion.shape == (19, 19) and confusion.dtype == int
    both = confusion.diagonal()
    with np.errstate(invalid='ignore'):
        found_values = dict(
            IoU=both / (confusion.sum(0) + confusion.sum(1) - both), Acc=both / confusion.sum(1)
        )
    for metric, values in found_values.items():
        logged = [trained_run.log('val')[-1][f'{metric}.{name}'] for name in CLASSES]
        np.testing.assert_allclose(values, logged, atol=1e-4)
    # An evaluation before it has another one.
    earlier = read(trained_run.work_dir, 'evaluation/iter_000002.json')
    assert earlier['iter'] == 2 and earlier['confusion'] != found['confusion']


def test_testing_writes_the_same_confusion_matrix(trained_run, tmp_path):
    from tools import test

    path = str(tmp_path / 'folder' / 'confusion.json')
    test.main([trained_run.config, trained_run.checkpoint, '--confusion', path])
    found = read(path)
    tested = found.pop('tested')
    assert found == read(trained_run.work_dir, 'evaluation/iter_000004.json')
    assert tested['iteration'] == 4 and tested['networks'] == ['student']
    assert (tested['scale'], tested['labels'], tested['mode']) == ('256x128', '512×256', 'whole')


def test_confusion_matrix_needs_labels(capsys):
    from tools import test

    with pytest.raises(SystemExit):
        test.parse_args(['c.json', 'c.pth', '--format-only', '--confusion', 'x.json'])
    assert 'not allowed with argument --format-only' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('count', 'expected'),
    [(1, [0]), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (10, [0, 3, 6, 9]), (500, [0, 166, 333, 499])],
)
def test_images_that_are_shown_are_evenly_spaced(count, expected):
    assert sample_indices(count) == expected


def test_error_map(tmp_path):
    """The left half is right, of the right half a quarter is ignored and the rest wrong."""
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((64, 512, 3), (10, 200, 30), np.uint8))
    label, gt = np.zeros((2, 64, 512), np.uint8)
    gt[:, 256:] = 1
    gt[:16, 256:] = 255
    dataset = SimpleNamespace(
        img_infos=[dict(filename='a.png')], img_dir=str(tmp_path), ignore_index=255,
        PALETTE=[(1, 2, 3), (4, 5, 6)], load_image=None,
    )  # fmt: skip
    picture = draw_sample(dataset, 0, label, gt)
    assert picture.shape == (64 + 22 + 4, 4 * 516, 3)
    # The picture starts below its title, and each panel after a border of 2.
    image, shown_truth, shown_label, error = (
        picture[22:-4, k * 516 + 2 : (k + 1) * 516 - 2] for k in range(4)
    )
    assert (image == (10, 200, 30)).all()
    assert (shown_label == (3, 2, 1)).all() and (shown_truth[16:, 256:] == (6, 5, 4)).all()
    grey = error[0, 0]
    assert grey[0] == grey[1] == grey[2] > 0 and (error[:, :256] == grey).all()
    assert (error[16:, 256:] == (0, 0, 255)).all() and (error[:16, 256:] == 0).all()


# Rare Class Sampling


def test_rare_class_sampling_is_counted(trained_run):
    found = read(trained_run.work_dir, 'evaluation/rare_class_sampling.json')
    assert found['iter'] == 4 and found['classes'] == CLASSES and found['min_pixels'] == [0]
    assert sum(found['drawn']) == 4 * 2
    assert sum(found['share']) == pytest.approx(1) and sum(found['wanted']) == pytest.approx(1)
    road, light = CLASSES.index('road'), CLASSES.index('traffic light')
    assert found['share'][road] > 0.2 > 0.01 > found['share'][light]
    assert found['wanted'][road] < 0.01 < found['wanted'][light]


def test_counting_goes_on_and_starts_again():
    """At each evaluation the new samples are counted; after a resume all of them."""
    sampler = SimpleNamespace(
        classes=[2, 0], ratios=[0.1, 0.9], probabilities=[0.8, 0.2], min_pixels=[5]
    )
    asked = []

    def draw(number):
        asked.append(number)
        return (2 if number % 3 else 0), 0, 0

    dataset = SimpleNamespace(
        CLASSES=('a', 'b', 'c'), sampler=sampler, draw=draw, sources=JoinedSets([[0]])
    )
    record = RareClassRecord(dataset, 2, None)
    assert record.content(1)['drawn'] == [1, 0, 1]
    found = record.content(3)
    assert asked == list(range(6))
    assert found == dict(
        iter=3, classes=['a', 'b', 'c'], share=[0.9, 0, 0.1], wanted=[0.2, 0, 0.8],
        drawn=[2, 0, 4], min_pixels=[5],
    )  # fmt: skip
    assert RareClassRecord(dataset, 2, None).content(3) == found


# Resumes


def test_records_of_later_iterations_are_forgotten(tmp_path):
    evaluation = tmp_path / 'evaluation'
    evaluation.mkdir()
    kept = ['iter_000002.json', 'iter_000002_0.png', 'iter_mine.png', 'notes.txt']
    forgotten = ['iter_000004.json', 'iter_000004_3.png', '.iter_000004_1.png.part']
    for name in kept + forgotten:
        (evaluation / name).touch()
    (evaluation / 'rare_class_sampling.json').write_text('{"iter": 3}')
    truncate_logs(str(tmp_path), 3)
    assert sorted(os.listdir(evaluation)) == [*kept, 'rare_class_sampling.json']
    truncate_logs(str(tmp_path), 2)
    assert sorted(os.listdir(evaluation)) == kept


# TensorBoard


def events_of(folder):
    """What TensorBoard shows of a folder."""
    events = EventAccumulator(str(folder), size_guidance={'images': 0, 'scalars': 0})
    return events.Reload()


def test_tensorboard_shows_scalars_and_pictures(trained_run):
    events = events_of(os.path.join(trained_run.work_dir, 'tf_logs'))
    assert {tag: [e.step for e in events.Images(tag)] for tag in events.Tags()['images']} == {
        **{f'class_mix/{image}': [1, 3] for image in (0, 1)},
        **{f'evaluation/{image}': [2, 4] for image in (0, 1, 2)},
        'evaluation/confusion': [2, 4],
        'rare_class_sampling': [2, 4],
    }
    shown = cv2.imdecode(
        np.frombuffer(events.Images('evaluation/1')[-1].encoded_image_string, np.uint8), 1
    )
    written = cv2.imread(f'{trained_run.work_dir}/evaluation/iter_000004_1.png')
    assert (shown == written).all()
    for mode in ('train', 'val'):
        for entry in trained_run.log(mode):
            names = [name for name in entry if '.' in name or name.startswith(('pseudo', 'mIoU'))]
            for name in names:
                (value,) = (
                    e.value for e in events.Scalars(f'{mode}/{name}') if e.step == entry['iter']
                )
                assert value == pytest.approx(entry[name], abs=1e-5, nan_ok=True)
    assert [e.step for e in events.Scalars('learning_rate')] == [2, 2, 4, 4]


def test_tensorboard_forgets_pictures_that_a_resume_draws_again(tmp_path):
    def session(iteration, value, steps):
        hook = TensorboardLoggerHook(log_dir=str(tmp_path), by_epoch=False)
        runner = SimpleNamespace(hooks=[hook], iter=iteration, work_dir=str(tmp_path))
        hook.before_run(runner)
        purge_after_resume(runner)
        for step in steps:
            picture = np.full((4, 4, 3), value, np.uint8)
            hook.writer.add_image('picture', picture, step, dataformats='HWC')
            hook.writer.add_scalar('scalar', value, step)
        hook.writer.close()

    session(0, 1, [2, 4])
    session(3, 7, [4])  # killed after the evaluation, gone on from before it
    events = events_of(tmp_path)
    assert [e.step for e in events.Images('picture')] == [2, 4]
    assert [(e.step, e.value) for e in events.Scalars('scalar')] == [(2, 1), (4, 7)]
    last = np.frombuffer(events.Images('picture')[-1].encoded_image_string, np.uint8)
    assert (cv2.imdecode(last, 1) == 7).all()


def test_confusion_chart():
    """A row is percentages of its true class; that of a class that does not occur is grey."""
    figure = draw_confusion([[8, 2], [0, 0]], ['road', 'bus'])
    (axes,) = figure.axes
    assert [(text.get_text(), text.get_position()) for text in axes.texts] == [
        ('80', (0, 0)), ('20', (1, 0)),
    ]  # fmt: skip
    image = as_image(figure)
    assert image.dtype == np.uint8
    x, y = axes.transData.transform((0.6, 1.2)).astype(int)
    assert image[len(image) - y, x].tolist() == [211] * 3
    x, y = axes.transData.transform((-0.4, 0.4)).astype(int)
    blue, _, red = image[len(image) - y, x].tolist()
    assert blue > red + 50


def test_sampling_chart():
    """The rarest class comes first; what was drawn is in percent of all draws."""
    found = dict(classes=['road', 'bus'], share=[0.9, 0.1], wanted=[0.25, 0.75], drawn=[1, 3])
    (axes,) = draw_sampling(found).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ['bus', 'road']
    widths = [[round(bar.get_width()) for bar in bars] for bars in axes.containers]
    assert widths == [[10, 90], [75, 25], [75, 25]]
    draw_sampling(dict(classes=['road'], share=[1.0], wanted=[1.0], drawn=[0]))
