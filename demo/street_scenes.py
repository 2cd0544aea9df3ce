"""The whole method in minutes: ``python -m demo.street_scenes`` (``make demo``).

Finished steps are skipped, so an interrupted demo resumes.
"""

import argparse
import glob
import os.path as osp
import sys

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

import cv2
import numpy as np
from prettytable import PrettyTable

import run_experiments
from mmseg.datasets import CityscapesDataset
from mmseg.engine.predictions import write_image
from mmseg.utils.drawing import draw_panels, paint, with_legend
from mmseg.utils.files import write_text
from tools import make_street_scenes, test
from tools.convert_datasets import cityscapes, gta

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
DATA = osp.join('data', 'street_scenes')
ROWS = 4  # of the figure
METHODS = {'source-only': 'source_only_mitb0', 'DAFormer': 'uda_mitb0'}


def parse_args(argv):
    parser = argparse.ArgumentParser(
        prog='python -m demo.street_scenes',
        description='Draw scenes, train source-only and DAFormer, test and compare both.',
    )
    add = parser.add_argument
    add('--seeds', type=int, nargs='+', default=[0], help='one run of each method per seed')
    add('--out', default='demo_output', help='folder of the runs and the comparison')
    add('--device', help='cuda, cuda:N or cpu (default: a GPU if there is one)')
    add('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='for both configs')
    return parser.parse_args(argv)


def main(argv=None):
    """Run the demo; returns the mean mIoU of each method, in percent."""
    args = parse_args(argv)
    _say('Drawing the scenes')
    make_street_scenes.main([DATA])
    _say("Converting them with the real data sets' converters")
    gta.main([osp.join(DATA, 'gta')])
    cityscapes.main([osp.join(DATA, 'cityscapes')])
    ious = {}
    for method in METHODS:
        ious[method] = [_train_and_test(method, seed, args) for seed in args.seeds]
    table = comparison_table(ious)
    _say('IoU on the target (%), mean over seeds ' + ', '.join(map(str, args.seeds)))
    print(table)
    write_text(osp.join(args.out, 'comparison.txt'), f'{table}\n')
    figure = osp.join(args.out, 'comparison.png')
    folders = {method: osp.join(_run_dir(method, args.seeds[0], args), 'preds') for method in ious}
    draw_comparison(figure, DATA, folders)
    _say(f'Figure: {figure}')
    return {method: float(np.mean([run['mIoU'] for run in runs])) for method, runs in ious.items()}


def _say(text):
    print(f'\n=== {text}', flush=True)


def _run_dir(method, seed, args):
    return osp.join(args.out, f'{METHODS[method]}_s{seed}')


def _train_and_test(method, seed, args):
    """Train and test one run; returns its metrics in percent."""
    run_dir = _run_dir(method, seed, args)
    device = ['--device', args.device] if args.device else []
    options = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
    if method == 'DAFormer':
        # In place of ImageNet weights: a teacher must know something to label the target.
        source_only = osp.join(_run_dir('source-only', seed, args), 'latest.pth')
        options = ['--load-from', source_only, *options]
    _say(f'Training {method}, seed {seed}')
    config = osp.join(ROOT, 'configs', 'street_scenes', f'{METHODS[method]}.py')
    run_experiments.main(
        ['--config', config, '--work-dir', run_dir, '--seed', str(seed), *device, *options]
    )
    _say(f'Testing {method}, seed {seed}')
    checkpoint, shown = osp.join(run_dir, 'latest.pth'), osp.join(run_dir, 'preds')
    found = test.main([run_dir, checkpoint, '--show-dir', shown, *device])
    return {name: 100 * value for name, value in found.items()}


def comparison_table(ious):
    """Tabulate means over seeds of the metrics, and the standard deviation of the mIoU."""
    methods = list(ious)
    table = PrettyTable(['class', *methods, 'gain'], align='r')
    table.align['class'] = 'l'
    rows = [(f'IoU.{name}', name) for name in CityscapesDataset.CLASSES] + [('mIoU', 'mIoU')]
    for key, title in rows:
        means = [np.mean([run[key] for run in ious[method]]) for method in methods]
        cells = [f'{mean:.1f}' for mean in means]
        if key == 'mIoU' and len(ious[methods[0]]) > 1:
            spreads = [np.std([run[key] for run in ious[method]], ddof=1) for method in methods]
            cells = [f'{cell} ± {spread:.1f}' for cell, spread in zip(cells, spreads, strict=True)]
        table.add_row([title, *cells, f'{means[-1] - means[0]:+.1f}'], divider=title == 'bicycle')
    return table


def draw_comparison(path, data, predictions):
    """Draw a few target validation images with their ground truth and predictions by method."""
    sources = sorted(glob.glob(osp.join(data, 'gta', 'images', '*.png')))
    shown, rows = _most_varied(data), []
    for source, (name, label) in zip(sources, shown, strict=False):
        target = osp.join(data, 'cityscapes', 'leftImg8bit', 'val', name)
        rows.append([
            ('Source image (labelled)', cv2.imread(source)),
            ('Target image (no labels)', cv2.imread(target)),
            ('Ground truth', paint(label, CityscapesDataset.PALETTE)),
            *((method, cv2.imread(osp.join(predictions[method], name))) for method in predictions),
        ])  # fmt: skip
    labels = np.concatenate([label for _, label in shown])
    classes, palette = CityscapesDataset.CLASSES, CityscapesDataset.PALETTE
    write_image(with_legend(draw_panels(rows, 256), labels, classes, palette, True), path)


def _most_varied(data):
    """The validation images with the most classes: (name below the image folder, train ids)."""
    labels = osp.join(data, 'cityscapes', 'gtFine', 'val')
    found = []
    for path in sorted(glob.glob(osp.join(labels, '*', '*_gtFine_labelTrainIds.png'))):
        label = cv2.imread(path, cv2.IMREAD_UNCHANGED)
        name = osp.relpath(path, labels).replace('_gtFine_labelTrainIds', '_leftImg8bit')
        found.append((name, label))
    return sorted(found, key=lambda entry: -len(np.unique(entry[1])))[:ROWS]


if __name__ == '__main__':
    main()
