"""The whole method in minutes: ``python -m demo.street_scenes`` (``make demo``).

Draws StreetScenes, converts it as the real data sets are, trains source-only and, from its
weights, DAFormer-UDA, tests both on the target and compares them in a table and a picture. Every
step that is finished already is skipped, so an interrupted demo goes on.
"""

import argparse
import os.path as osp
import sys
import time

sys.path.insert(0, osp.dirname(osp.dirname(osp.abspath(__file__))))

import tools.openmp  # noqa: F401

import numpy as np
from prettytable import PrettyTable

import run_experiments
from demo.comparison import draw_comparison
from mmseg.datasets import CityscapesDataset
from mmseg.utils.files import write_text
from tools import make_street_scenes, test
from tools.convert_datasets import cityscapes, gta

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
DATA = osp.join('data', 'street_scenes')
METHODS = {'source-only': 'source_only_mitb0', 'DAFormer': 'uda_mitb0'}


def parse_args(argv):
    parser = argparse.ArgumentParser(
        prog='python -m demo.street_scenes',
        description='Draw scenes, train source-only and DAFormer-UDA, test and compare both.',
        epilog='example: python -m demo.street_scenes --seeds 0 1 2',
    )
    parser.add_argument(
        '--seeds', type=int, nargs='+', default=[0], help='one run of each per seed'
    )
    parser.add_argument('--out', default='demo_output', help='folder of the runs and the picture')
    parser.add_argument('--device', help='cuda, cuda:N or cpu (default: a GPU if there is one)')
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE',
        help='replace entries of both configs, e.g. runner.max_iters=100',
    )  # fmt: skip
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
    picture = draw_comparison(
        osp.join(args.out, 'comparison.png'),
        DATA,
        {method: osp.join(_run_dir(method, args.seeds[0], args), 'preds') for method in METHODS},
    )
    _say(f'Picture: {picture}   (took {(time.monotonic() - began) / 60:.1f} minutes)')
    return {method: float(np.mean([run['mIoU'] for run in runs])) for method, runs in ious.items()}


def _say(text):
    print(f'\n=== {text}', flush=True)


def _run_dir(method, seed, args):
    return osp.join(args.out, f'{METHODS[method]}_s{seed}')


def _train_and_test(method, seed, args):
    """Train and test one run; returns its metrics in percent."""
    run_dir = _run_dir(method, seed, args)
    device = ['--device', args.device] if args.device else []
    _say(f'Training {method}, seed {seed}')
    config = osp.join(ROOT, 'configs', 'street_scenes', f'{METHODS[method]}.py')
    options = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
    if method == 'DAFormer':
        # In place of ImageNet weights: a teacher must know something to label the target.
        source_only = osp.join(_run_dir('source-only', seed, args), 'latest.pth')
        options = ['--load-from', source_only, *options]
    run_experiments.main(
        ['--config', config, '--work-dir', run_dir, '--seed', str(seed), *device, *options]
    )
    _say(f'Testing {method}, seed {seed}')
    found = test.main(
        [run_dir, osp.join(run_dir, 'latest.pth'),
         '--show-dir', osp.join(run_dir, 'preds'), *device]
    )  # fmt: skip
    return {name: 100 * value for name, value in found.items()}


def comparison_table(ious):
    """A table of IoU per class, the methods side by side.

    Args:
        ious (dict[str, list[dict]]): Per method the metrics of each seed, in percent.

    Returns:
        PrettyTable: Means over seeds; the last row is mIoU with its standard deviation.
    """
    methods = list(ious)
    table = PrettyTable(['class', *methods, 'gain'])
    table.align = 'r'
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


if __name__ == '__main__':
    main()
