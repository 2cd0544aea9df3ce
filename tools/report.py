"""A report of runs as one HTML page: ``python tools/report.py WORK_DIR``; see docs/report.md."""

import argparse
import base64
import io
import json
import math
import os.path as osp
import re
import sys
import time
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

import jinja2
from PIL import Image
from prettytable import PrettyTable

from daformer_runs.run_folder import find_work_dirs, sets_in
from daformer_runs.same_run import MISSING, differences, settings
from mmseg.engine.data_sets import labelled_sets, named
from mmseg.engine.logs import RARE_CLASS_FILE, evaluated_sets, metric_key
from mmseg.utils.drawing import draw_bars, draw_confusion, draw_sampling
from mmseg.utils.files import write_text
from mmseg.utils.user_error import UserError, reports_user_errors
from tools.analyze_logs import draw_curves
from tools.collect_results import read_results


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Write a report of a run as one HTML page. Further runs are compared with it.',
        epilog='example: python tools/report.py demo_output/uda_mitb0_s0 '
        'demo_output/source_only_mitb0_s0 --out comparison.html',
    )
    parser.add_argument(
        'work_dirs', nargs='+', metavar='WORK_DIR', help='folder of a run, or one with runs below'
    )
    parser.add_argument('--out', metavar='FILE', help='default: report.html in the first folder')
    return parser.parse_args(argv)


@reports_user_errors
def main(argv=None):
    """Write the page; returns its path."""
    args = parse_args(argv)
    path = args.out or osp.join(args.work_dirs[0], 'report.html')
    runs = load_runs(args.work_dirs)
    write_text(path, page_of(runs))
    print(f'Report of {", ".join(run.work_dir for run in runs)}: {path}')
    return path


def load_runs(folders):
    """Read the runs in and below folders, each once, in the order of the folders."""
    runs = {}
    for folder in folders:
        try:
            found = read_results(find_work_dirs([folder]))
        except ValueError as error:
            raise UserError(str(error)) from error
        if not found:
            raise UserError(f'{folder} holds no run that has begun. Give the folder of a run.')
        for run in found:
            runs.setdefault(osp.realpath(run.work_dir), run)
    return list(runs.values())


