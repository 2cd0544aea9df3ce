"""Putting the page together: everything that the template shows, in one HTML file."""

import base64
import hashlib
import json
import math
import os
import os.path as osp
import time

import jinja2
from markupsafe import Markup, escape

from tools.reports import bars, classes, confusion, facts, pictures, settings, training
from tools.reports.records import mix_pictures, read_confusion, read_drawing, sample_pictures
from tools.reports.runs import ReportError

_FOLDER = osp.dirname(osp.abspath(__file__))
_MOST_SIDE_BY_SIDE = 4


def page_of(runs):
    """The report as HTML: of the first run, the others beside it.

    Args:
        runs (list[Run]): At least one.

    Raises:
        ReportError: A file that a run left cannot be read.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['number'] = _number
    environment.filters['signed'] = _signed
    environment.filters['breakable'] = _breakable
    script = _source('page.js')
    return environment.get_template('page.html.j2').render(
        runs=runs,
        subject=runs[0],
        facts=facts,
        written=time.strftime('%Y-%m-%d %H:%M'),
        style=Markup(_source('page.css')),
        script=Markup(script),
        # Nothing is loaded from anywhere, and no other script runs, whatever a log line holds.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **_curves(runs),
        **_classes(runs),
        **_records(runs),
        differences=settings.differences(runs) if len(runs) > 1 else [],
        config=json.dumps(runs[0].config, indent=2, ensure_ascii=False),
    )


def write_page(path, page):
    """Write the page whole or not at all. (mmseg's write_text would cost seconds of imports.)"""
    beside = osp.join(osp.dirname(path), f'.{osp.basename(path)}.part')
    try:
        os.makedirs(osp.dirname(path) or '.', exist_ok=True)
        with open(beside, 'w', encoding='utf-8') as file:
            file.write(page)
        os.replace(beside, path)
    except OSError as error:
        if osp.isfile(beside):
            os.remove(beside)
        raise ReportError(f'{path} cannot be written ({error}). Choose another --out.') from error


def _curves(runs):
    return dict(
        miou=training.miou_chart(runs, classes.reference_of(runs)),
        losses=training.loss_charts(runs),
        learning_rate=training.learning_rate_chart(runs),
        pseudo_weight=training.pseudo_weight_chart(runs),
        with_uda=any(run.is_uda for run in runs),
    )


def _classes(runs):
    comparison = classes.compare(runs)
    palette = runs[0].palette
    return dict(
        comparison=comparison,
        iou_bars=bars.iou_bars(comparison, palette) if comparison else None,
        colors={name: bars.css_color(rgb) for name, rgb in palette.items()},
    )


def _records(runs):
    """What the subject's folder holds beside its logs, and other runs' predictions."""
    subject = runs[0]
    matrix = read_confusion(subject.work_dir)
    drawing = read_drawing(subject.work_dir)
    samples = sample_pictures(subject.work_dir)
    iteration, sample_strips = pictures.last_samples(samples)
    development_at, development = pictures.development(samples)
    mixes, mixes_left_out = pictures.mixes(mix_pictures(subject.work_dir))
    return dict(
        heat_map=confusion.heat_map(matrix) if matrix else None,
        top_confusions=confusion.top_confusions(matrix) if matrix else [],
        drawing=drawing,
        drawing_bars=bars.drawing_bars(drawing, subject.palette) if drawing else None,
        with_sampling=bool(_training_data(subject).get('rare_class_sampling')),
        sample_iteration=iteration,
        sample_strips=sample_strips,
        development_at=development_at,
        development=development,
        **_side_by_side(runs, samples),
        mixes=mixes,
        mixes_left_out=mixes_left_out,
    )


def _training_data(run):
    train = run.config.get('data', {}).get('train')
    return train if isinstance(train, dict) else {}


def _side_by_side(runs, samples):
    """Predictions of the runs that are tested on the same images."""
    if not samples:
        return dict(compared=[], side_by_side=[])
    found = [(runs[0], samples)]
    for run in runs[1:]:
        other = sample_pictures(run.work_dir) if _tested_on(run) == _tested_on(runs[0]) else {}
        if other and len(found) < _MOST_SIDE_BY_SIDE:
            found.append((run, other))
    if len(found) == 1:
        return dict(compared=[], side_by_side=[])
    compared, samples_of_runs = zip(*found, strict=True)
    return dict(
        compared=[(runs.index(run), run) for run in compared],
        side_by_side=pictures.side_by_side(samples_of_runs),
    )


def _tested_on(run):
    val = run.config.get('data', {}).get('val') or {}
    return [val.get(key) for key in ('type', 'data_root', 'img_dir', 'split')]


def _source(name):
    with open(osp.join(_FOLDER, name), encoding='utf-8') as file:
        return file.read()


def _number(value, digits=1):
    """A dash for what is not known."""
    return '–' if value is None or not math.isfinite(value) else f'{value:.{digits}f}'


def _signed(value):
    if value is None or not math.isfinite(value):
        return '–'
    return f'{value:+.1f}'.replace('-', '−')


def _breakable(text):
    """Paths and dotted keys may go on in the next line after each slash, point and underscore."""
    for sign in '/._':
        text = escape(text).replace(sign, Markup(f'{sign}<wbr>'))
    return text
