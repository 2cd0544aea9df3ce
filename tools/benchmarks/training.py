"""Measures the training step of DAFormer against the plain one, and its parts.

Each of the two runs in a process of its own, so that its peak memory and its memory allocator are
its own; they take turns.
"""

import functools
import multiprocessing
import resource
import statistics
from contextlib import contextmanager

import torch

from mmseg.engine.performance import keep_freed_memory
from mmseg.models.uda import dacs
from mmseg.utils.step import Step
from tools.benchmarks.flops import count_flops
from tools.benchmarks.reference_step import ReferenceStep
from tools.benchmarks.timing import MATMUL_FLOPS, Clock, times_faster
from tools.benchmarks.training_work import build_method, build_optimizer, random_batch

SEED = 0


def measure_training(device, encoder, size, rounds, with_cp=False):
    """Time both steps in turn.

    Args:
        device (torch.device): where to train.
        encoder (str): `mit_b0` to `mit_b5`.
        size (int): side of the square crops; a multiple of 32.
        rounds (int): iterations that count, of each.
        with_cp (bool): ours with gradient checkpointing of encoder and ASPP.

    Returns:
        dict: for JSON; `ours` and `published_way` with times and `peak_memory_gb`, their ratios,
        the operations of a step and the share of the matrix products' rate that ours reaches, and
        the milliseconds of the parts of our step.
    """
    clock = Clock(device)
    with _process(OurStep, device, encoder, size, with_cp) as ours:
        with _process(PublishedWay, device, encoder, size) as plain:
            timings = clock.take_timed_turns(
                {'ours': functools.partial(ours, 'seconds'),
                 'published_way': functools.partial(plain, 'seconds')},
                rounds,
            )  # fmt: skip
            found = {name: timing.as_dict() for name, timing in timings.items()}
            found['ours']['peak_memory_gb'] = ours('memory')
            found['published_way']['peak_memory_gb'] = plain('memory')
        found['parts_ms'] = ours('parts', rounds)
        flops = ours('flops')
    matmul = statistics.median(timings['ours'].matmul)
    return {
        'encoder': encoder,
        'size': size,
        **found,
        'times_faster': times_faster(timings['ours'], timings['published_way']),
        'memory_ratio': found['ours']['peak_memory_gb'] / found['published_way']['peak_memory_gb'],
        'gflop': flops / 1e9,
        'matmul_gflop_per_s': MATMUL_FLOPS / matmul / 1e9,
        'share_of_matmul_rate': flops / MATMUL_FLOPS / found['ours']['matmul_units'],
    }


class OurStep:
    """Our step with what the runner does around it; iterations are counted up."""

    def __init__(self, device, encoder, size, with_cp=False):
        keep_freed_memory(device)
        self.method = build_method(encoder, device, with_cp)
        self.optimizer = build_optimizer(self.method)
        self.batch = random_batch(size, device)
        self.iteration = 0

    def __call__(self):
        step = Step(SEED, self.iteration)
        self.iteration += 1
        return self.method.train_step(self.batch, self.optimizer, step=step)['log_vars']

    def parts(self, clock, rounds):
        """Median milliseconds of the parts of a step."""
        found = {}
        for _ in range(rounds):
            with self._timed(clock) as seconds:
                total = clock.seconds(self)
            seconds['everything else'] = total - sum(seconds.values())
            for name, value in seconds.items():
                found.setdefault(name, []).append(1e3 * value)
        return {name: statistics.median(values) for name, values in found.items()}

    @contextmanager
    def _timed(self, clock):
        """Inside, each part adds its seconds to the dict that is handed out."""
        seconds = {}
        parts = [
            (self.method, 'after_step', ['EMA']),
            (self.method, 'student', ['source forward', 'mixed forward']),
            (self.method.imnet_model, 'forward', ['frozen encoder']),
            (self.method.gradients, 'add', ['source backward', 'mixed backward']),
            (dacs, 'pseudo_labels', ['teacher']),
            (dacs, 'draw_class_masks', ['mixing']),
            (self.method, 'augment', ['augmentation']),
            (self.optimizer, 'step', ['optimizer']),
        ]

        def timed(function, names):
            names = iter(names)

            def call(*args, **kwargs):
                results = []
                took = clock.seconds(lambda: results.append(function(*args, **kwargs)))
                seconds[next(names)] = took
                return results[0]

            return call

        originals = [(owner, name, getattr(owner, name)) for owner, name, _ in parts]
        own = [name in vars(owner) for owner, name, _ in parts]
        for (owner, name, function), (_, _, names) in zip(originals, parts, strict=True):
            setattr(owner, name, timed(function, names))
        try:
            yield seconds
        finally:
            for (owner, name, function), was_own in zip(originals, own, strict=True):
                if was_own:
                    setattr(owner, name, function)
                else:
                    delattr(owner, name)


class PublishedWay:
    """The plain step under the C library's own allocator settings."""

    def __init__(self, device, encoder, size):
        self.plain = ReferenceStep(build_method(encoder, device), build_optimizer)
        self.batch = random_batch(size, device)
        self.iteration = 0

    def __call__(self):
        step = Step(SEED, self.iteration)
        self.iteration += 1
        return self.plain.step(**self.batch, step=step)


@contextmanager
def _process(kind, device, *options):
    """A process that holds a candidate; yields a function that asks it for a figure."""
    context = multiprocessing.get_context('spawn')
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, kind, device, options))
    process.start()
    there.close()

    def ask(*request):
        here.send(request)
        return here.recv()

    try:
        yield ask
    finally:
        here.close()
        process.join()


def _serve(connection, kind, device, options):
    clock = Clock(device)
    candidate = kind(device, *options)
    answers = {
        'seconds': lambda: clock.seconds(candidate),
        'memory': lambda: _peak_memory(device),
        'flops': lambda: count_flops(candidate),
        'parts': lambda rounds: candidate.parts(clock, rounds),
    }
    while True:
        try:
            name, *arguments = connection.recv()
        except EOFError:
            return
        connection.send(answers[name](*arguments))


def _peak_memory(device):
    """Largest memory of this process so far, in GB."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
