"""Stops and kills from outside: a run goes on after them, and ends as if there had been none."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.killable_runs import (
    WORK_DIR,
    HangInLoading,
    KillableRun,
    KillInSave,
    SignalIn,
    SignalInEvaluation,
)
from tests.tiny_runs import (
    CHECKOUT,
    TrainedRun,
    assert_same_training,
    files_below,
    only,
    records_in,
)

CHECKPOINT_BYTES = 60_000_000


def assert_ended_like(workplace, reference):
    """Check that a run's tensors, losses and files are those of one that was left alone."""
    run = TrainedRun(workplace)
    assert_same_training(run, reference)
    for mode in ('train', 'val'):
        assert losses(run, mode) == losses(reference, mode)
    assert names(workplace / WORK_DIR) == names(reference.folder / reference.work_dir)
    text = (workplace / only(f'{WORK_DIR}/*.log')).read_text()
    assert re.findall(r'Iter \[(\d)/4\]', text) == ['2', '4']
    assert re.findall(r'Iter\(val\) \[(\d)\]', text) == ['2', '4']


def losses(run, mode):
    kept = ('iter', 'lr', 'mIoU')
    entries = [{k: e[k] for k in e if k in kept or 'loss' in k} for e in run.log(mode)]
    assert entries
    return entries


def names(work_dir):
    """Names of a run's files, without what tells one run or start from another."""
    files = [str(path.relative_to(work_dir)) for path in files_below(work_dir)]
    files = [name for name in files if not name.startswith('tf_logs')]
    return sorted(re.sub(r'^\d{6,8}_.*?(\.log|\.log\.json|\.json)$', r'\1', n) for n in files)


def assert_latest_is_whole():
    latest = f'{WORK_DIR}/latest.pth'
    if os.path.lexists(latest):
        assert torch.load(latest, weights_only=True)['meta']['iter'] > 0


def test_killed_while_it_saves(workplace, shared_run):
    """Killed before its first evaluation, then while the end is saved."""
    for number, size, state in ((0, 30_000_000, None), (1, 0, 'resume_2.pth')):
        run = KillableRun(workplace, KillInSave(number, size))
        assert run.end() == -signal.SIGKILL
        assert only(f'{WORK_DIR}/.*.part')
        assert os.path.lexists(f'{WORK_DIR}/latest.pth') == (state is not None)
        assert_latest_is_whole()
    assert os.readlink(f'{WORK_DIR}/latest.pth') == state
    assert KillableRun(workplace).end() == 0
    assert_ended_like(workplace, shared_run)
    assert shown_in_tensorboard() == [2, 4]


@pytest.mark.parametrize(
    'number', [pytest.param(signal.SIGKILL, marks=pytest.mark.long), signal.SIGTERM]
)
def test_evaluation_that_is_not_finished_is_made_up(workplace, shared_run, number):
    """The first one in its middle, the last one in its middle and when it is logged already."""
    exit_code = -number if number == signal.SIGKILL else 128 + number
    plans = [(0, 'count_areas'), (1, 'count_areas')]
    if number == signal.SIGKILL:  # a stop does not fall between what is logged and written
        plans.append((0, 'write_confusion'))
    for evaluation, where in plans:
        run = KillableRun(workplace, SignalInEvaluation(evaluation, where, number))
        assert run.end() == exit_code, (workplace / 'printed.txt').read_text()
        done = 2 if (evaluation, where) == plans[0] else 4
        assert os.readlink(f'{WORK_DIR}/latest.pth') == f'resume_{done}.pth'
        assert os.path.exists(f'{WORK_DIR}/iter_4.pth') == (done == 4)
        assert not os.path.exists(f'{WORK_DIR}/evaluation/iter_00000{done}.json')
    assert KillableRun(workplace).end() == 0
    assert_ended_like(workplace, shared_run)
    assert records_in(workplace / WORK_DIR) == records_in(shared_run.folder / shared_run.work_dir)
    # A kill between what is logged and written leaves the same value there twice.
    twice = [4] if number == signal.SIGKILL else []
    assert shown_in_tensorboard('val/mIoU', 'evaluation/confusion') == [2, 4, *twice]
    assert KillableRun(workplace).end() == 0
    assert 'This run is finished' in (workplace / 'printed.txt').read_text()


@pytest.mark.parametrize(
    ('of', 'workers'),
    [
        pytest.param('train', 2, marks=pytest.mark.long),
        pytest.param('train', 0, marks=pytest.mark.long),
        ('evaluation', 1),
    ],
)
def test_a_signal_ends_the_wait_for_data_that_hang(workplace, shared_run, of, workers):
    run = KillableRun(workplace, HangInLoading(of), [f'data.workers_per_gpu={workers}'])
    assert run.end() == 143
    assert os.readlink(f'{WORK_DIR}/latest.pth') == 'resume_2.pth'
    with pytest.raises(ProcessLookupError):  # no data worker is left
        os.killpg(run.process.pid, 0)
    assert KillableRun(workplace).end() == 0
    assert_ended_like(workplace, shared_run)


