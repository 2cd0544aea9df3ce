"""The results of tests in a table, as CSV and as JSON, each with what it was tested on and how."""

import csv
import io
import json
import math
import os.path as osp
from dataclasses import dataclass, field

import numpy as np
from prettytable import PrettyTable

from mmseg.engine.data_sets import group_of
from mmseg.engine.logs import file_part
from mmseg.engine.predictions import write_image
from mmseg.utils.drawing import as_image, draw_reliability
from mmseg.utils.files import write_text

NETWORKS = ('student', 'teacher')
_WITH_MEANS = ('mIoU', 'mIoU16', 'mIoU13')
_OF_ALL_PIXELS = ('fwIoU', 'ECE', 'AUROC', 'AUPR', 'FPR95')


@dataclass
class SetResult:
    """What was found on a data set, and how it was tested."""

    name: str
    type: str
    data_root: str | None
    scale: str
    images: int = 0
    labels: str = ''  # their size, at which metrics are
    label_table: str | None = None
    metrics: dict = field(default_factory=dict)  # of each network, in [0, 1]
    reliability: dict = field(default_factory=dict)  # of each network: pixels, confidence, accuracy

    @property
    def group(self):
        """What the name begins with: ``acdc`` of ``acdc/fog``; '' of names without a group."""
        return group_of(self.name)


@dataclass
class TestResults:
    """All that a command found."""

    __test__ = False  # it is no test of pytest's

    checkpoint: str
    iteration: int | None
    mode: str  # whole images, or windows
    git: str
    sets: list = field(default_factory=list)
    absent: dict = field(default_factory=dict)  # name → what is missing
    broken: dict = field(default_factory=dict)  # name → what is wrong

    @property
    def networks(self):
        return [name for name in NETWORKS if any(name in entry.metrics for entry in self.sets)]

    def means(self, metric='mIoU'):
        """Means of a metric over each group, and over all sets, each of which weighs the same.

        Returns:
            dict[str, dict[str, float]]: Of groups with at least two sets, and ``all``, by network.
        """
        groups = {}
        for entry in self.sets:
            groups.setdefault(entry.group, []).append(entry)
        groups.pop('', None)
        chosen = groups | {'all': self.sets}
        return {
            name: {
                network: float(np.mean([entry.metrics[network][metric] for entry in entries]))
                for network in self.networks
            }
            for name, entries in chosen.items()
            if len(entries) > 1
        }

    def of(self, test):
        """The entry of a :class:`TestedSet`'s data set, which is made where it is missing."""
        for entry in self.sets:
            if entry.name == test.entry.title:
                return entry
        self.sets.append(test.result())
        return self.sets[-1]

    def how(self):
        """Return what was tested and how, as files say it."""
        sets = {entry.name: dict(scale=entry.scale, labels=entry.labels) for entry in self.sets}
        return dict(
            checkpoint=self.checkpoint, iteration=self.iteration, networks=self.networks,
            mode=self.mode, git=self.git, **(sets if len(sets) > 1 else next(iter(sets.values()))),
        )  # fmt: skip

    def said(self):
        """Return the same in a sentence; scales and labels of several sets are in their table."""
        iteration = '' if self.iteration is None else f', iteration {self.iteration}'
        parts = [f'{" and ".join(self.networks)} of {self.checkpoint}{iteration}']
        if len(self.sets) == 1:
            parts += [f'scale {self.sets[0].scale}', f'labels {self.sets[0].labels}']
        return ', '.join([*parts, f'mode {self.mode}', f'git {self.git}'])


def results_lines(results):
    """The metrics of one data set and network in two lines."""
    (entry,) = results.sets
    (found,) = entry.metrics.values()
    lines = [f'{name}: {_percent(found[name])}' for name in _WITH_MEANS if name in found]
    others = ', '.join(f'{name}: {_percent(found[name])}' for name in _OF_ALL_PIXELS)
    return '\n'.join([*lines, others])


def results_table(results, metric='mIoU'):
    """Tabulate a metric: a row per data set and mean, a column per network."""
    networks = results.networks or NETWORKS[:1]
    columns = [f'{network} {metric} (%)' for network in networks]
    table = PrettyTable(['data set', 'images', 'scale', 'labels', *columns], align='r')
    table.align['data set'] = 'l'
    for entry in results.sets:
        table_of = f' ({entry.label_table})' if entry.label_table else ''
        values = [_percent(entry.metrics[network][metric]) for network in networks]
        about = [entry.images, entry.scale, entry.labels]
        table.add_row([f'{entry.name}{table_of}', *about, *values])
    for name, of_networks in results.means(metric).items():
        count = sum(name in ('all', entry.group) for entry in results.sets)
        values = [_percent(of_networks[network]) for network in networks]
        table.add_row([f'mean of {name} ({count} sets)', '', '', '', *values])
    for name in results.broken:
        table.add_row([name, '', '', '', *('broken' for _ in networks)])
    return table


def write_results(args, results):
    """Write the files that the options of tools/test.py name."""
    if args.csv:
        write_csv(args.csv, results)
    if args.json:
        write_json(args.json, results)
    for entry in results.sets if args.reliability else ():
        for network, bins in entry.reliability.items():
            path = osp.join(args.reliability, f'{file_part(entry.name)}_{network}.png')
            write_image(as_image(draw_reliability(bins, f'{entry.name}, {network}')), path)


def write_json(path, results):
    """Write everything as JSON: metrics in [0, 1], null where there is nothing to count."""
    content = dict(
        checkpoint=results.checkpoint, iteration=results.iteration, git=results.git,
        mode=results.mode, networks=results.networks,
        sets={entry.name: _as_dict(entry) for entry in results.sets},
        means=results.means(), absent=results.absent, broken=results.broken,
    )  # fmt: skip
    write_text(path, json.dumps(_without_nan(content), indent=1, allow_nan=False) + '\n')


def write_csv(path, results):
    """Write a line per data set and network, metrics in percent."""
    keys = dict.fromkeys(
        key for entry in results.sets for found in entry.metrics.values() for key in found
    )
    about = ('scale', 'images', 'labels', 'label_table')
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    head = ['set', 'network', *keys, *about, 'mode', 'checkpoint', 'iteration', 'git']
    writer.writerow(head)
    of_all = [results.mode, results.checkpoint, results.iteration, results.git]
    for entry in results.sets:
        for network, found in entry.metrics.items():
            values = [_percent(found.get(key)) for key in keys]
            own = [getattr(entry, key) for key in about]
            writer.writerow([entry.name, network, *values, *own, *of_all])
    for name, of_networks in results.means().items():
        for network, value in of_networks.items():
            values = [_percent(value if key == 'mIoU' else None) for key in keys]
            writer.writerow([f'mean of {name}', network, *values, *('' for _ in about), *of_all])
    write_text(path, text.getvalue())


def label_size(sizes):
    """Describe the (height, width) of labels: ``2048×1024``, or that there are several."""
    if len(sizes) == 1:
        ((height, width),) = sizes
        return f'{width}×{height}'
    return 'several sizes'


def _percent(value):
    return '' if value is None else f'{100 * value:.2f}'


def _as_dict(entry):
    found = {key: value for key, value in vars(entry).items() if key not in ('name', 'metrics')}
    return {key: value for key, value in found.items() if value is not None} | entry.metrics


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value
