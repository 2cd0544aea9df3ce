"""Runs in processes of their own, for tests that stop and kill them.

Importing mmseg takes seconds, so all of them are forked from one process that has done it.
"""

import multiprocessing
import os
import signal
import sys

import pytest
import torch

from tests.tiny_runs import CHECKOUT, FEATURE_DISTANCE, UDA_CONFIG, run_experiment

# Relative to the folder in which the run is started.
WORK_DIR = 'work_dirs/local-street_scenes/run'
SECONDS_TO_END = 300  # a run that takes longer hangs


class KillableRun:
    """:func:`tests.conftest.shared_run`'s command in a process of its own.

    Args:
        folder (Path): Where the command runs; what it prints goes to ``printed.txt`` there.
        plan (Plan | None): What befalls it.
        options (tuple[str]): More KEY=VALUE options.
    """

    def __init__(self, folder, plan=None, options=()):
        context = multiprocessing.get_context('forkserver')
        context.set_forkserver_preload(['tools.launch', 'run_experiments', 'tests.killable_runs'])
        self.process = context.Process(target=_run, args=(str(folder), plan, options))
        with pytest.MonkeyPatch.context() as patch:
            # The first start begins the process that imports everything; it finds it by this.
            patch.setenv('PYTHONPATH', str(CHECKOUT))
            self.process.start()

    def kill_after(self, seconds):
        """Kill the process after so many seconds; whether that was before its end."""
        self.process.join(seconds)
        self.process.kill()
        return self.end() == -signal.SIGKILL

    def end(self):
        """The exit code; a process that does not end is killed and is an error."""
        self.process.join(SECONDS_TO_END)
        if self.process.is_alive():
            os.killpg(self.process.pid, signal.SIGKILL)
            raise AssertionError(f'the run hangs: {self.process.pid}')
        return self.process.exitcode


class SignalIn:
    """Sends a signal in the middle of an iteration.

    Args:
        iteration (int): From 0.
        number (int): Of the signal.
        to (str): ``'process'``, its ``'group'``, or a data ``'worker'`` of it.
    """

    def __init__(self, iteration, number, to='process'):
        self.iteration, self.number, self.to = iteration, number, to

    def install(self):
        from mmseg.models.uda.dacs import DACS

        original = DACS.train_step

        def train_step(model, batch, optimizer, *, step):
            if step.iteration == self.iteration:
                self.send()
            return original(model, batch, optimizer, step=step)

        DACS.train_step = train_step

    def send(self):
        if self.to == 'group':
            os.killpg(0, self.number)
        elif self.to == 'worker':
            os.kill(multiprocessing.active_children()[0].pid, self.number)
        else:
            os.kill(os.getpid(), self.number)


class SignalInEvaluation(SignalIn):
    """Sends a signal in an evaluation.

    Args:
        evaluation (int): From 0, of the process.
        where (str): ``'count_areas'``, after its first image, or ``'write_confusion'``, when all
            but that is written.
        number (int): Of the signal.
    """

    def __init__(self, evaluation, where, number):
        super().__init__(None, number)
        self.evaluation, self.where = evaluation, where

    def install(self):
        from mmseg.engine import hooks

        predict, function = hooks.predict, getattr(hooks, self.where)
        begun = []

        def begin(*args, **options):
            begun.append(True)
            return predict(*args, **options)

        def send(*args, **options):
            if len(begun) == self.evaluation + 1:
                self.send()
            return function(*args, **options)

        hooks.predict = begin
        setattr(hooks, self.where, send)


class HangInLoading:
    """Lets loading stop the run and then hang, when the run waits for it.

    Args:
        of (str): ``'train'``, for the third iteration, or ``'evaluation'``, for the first.
    """

    def __init__(self, of):
        self.of = of

    def install(self):
        from mmseg.datasets.uda_dataset import UDADataset
        from mmseg.engine.predict import TestSamples
        from mmseg.engine.runner import SeededRunner

        run = os.getpid()
        waiting, tell = os.pipe()
        end_iteration = SeededRunner._end_iteration

        def tell_when_waiting(runner, stop):
            number = end_iteration(runner, stop)
            if runner.iter == 2:
                os.write(tell, b'.')
            return number

        SeededRunner._end_iteration = tell_when_waiting
        dataset, number = (UDADataset, 4) if self.of == 'train' else (TestSamples, 0)
        load = dataset.__getitem__

        def hang(samples, index):
            if index == number:
                if self.of == 'train':
                    os.read(waiting, 1)
                os.kill(run, signal.SIGTERM)
                os.read(waiting, 1)
            return load(samples, index)

        dataset.__getitem__ = hang


class KillInSave:
    """Kills the process while it writes a checkpoint.

    Args:
        number (int): Which checkpoint, from 0.
        size (int): After how many bytes of it.
    """

    def __init__(self, number, size):
        self.number, self.left = number, size

    def install(self):
        original = torch.save

        def save(content, file):
            if self.number == 0:
                self.file = file
                file = self
            self.number -= 1
            original(content, file)

        torch.save = save

    def write(self, data):
        data = bytes(data)
        self.file.write(data[: self.left])
        self.left -= len(data)
        if self.left < 0:
            self.file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return len(data)


def _run(folder, plan, options):
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    output = os.open('printed.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output, stream.fileno())
    if plan is not None:
        plan.install()
    arguments = ['--work-dir', WORK_DIR, '--device', 'cpu']
    run_experiment(UDA_CONFIG, *FEATURE_DISTANCE, *options, arguments=arguments)
