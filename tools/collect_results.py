"""The results of finished and unfinished runs in one table: ``python tools/collect_results.py``.

Imports no torch. run_experiments.py --exp prints the same table at its end.
"""

import argparse
import csv
import io
import json
import os.path as osp
import re
import sys
from dataclasses import dataclass

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

import numpy as np
from prettytable import PrettyTable

from daformer_runs.run_folder import (
    Log,
    find_config,
    find_work_dirs,
    is_ratio,
    json_logs,
    read_log,
    sets_in,
)
from daformer_runs.same_run import compare
from tools.command_line import exit_with

# What run_experiments.py puts around a config's name.
_GENERATED_NAME = re.compile(r'\d{6}_\d{4}_(.*)_[0-9a-f]{5}')
_SEED = re.compile(r'_s\d+$')


@dataclass(frozen=True, eq=False)
class Result:
    """What a run's folder says; the configuration is the config's name without its seed."""

    configuration: str
    work_dir: str
    config: dict
    log: Log

    @property
    def seed(self):
        return self.config['seed']

    @property
    def max_iters(self):
        return self.config['runner']['max_iters']

    @property
    def iteration(self):
        """The iteration of the last evaluation; 0 if there was none."""
        return next(reversed(self.log.val), 0)

    @property
    def reached(self):
        """The last iteration in the log."""
        return max([*self.log.train, *self.log.val], default=0)

    @property
    def is_finished(self):
        return self.iteration == self.max_iters

    @property
    def metrics(self):
        """Metrics of the last evaluation in percent: mIoU, IoU.road, ..."""
        last = self.log.val.get(self.iteration, {})
        return {key: 100 * value for key, value in last.items() if is_ratio(key)}


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Show the mIoU of runs, with mean and standard deviation over seeds.',
        epilog='example: python tools/collect_results.py work_dirs/local-exp6 --csv exp6.csv',
    )
    add = parser.add_argument
    add('folders', nargs='*', default=['work_dirs'], help='runs or folders with runs (work_dirs)')
    add('--csv', metavar='FILE', help='also write every metric of every run there')
    return parser.parse_args(argv)


def main(argv=None):
    """Print the tables; returns them as text."""
    args = parse_args(argv)
    try:
        results = read_results(find_work_dirs(args.folders))
    except ValueError as error:
        exit_with(error)
    if not results:
        sys.exit(f'Error: there is no run in {", ".join(args.folders)}.')
    tables = results_tables(results)
    print(tables)
    if args.csv:
        # Importing mmseg takes seconds, which the table alone does not need.
        from mmseg.utils.files import write_text
        from mmseg.utils.user_error import reports_user_errors

        reports_user_errors(write_text)(args.csv, results_csv(results))
    return tables


def read_results(work_dirs):
    """Read the runs that have begun, as a list of `Result`."""
    results = []
    for work_dir in work_dirs:
        try:
            path = find_config(work_dir)
        except ValueError as error:  # one folder in disorder keeps no table from the others
            print(f'Left out: {error}', file=sys.stderr)
            continue
        if path is not None:
            with open(path, encoding='utf-8') as file:
                config = json.load(file)
            configuration = _SEED.sub('', short_name(config['name']))
            log = read_log(json_logs(work_dir))
            results.append(Result(configuration, work_dir, config, log))
    return results


def short_name(name):
    """A run's name without the date and the number that run_experiments.py puts around it."""
    return _GENERATED_NAME.sub(r'\1', name)


def configurations(results):
    """Group runs that differ in their seed alone, as pairs of label and runs."""
    groups, labels = [], []
    for result in results:
        of_name = [group for group in groups if group[0].configuration == result.configuration]
        same = [group for group in of_name if not _differences(group[0], result)]
        if same:
            same[0].append(result)
            continue
        found = _differences(of_name[0][0], result) if of_name else {}
        shown = ', '.join(f'{key}={value}' for key, (_, value) in sorted(found.items()))
        labels.append(result.configuration + (f' ({shown})' if shown else ''))
        groups.append([result])
    return list(zip(labels, groups, strict=True))


def _differences(result, other):
    return compare({**result.config, 'seed': 0}, {**other.config, 'seed': 0})[0]


def results_tables(results):
    """Tabulate the mIoU; of runs with several validation sets it is their mean, and each follows.

    Returns:
        str: The tables, one below the other.
    """
    keys = dict.fromkeys(key for result in results for key in result.metrics)
    tables = [results_table(results, 'mIoU')]
    for name in sets_in(keys):
        metric = f'{name}/mIoU'
        tables.append(results_table([r for r in results if metric in r.metrics], metric))
    return '\n'.join(map(str, tables))


def results_table(results, metric):
    """Tabulate a metric by configuration and seed; means are over finished runs."""
    seeds = sorted({result.seed for result in results})
    head = [f'{metric} (%)', *(f'seed {seed}' for seed in seeds), 'mean', 'std']
    table = PrettyTable(head, align='r')
    table.align[head[0]] = 'l'
    for label, group in configurations(results):
        cells = [
            ', '.join(_cell(result, metric) for result in group if result.seed == seed)
            for seed in seeds
        ]
        table.add_row([label, *cells, *map(_rounded, mean_and_deviation(group, metric))])
    return table


def _cell(result, metric):
    if metric not in result.metrics:
        return f'- (0/{result.max_iters})'
    value = f'{result.metrics[metric]:.2f}'
    return value if result.is_finished else f'{value} ({result.iteration}/{result.max_iters})'


def mean_and_deviation(group, metric):
    """Mean and sample deviation (n - 1) of a metric over finished runs; None for too few runs."""
    values = [run.metrics[metric] for run in group if run.is_finished and metric in run.metrics]
    mean = float(np.mean(values)) if values else None
    return mean, float(np.std(values, ddof=1)) if len(values) > 1 else None


def _rounded(value):
    return '' if value is None else f'{value:.2f}'


def results_csv(results):
    """All metrics as CSV: a line per run."""
    metrics = list(dict.fromkeys(key for result in results for key in result.metrics))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['configuration', 'seed', 'iteration', 'max_iters', *metrics, 'work_dir'])
    for label, group in configurations(results):
        for run in group:
            values = [_rounded(run.metrics.get(key)) for key in metrics]
            writer.writerow([label, run.seed, run.iteration, run.max_iters, *values, run.work_dir])
    return text.getvalue()


if __name__ == '__main__':
    main()