def page_of(runs):
    """The report of the first run, compared with the others, as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    subject, facts = runs[0], [_facts(run) for run in runs]
    return environment.get_template('report.html.j2').render(
        title=_title(subject),
        miou=_miou(subject),
        state=_state(subject),
        written=time.strftime('%Y-%m-%d %H:%M'),
        runs=_table_by_run({key: [column[key] for column in facts] for key in facts[0]}),
        curves=_curves(runs),
        is_uda=bool(subject.config.get('uda')),
        classes=_classes(runs),
        **_records(subject.work_dir),
        reliability=_reliability(subject.work_dir),
        samples=[_images(run.work_dir, 'evaluation', 4) for run in runs],
        mixes=_images(subject.work_dir, 'class_mix_debug', 2),
        settings=_settings_table(runs) if len(runs) > 1 else None,
        config=json.dumps(subject.config, indent=2, ensure_ascii=False),
    )


def _title(run):
    return f'{run.configuration}, seed {run.seed}'


def _miou(run):
    return f'{run.metrics["mIoU"]:.1f}' if 'mIoU' in run.metrics else '–'


def _state(run):
    return 'finished' if run.is_finished else f'iteration {run.reached:,} of {run.max_iters:,}'


def _facts(run):
    config, data, seconds = run.config, run.config['data'], run.log.seconds
    labelled = labelled_sets(data['train']).values()
    return {
        'configuration': run.configuration,
        'seed': run.seed,
        'mIoU (%)': _miou(run),
        'state': _state(run),
        'training time': timedelta(seconds=round(seconds)),
        'per iteration': f'{seconds / max(1, run.reached):.3g} s',
        'batch': f'{data["samples_per_gpu"]} × {config.get("n_gpus") or 1} devices',
        'labels for training': '; '.join(f'{s["type"]}, {s.get("data_root")}' for s in labelled),
        'tested on': '; '.join(
            f'{f"{name}: " if name else ""}{s["type"]}, {s.get("data_root")}'
            for name, s in named(data['val']).items()
        ),
        'method': config['uda']['type'] if config.get('uda') else 'supervised',
        'started from': config.get('load_from') or '–',
        'folder': run.work_dir,
    }


def _table_by_run(rows):
    columns = len(next(iter(rows.values()), ()))
    head = ['', *(f'run {i}' for i in range(1, columns + 1))]
    return _table(head, [[key, *values] for key, values in rows.items()])


def _table(head, rows):
    table = PrettyTable(head)
    table.add_rows(list(rows))
    return table.get_html_string()  # escapes


def _curves(runs):
    """Plots of logged values; None where nothing is logged yet."""
    logs = {f'{i}: {_title(run)}': run.log for i, run in enumerate(runs, 1)}
    keys = list(dict.fromkeys(key for run in runs for key in run.log.keys()))  # noqa: SIM118
    mious = ['mIoU', *(f'{name}/mIoU' for name in sets_in(keys))]
    plots = dict(miou=mious, losses=[*losses_of(keys), 'lr'], pseudo=['pseudo_label_weight'])
    return {
        name: _svg(draw_curves(logs, wanted)) if set(wanted) & set(keys) else None
        for name, wanted in plots.items()
    }


def losses_of(keys):
    """Return the losses among what is logged: not their sum, and no norms of their gradients."""
    return [key for key in keys if 'loss' in key and '.grad.' not in key and key != 'loss']


def _classes(runs):
    """Bars and table of the IoU per class of each validation set, by its name, '' of the only one.

    With the differences to the last run.
    """
    tested = {f'run {i}': run.metrics for i, run in enumerate(runs, 1) if run.metrics}
    if not tested:
        return {}
    names = sets_in(runs[0].metrics or next(reversed(tested.values())))
    return {name: _classes_of(name, tested) for name in names or ['']}


def _classes_of(name, tested):
    *_, reference = tested.values()
    prefix, mean = metric_key(name, 'IoU.'), metric_key(name, 'mIoU')
    first = next((metrics for metrics in tested.values() if mean in metrics), reference)
    keys = [key for key in first if key.startswith(prefix)]
    rows = []
    for key in [*keys, mean]:
        row = [key.removeprefix(prefix).removeprefix(f'{name}/')]
        for metrics in tested.values():
            value = metrics.get(key, math.nan)
            gain = '' if metrics is reference else f' ({value - reference.get(key, math.nan):+.1f})'
            row.append('–' if math.isnan(value) else f'{value:.1f}{gain}')
        rows.append(row)
    series = {
        name: [metrics.get(key, math.nan) for key in keys] for name, metrics in tested.items()
    }
    bars = draw_bars([row[0] for row in rows[:-1]], series, 'IoU (%)')
    return dict(bars=_svg(bars), table=_table(['class', *tested], rows))


def _records(work_dir):
    """Plots of what a run recorded of its last evaluation and of Rare Class Sampling."""
    plots = dict(confusion={}, sampling=None, sources=None)
    for path in sorted(Path(work_dir, 'evaluation').glob('iter_*[0-9].json'))[-1:]:
        for name, found in evaluated_sets(json.loads(path.read_text(encoding='utf-8'))).items():
            plots['confusion'][name] = _svg(draw_confusion(found['confusion'], found['classes']))
    drawn = Path(work_dir, RARE_CLASS_FILE)
    if drawn.is_file():
        found = json.loads(drawn.read_text(encoding='utf-8'))
        plots['sampling'] = _svg(draw_sampling(found))
        if 'sources' in found:
            plots['sources'] = _sources_table(found['sources'])
    return plots


def _sources_table(sources):
    images, drawn = (sum(source[key] for source in sources) for key in ('images', 'drawn'))
    rows = [
        [s['name'], s['images'], f'{s["images"] / images:.1%}', s['drawn'],
         f'{s["drawn"] / drawn:.1%}']
        for s in sources
    ]  # fmt: skip
    return _table(['source', 'images', 'of all images', 'samples drawn', 'of all samples'], rows)


def _images(work_dir, folder, count):
    """Images of the first and the last iteration that has any, by iteration.

    ``count`` of them, of each data set where several have names.
    """
    found = {}
    for path in sorted(Path(work_dir, folder).glob('*.png')):
        match = re.fullmatch(r'(?:iter_)?(\d+)_(?:(.+)_)?\d+\.png', path.name)
        if match:
            found.setdefault(int(match[1]), {}).setdefault(match[2], []).append(path)
    shown = sorted({min(found), max(found)}) if found else []
    return {
        iteration: [_jpeg(path) for paths in found[iteration].values() for path in paths[:count]]
        for iteration in shown
    }


def _reliability(work_dir):
    """The diagrams that ``tools/test.py --reliability WORK_DIR/reliability`` has drawn, by name."""
    return {path.stem: _jpeg(path) for path in sorted(Path(work_dir, 'reliability').glob('*.png'))}


def _jpeg(path):
    """The data URL of an image."""
    try:
        with Image.open(path) as file:
            image = file.convert('RGB')
    except (OSError, SyntaxError) as error:  # SyntaxError: of a broken PNG
        raise UserError(f'{path} cannot be read ({error}): remove it.') from error
    image.thumbnail((1400, 1400))
    file = io.BytesIO()
    # Without subsampling the edges of labels keep their colours.
    image.save(file, 'JPEG', quality=85, subsampling=0)
    return _data_url('jpeg', file)


def _svg(figure):
    """The data URL of a matplotlib figure."""
    file = io.BytesIO()
    figure.savefig(file, format='svg')
    return _data_url('svg+xml', file)


def _data_url(kind, file):
    return f'data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}'


def _settings_table(runs):
    """What differs between the configs of runs, without what cannot change results."""
    found = differences(*({'seed': run.seed, **settings(run.config)} for run in runs))
    return _table_by_run(
        {
            key: ['–' if value is MISSING else json.dumps(value)[:300] for value in values]
            for key, values in found.items()
        }
    )


if __name__ == '__main__':
    main()
