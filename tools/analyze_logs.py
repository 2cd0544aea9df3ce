"""Curves and tables of runs' logs side by side: ``python tools/analyze_logs.py RUN [RUN ...]``.

Reads the JSON logs alone, without torch, so that it answers at once and while runs go on.
"""

import argparse
import csv
import difflib
import io
import os.path as osp
import re
import statistics
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

from prettytable import PrettyTable

from tools.exit_with import exit_with
from tools.run_logs import is_share, read_logs

_DEFAULT_KEYS = ('decode.loss_ce', 'mIoU')
# Of these the least value is the best one.
_LOWER_IS_BETTER = re.compile(r'loss|time|memory')


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Compare the logs of runs: last, best and mean values, time per iteration, '
        'curves. Runs that go on and resumed ones can be read, too.',
        epilog='example: python tools/analyze_logs.py work_dirs/local-basic '
        '--keys decode.loss_ce mIoU IoU.train --out curves.png',
    )
    parser.add_argument(
        'runs', nargs='+', metavar='RUN', help='runs, folders with runs, or .log.json files'
    )
    parser.add_argument(
        '--keys', nargs='+', metavar='KEY',
        help=f'what to compare (default: {" and ".join(_DEFAULT_KEYS)}, where logged)',
    )  # fmt: skip
    parser.add_argument('--last', type=int, default=5, help='values in the mean of the last (5)')
    parser.add_argument('--out', metavar='FILE', help='draw the curves there (.png, .pdf, .svg)')
    parser.add_argument('--csv', metavar='FILE', help='write every point of the curves there')
    args = parser.parse_args(argv)
    if args.last < 1:
        parser.error('--last must be at least 1')
    if args.out and not args.out.endswith(('.png', '.pdf', '.svg')):
        parser.error(f'--out {args.out}: a picture ends in .png, .pdf or .svg')
    return args


def main(argv=None):
    """Print the tables; returns them."""
    args = parse_args(argv)
    try:
        logs = read_logs(args.runs)
        keys = _keys(args.keys, logs)
    except ValueError as error:
        exit_with(error)
    tables = values_table(logs, keys, args.last), time_table(logs)
    print(*tables, sep='\n')
    if args.out or args.csv:
        # Importing mmseg takes seconds, which the tables alone do not need.
        from mmseg.utils.user_error import reports_user_errors

        reports_user_errors(_write)(args, logs, keys)
    return tables


def _write(args, logs, keys):
    from mmseg.utils.files import moved_into_place, write_text

    if args.csv:
        write_text(args.csv, points_csv(logs, keys))
        print(f'The points are in {args.csv}')
    if args.out:
        figure = draw(logs, keys)
        with moved_into_place(args.out) as file:
            figure.savefig(file, format=osp.splitext(args.out)[1][1:], dpi=100)
        print(f'The curves are in {args.out}')


def _keys(wanted, logs):
    known = list(dict.fromkeys(key for log in logs for key in log.keys()))  # noqa: SIM118
    for key in wanted or ():
        if key not in known:
            close = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
            hint = f'Did you mean {", ".join(close)}? ' if close else ''
            raise ValueError(f'no run logs {key}. {hint}There are {", ".join(known)}.')
    return wanted or [key for key in _DEFAULT_KEYS if key in known] or known[:1]


def values_table(logs, keys, last):
    """Returns a PrettyTable: a row per run and key with its last, best and mean values."""
    mean = f'mean of last {last}'
    table = _table(['run', 'key', 'last', 'at iteration', 'best', 'at', mean], left=('run', 'key'))
    for key in keys:
        best_of = min if _LOWER_IS_BETTER.search(key) else max
        title = f'{key} (%)' if is_share(key) else key
        for log in logs:
            iterations, values = log.curve(key)
            # NaN is neither smaller nor larger than anything.
            numbers = [(v, i) for i, v in zip(iterations, values, strict=True) if v == v]
            cells = ['-'] * 5
            if values:
                cells[:2] = _short(values[-1]), iterations[-1]
                cells[4] = _short(statistics.fmean(values[-last:]))
            if numbers:
                best = best_of(v for v, _ in numbers)
                cells[2:4] = _short(best), next(i for v, i in numbers if v == best)
            table.add_row([log.name, title, *cells])
    return table


def time_table(logs):
    """Returns a PrettyTable of seconds per iteration, as logged: averages over a log interval."""
    head = ['run', 'iterations', 's/iteration', 'least', 'most', 'at iteration', 'loading', 'total']
    table = _table(head, left=('run',))
    for log in logs:
        timed = {i: entry for i, entry in log.train.items() if 'time' in entry}
        if not timed:
            table.add_row([log.name, max(log.train, default=0), *['-'] * 6])
            continue
        before = [0, *timed][:-1]
        counts = [i - previous for i, previous in zip(timed, before, strict=True)]
        seconds = [entry['time'] for entry in timed.values()]
        loading = [entry.get('data_time', 0) for entry in timed.values()]
        total, waited = (
            sum(n * value for n, value in zip(counts, values, strict=True))
            for values in (seconds, loading)
        )
        slowest = max(timed, key=lambda i: timed[i]['time'])
        per_iteration = total / sum(counts)
        shown = [_short(value) for value in (per_iteration, min(seconds), max(seconds))]
        table.add_row(
            [log.name, sum(counts), *shown, slowest, f'{waited / total:.1%}', _duration(total)]
        )
    return table


def _table(columns, left):
    table = PrettyTable(columns)
    table.align = 'r'
    for column in left:
        table.align[column] = 'l'
    return table


def _short(value):
    return f'{value:.4g}'


def _duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours} h {minutes:02} min' if hours else f'{minutes} min {seconds:02} s'


def points_csv(logs, keys):
    """Returns CSV with a line per point: run, key, iteration, value (shares in percent)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['run', 'key', 'iteration', 'value'])
    for log in logs:
        for key in keys:
            writer.writerows([log.name, key, *point] for point in zip(*log.curve(key), strict=True))
    return text.getvalue()


def draw(logs, keys):
    """Returns a matplotlib figure: a panel per key, a curve per run."""
    from matplotlib.figure import Figure

    columns = min(2, len(keys))
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(7 * columns, 4 * rows + 0.25 * len(logs)), layout='constrained')
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
    for panel, key in zip(axes, keys, strict=False):
        for log in logs:
            iterations, values = log.curve(key)
            panel.plot(iterations, values, marker='.', linewidth=1.2, label=log.name)
        panel.set_title(f'{key} (%)' if is_share(key) else key)
        panel.set_xlabel('iteration')
        panel.tick_params(labelbottom=True)
        panel.grid(alpha=0.3)
    for panel in axes[len(keys) :]:
        panel.set_axis_off()
    figure.legend(*axes[0].get_legend_handles_labels(), loc='outside lower center')
    return figure


if __name__ == '__main__':
    main()
