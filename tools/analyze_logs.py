"""Curves and a table of runs' logs side by side, without torch."""

import argparse
import math
import os.path as osp
import re
import statistics
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

from prettytable import PrettyTable

from daformer_runs.run_folder import find_work_dirs, is_ratio, json_logs, read_log
from tools.command_line import exit_with

_DEFAULT_KEYS = ('decode.loss_ce', 'mIoU', 'time', 'data_time')
_LOWER_IS_BETTER = re.compile(r'loss|time|memory')
_LAST = 5  # values in the mean at the end


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Compare the logs of runs: last, best and mean values, and curves.',
        epilog='example: python tools/analyze_logs.py work_dirs/local-basic '
        '--keys decode.loss_ce mIoU IoU.train --out curves.png',
    )
    parser.add_argument('runs', nargs='+', metavar='RUN', help='runs, or folders with runs')
    keys = ', '.join(_DEFAULT_KEYS)
    parser.add_argument('--keys', nargs='+', metavar='KEY', help=f'default: {keys}')
    parser.add_argument('--out', metavar='FILE', help='draw the curves there (.png, .pdf, .svg)')
    return parser.parse_args(argv)


def main(argv=None):
    """Print the table; returns it."""
    args = parse_args(argv)
    try:
        logs = read_logs(args.runs)
        keys = _keys(args.keys, logs)
    except ValueError as error:
        exit_with(error)
    table = values_table(logs, keys)
    print(table)
    if args.out:
        figure = draw_curves(logs, keys)
        try:
            figure.savefig(args.out, dpi=100)
        except (OSError, ValueError) as error:  # ValueError: of an unknown format
            exit_with(error)
        print(f'The curves are in {args.out}')
    return table


def read_logs(paths):
    """Read the runs in and below folders: folder to `Log`."""
    logs = {}
    for path in paths:
        found = find_work_dirs([path])
        if not found:
            raise ValueError(f'{path} holds no .log.json. Give runs, or folders with runs.')
        logs |= {work_dir: read_log(json_logs(work_dir)) for work_dir in found}
    return logs


def _keys(wanted, logs):
    known = list(dict.fromkeys(key for log in logs.values() for key in log.keys()))  # noqa: SIM118
    keys = wanted or [key for key in _DEFAULT_KEYS if key in known]
    if not keys or not set(keys) <= set(known):
        raise ValueError(f'not all of {keys} are logged. There are {", ".join(known)}.')
    return keys


def values_table(logs, keys):
    """Tabulate last, best and mean values: a row per key and run."""
    head = ['run', 'key', 'last', 'at iteration', 'best', 'at', f'mean of last {_LAST}']
    table = PrettyTable(head, align='r')
    table.align['run'] = table.align['key'] = 'l'
    for key in keys:
        best_of = min if _LOWER_IS_BETTER.search(key) else max
        for name, log in logs.items():
            points = [(v, i) for i, v in zip(*log.curve(key), strict=True) if not math.isnan(v)]
            cells = ['-'] * 5
            if points:
                mean = statistics.fmean(value for value, _ in points[-_LAST:])
                (last, at), (best, best_at) = points[-1], best_of(points)
                cells = [f'{last:.4g}', at, f'{best:.4g}', best_at, f'{mean:.4g}']
            table.add_row([name, _title(key), *cells])
    return table


def _title(key):
    return f'{key} (%)' if is_ratio(key) else key


def draw_curves(logs, keys):
    """Plot a panel per key, a curve per run in `logs`."""
    from matplotlib.figure import Figure

    columns = min(2, len(keys))
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(7 * columns, 3.5 * rows + 0.25 * len(logs)), layout='constrained')
    for place, key in enumerate(keys, 1):
        panel = figure.add_subplot(rows, columns, place)
        for name, log in logs.items():
            panel.plot(*log.curve(key), label=name, marker='.', linewidth=1)
        panel.set_title(_title(key), fontsize='medium')
        panel.set_xlabel('iteration')
        panel.grid(alpha=0.3)
    figure.legend(*panel.get_legend_handles_labels(), loc='outside lower center')
    return figure


if __name__ == '__main__':
    main()