def test_last_checkpoint_alone_is_no_finished_run(workplace):
    """Killed when only that is saved: the resume state is not, and there was none before."""
    run = KillableRun(workplace, KillInSave(1, 0), ['evaluation.interval=4'])
    assert run.end() == -signal.SIGKILL
    assert [path.name for path in (workplace / WORK_DIR).glob('*.pth')] == ['iter_4.pth']
    assert KillableRun(workplace, options=['evaluation.interval=4']).end() == 0
    assert os.readlink(f'{WORK_DIR}/latest.pth') == 'iter_4.pth'
    assert os.path.isfile(f'{WORK_DIR}/evaluation/iter_000004.json')


def shown_in_tensorboard(*tags):
    """The iterations of which TensorBoard shows the losses, or all of these tags."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(f'{WORK_DIR}/tf_logs').Reload()
    shown = {}
    for tag in tags or ['train/decode.loss_ce']:
        kind = events.Images if tag in events.Tags()['images'] else events.Scalars
        shown[tag] = [event.step for event in kind(tag)]
    (steps,) = {tuple(steps) for steps in shown.values()}
    return list(steps)


@pytest.mark.long
def test_killed_thirty_times(workplace, shared_run):
    """At random moments, every third time while a checkpoint is being written."""
    draw = random.Random(0)
    started = time.monotonic()
    assert KillableRun(workplace).end() == 0
    duration = time.monotonic() - started
    kills = 0
    while kills < 30:
        if kills % 3 == 0:
            plan = KillInSave(draw.randrange(2), draw.randrange(CHECKPOINT_BYTES))
            killed = KillableRun(workplace, plan).end() != 0
        else:
            killed = KillableRun(workplace).kill_after(draw.uniform(0, duration))
        kills += killed
        assert_latest_is_whole()
        if not killed:
            assert_ended_like(workplace, shared_run)
            shutil.rmtree(WORK_DIR)
    assert KillableRun(workplace).end() == 0
    assert_ended_like(workplace, shared_run)


@pytest.mark.parametrize(
    ('workers', 'stops'),
    [
        (4, [(signal.SIGTERM, 'group'), (signal.SIGINT, 'group'), (signal.SIGINT, 'process')]),
        pytest.param(
            4, [(signal.SIGTERM, 'process'), (signal.SIGTERM, 'worker')], marks=pytest.mark.long
        ),
        pytest.param(
            0, [(signal.SIGTERM, 'group'), (signal.SIGINT, 'group'), (signal.SIGINT, 'process')],
            marks=pytest.mark.long,
        ),
    ],
)  # fmt: skip
def test_stopped_from_outside(workplace, shared_run, workers, stops):
    options = [f'data.workers_per_gpu={workers}']
    for iteration, (number, to) in enumerate(stops):
        run = KillableRun(workplace, SignalIn(iteration, number, to), options)
        if to == 'worker':  # one SIGTERM, as a job's end sends it to all processes, does nothing
            assert run.end() == 0
            continue
        assert run.end() == 128 + number
        assert os.readlink(f'{WORK_DIR}/latest.pth') == f'resume_{iteration + 1}.pth'
        with pytest.raises(ProcessLookupError):  # no data worker is left
            os.killpg(run.process.pid, 0)
    if to != 'worker':
        assert KillableRun(workplace, options=options).end() == 0
    assert_ended_like(workplace, shared_run)


def test_killed_data_worker(workplace, shared_run):
    options = ['data.workers_per_gpu=2']
    run = KillableRun(workplace, SignalIn(2, signal.SIGKILL, 'worker'), options)
    assert run.end() == 1
    error = (workplace / 'printed.txt').read_text().splitlines()[-1]
    assert re.fullmatch(
        r'Error: DataLoader worker \(pid.*\) is killed by signal: Killed\. .*workers_per_gpu lower'
        r'.*resumes.*',
        error,
    )
    assert os.readlink(f'{WORK_DIR}/latest.pth') == 'resume_2.pth'
    assert KillableRun(workplace, options=options).end() == 0
    assert_ended_like(workplace, shared_run)


@pytest.mark.long
def test_a_script_ends_though_it_holds_a_loader(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(
        'import torch\n'
        'from mmseg.datasets.dataloader import RunBatches, build_loader\n'
        "samples = [{'number': torch.tensor(i)} for i in range(20)]\n"
        "loader = build_loader(samples, RunBatches(0, 10, 2), 2, torch.device('cpu'))\n"
        'batches = iter(loader)\n'
        "print(next(batches)['number'].tolist())\n"
    )
    environment = {**os.environ, 'PYTHONPATH': str(CHECKOUT)}
    ended = subprocess.run(
        [sys.executable, script], env=environment, capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stdout) == (0, '[0, 1]\n'), ended.stderr
