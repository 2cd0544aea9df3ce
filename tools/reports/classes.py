"""IoU per class: a column per configuration, with differences to source-only."""

import math
from dataclasses import dataclass

from tools.collect_results import configurations, mean_and_deviation

MEAN = 'mIoU'


@dataclass(frozen=True)
class Column:
    """A run, or the mean of a configuration's finished runs.

    Args:
        run: number of the (first) run, which gives the colour.
        letters: of the runs that count, such as 'A' or 'B, C'.
        note: what to know of it: number of seeds, or the iteration of an unfinished run.
        values: IoU in percent per class, and ``mIoU``; NaN for classes that do not occur.
        deviations: of a sample, the same keys; empty for a single run.
    """

    run: int
    letters: str
    note: str
    values: dict
    deviations: dict


@dataclass(frozen=True)
class Comparison:
    """The table of IoU.

    Args:
        columns: at least one.
        classes: names, in the data set's order; mIoU is not among them.
        reference: the column that differences are to, or None.
    """

    columns: list
    classes: list
    reference: Column | None

    def difference(self, column, key):
        """In percentage points to the reference; None if there is none or it is this column."""
        if self.reference is None or column is self.reference:
            return None
        here, there = column.values.get(key), self.reference.values.get(key)
        return None if here is None or there is None else here - there

    def deviation(self, column, key):
        """None for a single run, and for classes that do not occur."""
        deviation = column.deviations.get(key)
        return None if deviation is None or math.isnan(deviation) else deviation


def reference_of(runs):
    """The first source-only run that was evaluated; None if there is none."""
    return next((run for run in runs if run.is_source_only and run.val), None)


def compare(runs):
    """Returns the :class:`Comparison` of runs; None if none was evaluated."""
    by_result = {run.work_dir: number for number, run in enumerate(runs)}
    groups = [
        [by_result[result.work_dir] for result in group if result.metrics]
        for _, group in configurations([run.result for run in runs])
    ]
    reference = reference_of(runs)
    columns, reference_column = [], None
    for group in groups:
        for column, members in _columns(runs, group):
            columns.append(column)
            if reference is not None and any(runs[number] is reference for number in members):
                reference_column = column
    if not columns:
        return None
    keys = list(dict.fromkeys(key for column in columns for key in column.values))
    return Comparison(columns, [key for key in keys if key != MEAN], reference_column)


def _columns(runs, group):
    """Pairs of a column and the numbers of its runs: all finished ones, then each unfinished."""
    finished = [number for number in group if runs[number].result.is_finished]
    # The subject has a column of its own, even if it is one of several seeds.
    if len(finished) > 1 and finished[0] == 0:
        yield _single(runs, 0), []
    if len(finished) > 1:
        results = [runs[number].result for number in finished]
        summary = {key: mean_and_deviation(results, key) for key in results[0].metrics}
        column = Column(
            finished[0],
            ', '.join(runs[number].letter for number in finished),
            f'mean of {len(finished)} runs',
            _named({key: mean for key, (mean, _) in summary.items()}),
            _named({key: deviation for key, (_, deviation) in summary.items()}),
        )
        yield column, finished
    for number in group:
        if number not in finished or len(finished) == 1:
            yield _single(runs, number), [number]


def _single(runs, number):
    result = runs[number].result
    note = '' if result.is_finished else f'iteration {result.iteration:,} of {result.max_iters:,}'
    return Column(number, runs[number].letter, note, _named(result.metrics), {})


def _named(metrics):
    """Metrics as class name, or ``mIoU``, to value."""
    return {
        key.removeprefix('IoU.'): math.nan if value is None else value
        for key, value in metrics.items()
        if key == MEAN or key.startswith('IoU.')
    }
