"""Own data sets, as a config describes them: own labels -> train-id PNGs and the class index.

Every labelled OwnDataset of the config with an ``id_map`` is converted: ids or colours become
positions in the config's class list, all others 255 (ignored). The class index is made of the
source. Train ids go beside the labels, or where ``train_ids_dir`` says; the class index into
``data_root``. Labels that are there already are kept, unless the config's id map or class list is
another.
"""

import argparse
import sys
from collections import Counter
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import tools.openmp  # noqa: F401

from prettytable import PrettyTable

from tools.convert_datasets.class_index import write_class_index
from tools.convert_datasets.own_labels import OwnLabels, count_train_ids
from tools.convert_datasets.train_ids import LabelError, UnwritableError, for_all
from tools.exit_with import exit_with

MOST_SHOWN = 12  # ids that the map does not know


def parse_args(argv):
    parser = argparse.ArgumentParser(
        description='Make train ids and the class index of the own data sets of a config.',
        epilog='example: python tools/convert_datasets/custom.py configs/own_data/uda_mitb5.py',
    )
    parser.add_argument('config', help='a Python or JSON config file')
    parser.add_argument('--nproc', type=int, default=4, help='number of processes (default: 4)')
    parser.add_argument(
        '--cfg-options', nargs='+', metavar='KEY=VALUE', help='replace entries of the config'
    )
    args = parser.parse_args(argv)
    if args.nproc < 1:
        parser.error('--nproc must be at least 1')
    return args


def main(argv=None) -> None:
    args = parse_args(argv)
    # Importing mmseg takes seconds, which the processes that convert need not spend.
    from mmseg.engine.class_lists import data_sets
    from mmseg.engine.config import load_config, parse_options
    from mmseg.utils.user_error import UserError

    try:
        cfg = load_config(args.config, parse_options(args.cfg_options))
        own = {
            place: dataset
            for place, dataset in data_sets(cfg).items()
            if dataset['type'] == 'OwnDataset' and dataset.get('ann_dir') is not None
        }
        # What training reads of a target are its images alone.
        own.pop('data.train.target', None)
        if not own:
            raise UserError(f'config {args.config} has no OwnDataset with an ann_dir to convert.')
        done = []
        for place, dataset in own.items():
            if dataset not in done:  # val and test are often the same
                convert(place, dataset, args)
                done.append(dataset)
    except (UserError, LabelError) as error:
        exit_with(error)
    except UnwritableError as error:
        exit_with(
            error,
            f'. In {args.config} let data_root of {place} name a folder that can be '
            'written, with absolute paths as img_dir and ann_dir, and train_ids_dir a folder below '
            'it for the train ids (only with an id_map).',
        )


def convert(place: str, config: dict, args) -> None:
    """Converts the data set that stands at ``place`` in the config and says what was found."""
    from mmseg.engine.checks.data import list_files

    dataset = list_files(config, needs_labels=False, config_file=args.config).dataset
    labels = _own_labels(place, dataset)
    print(f'{place}: {len(labels)} labels in {dataset.own_ann_dir}')
    if dataset.id_map is None:
        count = partial(count_train_ids, num_classes=len(dataset.CLASSES))
        counts, unknown = for_all(count, labels, args.nproc), []
    else:
        for name in dataset.id_map.unused:
            print(f'Warning: id_map of {place} maps nothing onto {name!r}: it has no pixel there.')
        job = _job(dataset)
        images = [Path(dataset.img_dir, info['filename']) for info in dataset.img_infos]
        pairs = list(zip(labels, images, strict=True))
        counts, unknown = zip(*for_all(job.convert, pairs, args.nproc), strict=True)
    _report(dataset, counts, unknown)
    if place.startswith('data.train'):
        _write_index(dataset, counts)


def _own_labels(place, dataset):
    """The label of every image, as the user has it."""
    from mmseg.engine.checks.data import a_few
    from mmseg.utils.user_error import UserError

    names = [dataset.own_label(info['ann']['seg_map']) for info in dataset.img_infos]
    labels = [Path(dataset.own_ann_dir, name) for name in names]
    missing = [name for name, label in zip(names, labels, strict=True) if not label.is_file()]
    if missing:
        raise UserError(
            f'{place}: {dataset.own_ann_dir} lacks the labels of {len(missing)} of {len(names)} '
            f'images: {a_few(missing)}. Correct ann_dir or seg_map_suffix, add them, or take '
            'their images away.'
        )
    return labels


def _job(dataset):
    from mmseg.datasets.id_map import PNG_KEYWORD

    return OwnLabels(
        train_ids=dataset.id_map.train_ids,
        of_colors=dataset.id_map.of_colors,
        text=dataset.id_map.text,
        keyword=PNG_KEYWORD,
        label_dir=Path(dataset.own_ann_dir),
        suffix=dataset.own_suffix,
        train_ids_dir=Path(dataset.ann_dir),
        train_ids_suffix=dataset.seg_map_suffix,
    )


def _report(dataset, counts, unknown):
    """Prints the share of each class, and what the id map does not know."""
    pixels, images = Counter(), Counter()
    for count in counts:
        pixels.update(count)
        images.update(count.keys())
    total = max(pixels.total(), 1)
    table = _table('class', 'train id', 'share of labelled pixels', 'labels that have it')
    for train_id, name in enumerate(dataset.CLASSES):
        table.add_row([name, train_id, f'{pixels[train_id] / total:.2%}', images[train_id]])
    print(table)

    pixels, images = Counter(), Counter()
    for count in unknown:
        pixels.update(count)
        images.update(count.keys())
    if pixels:
        what = 'colours' if dataset.id_map.of_colors else 'ids'
        print(f'These {what} are not in id_map and were written as 255, which is ignored:')
        table = _table(what.removesuffix('s'), 'pixels', 'labels that have it')
        for name, count in pixels.most_common(MOST_SHOWN):
            table.add_row([name, count, images[name]])
        print(table)
        if len(pixels) > MOST_SHOWN:
            print(f'and {len(pixels) - MOST_SHOWN} more {what}.')


def _table(*titles):
    table = PrettyTable(titles)
    table.align = 'r'
    table.align[titles[0]] = 'l'
    return table


def _write_index(dataset, counts):
    root = Path(dataset.data_root)
    labels = [Path(dataset.ann_dir, info['ann']['seg_map']) for info in dataset.img_infos]
    write_class_index(root, labels, counts, dataset.ann_dir)
    print(f'Class index: {root}/sample_class_stats.json and two files beside it')


if __name__ == '__main__':
    main()
