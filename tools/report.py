"""A report of a run as one HTML page: ``python tools/report.py WORK_DIR [WORK_DIR ...]``.

Reads what runs leave in their folders, finished or not, without torch. docs/report.md says what is
on the page.
"""

import argparse
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

from tools.exit_with import exit_with
from tools.reports.page import page_of, write_page
from tools.reports.runs import ReportError, load_runs


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Write a report of a run as one HTML page: curves, IoU per class, confusion, '
        'sample predictions, settings. Further runs stand beside it for comparison.',
        epilog='example: python tools/report.py demo_output/uda_mitb0_s0 '
        'demo_output/source_only_mitb0_s0 --out comparison.html',
    )
    parser.add_argument(
        'work_dirs', nargs='+', metavar='WORK_DIR',
        help='folder of the run, or one with runs below it; the first run is the subject, those '
        'that follow are compared with it',
    )  # fmt: skip
    parser.add_argument(
        '--out', metavar='FILE', help='where to write it (default: report.html in the first folder)'
    )
    return parser.parse_args(argv)


def main(argv=None):
    """Write the page; returns its path."""
    args = parse_args(argv)
    path = args.out or osp.join(args.work_dirs[0], 'report.html')
    try:
        runs = load_runs(args.work_dirs)
        write_page(path, page_of(runs))
    except ReportError as error:
        exit_with(error)
    others = f' and {len(runs) - 1} more' if len(runs) > 1 else ''
    print(f'Report of {runs[0].title}{others}: {path}')
    return path


if __name__ == '__main__':
    main()
