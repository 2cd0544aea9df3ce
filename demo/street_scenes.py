"""The whole method in minutes: ``python -m demo.street_scenes`` (``make demo``).

Draws StreetScenes, converts it as the real data sets are, trains source-only and, from its
weights, DAFormer, tests both on the target and compares them in a table and a figure. Finished
steps are skipped, so an interrupted demo resumes.
"""

import argparse
import glob
import os.path as osp
import sys
import time

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

import matplotlib

matplotlib.use('Agg')

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch
from PIL import Image
from prettytable import PrettyTable

import run_experiments
from mmseg.datasets import CityscapesDataset
from mmseg.utils.drawing import color_label
from mmseg.utils.files import moved_into_place, write_text
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
        epilog='example: python -m demo.street_scenes --seeds 0 1 2',
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
    began = time.monotonic()
    _say('Drawing the scenes')
    make_street_scenes.main([DATA])
    _say("Converting them with the real data sets' converters")
    gta.main([osp.join(DATA, 'gta')])
    cityscapes.main([osp.join(DATA, 'cityscapes')])
    ious = {
        method: [_train_and_test(method, seed, args) for seed in args.seeds] for method in METHODS
    }
    table = comparison_table(ious)
    _say('IoU on the target (%), mean over seeds ' + ', '.join(map(str, args.seeds)))
    print(table)
    write_text(osp.join(args.out, 'comparison.txt'), f'{table}\n')
    figure = osp.join(args.out, 'comparison.png')
    folders = {method: osp.join(_run_dir(method, args.seeds[0], args), 'preds') for method in ious}
    draw_comparison(figure, DATA, folders)
    _say(f'Figure: {figure}   (took {(time.monotonic() - began) / 60:.1f} minutes)')
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
    """Tabulate IoU per class and mIoU with its standard deviation, means over seeds.

    Args:
        ious (dict[str, list[dict]]): Per method the metrics of each seed, in percent.
    """
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
    """Draw a few target validation images with their ground truth and predictions.

    Args:
        path (str): Where to write the figure.
        data (str): Root of StreetScenes.
        predictions (dict[str, str]): Per method the folder of its coloured predictions.
    """
    sources = sorted(glob.glob(osp.join(data, 'gta', 'images', '*.png')))
    titles = ['Source image (labelled)', 'Target image (no labels)', 'Ground truth', *predictions]
    figure, axes = plt.subplots(ROWS, len(titles), figsize=(3.2 * len(titles), 1.62 * ROWS + 0.9))
    for row, (name, label) in enumerate(_most_varied(data)):
        images = [
            Image.open(sources[row]),
            Image.open(osp.join(data, 'cityscapes', 'leftImg8bit', 'val', name)),
            Image.fromarray(color_label(label, CityscapesDataset.PALETTE)),
            *(Image.open(osp.join(folder, name)) for folder in predictions.values()),
        ]
        for axis, title, image in zip(axes[row], titles, images, strict=True):
            axis.imshow(image.convert('RGB').resize(images[1].size))
            axis.axis('off')
            if row == 0:
                axis.set_title(title, fontsize=12)
    legend = [
        Patch(color=np.array(color) / 255, label=name)
        for name, color in zip(CityscapesDataset.CLASSES, CityscapesDataset.PALETTE, strict=True)
    ]
    figure.legend(handles=legend, loc='lower center', ncol=10, frameon=False, fontsize=9)
    figure.subplots_adjust(left=0.005, right=0.995, top=0.95, bottom=0.1, wspace=0.02, hspace=0.03)
    with moved_into_place(path) as file:
        figure.savefig(file, dpi=80, format='png')
    plt.close(figure)


def _most_varied(data):
    """The validation images with the most classes: (name below the image folder, train ids)."""
    labels = osp.join(data, 'cityscapes', 'gtFine', 'val')
    found = []
    for path in sorted(glob.glob(osp.join(labels, '*', '*_gtFine_labelTrainIds.png'))):
        label = np.array(Image.open(path))
        name = osp.relpath(path, labels).replace('_gtFine_labelTrainIds', '_leftImg8bit')
        found.append((name, label))
    return sorted(found, key=lambda entry: -len(np.unique(entry[1])))[:ROWS]


if __name__ == '__main__':
    main()
