"""Class index of a config's labelled training set whose labels are read as they are delivered."""

import argparse
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import tools.openmp  # noqa: F401

from mmseg.datasets.archives import unpacked
from mmseg.engine.checks.data import file_of, list_files
from mmseg.engine.config import load_config, parse_options
from mmseg.engine.data_sets import class_of, labelled_sets
from mmseg.utils.user_error import UserError, reports_user_errors
from tools.convert_datasets import train_ids


def count_label(name: str, folder: str, load) -> dict[int, int]:
    """Count the pixels of each class of one label, as it is loaded."""
    label = load(dict(seg_prefix=folder, ann_info=dict(seg_map=name), seg_fields=[]))
    return train_ids.count_classes(label['gt_semantic_seg'])


@reports_user_errors
def main(argv=None) -> None:
    parser = argparse.ArgumentParser(
        description='Write the class index, which Rare Class Sampling needs, of each source of a '
        'config, or of its only training set, into its data_root.'
    )
    parser.add_argument('config', help='a Python or JSON config file')
    parser.add_argument(
        '--cfg-options', nargs='+', metavar='KEY=VALUE', help='replace entries of the config'
    )
    args = train_ids.parse_args(parser, argv)
    cfg = load_config(args.config, parse_options(args.cfg_options))
    of_roots = {}
    for config in labelled_sets(cfg.data.train).values():
        if class_of(config).CLASSES is not None:
            # The index is of all classes, whichever of them a config chooses.
            config = {key: v for key, v in config.items() if key not in ('classes', 'palette')}
        listing = list_files(config, True, file_of(cfg))
        of_roots.setdefault(listing.dataset.data_root or '', []).append(listing)
    for root, listings in of_roots.items():
        write_index(root, listings, args.nproc)


def write_index(root: str, listings: list, nproc: int) -> None:
    """Write the class index of the listed files of all data sets below ``data_root``."""
    counts = {}
    for listing in listings:
        dataset, missing = listing.dataset, listing.unlabelled
        if missing:
            raise UserError(f'{dataset.ann_dir} lacks {len(missing)} label(s), e.g. {missing[0]}.')
        names = [info['ann']['seg_map'] for info in dataset.img_infos]
        count = partial(count_label, folder=dataset.ann_dir, load=dataset.gt_seg_map_loader)
        folder = Path(unpacked(dataset.ann_dir))
        labels = [folder / name for name in names]
        counts |= zip(labels, train_ids.for_all(count, names, nproc), strict=True)
    root = Path(unpacked(root))
    try:
        train_ids.write_class_index(root, [*counts], [*counts.values()], folder)
    except OSError as error:
        raise UserError(
            f'{error}. Let data_root name a folder that can be written, with img_dir and ann_dir '
            'as absolute paths.'
        ) from error
    print(f'{root}: class index of {len(counts)} labels')


if __name__ == '__main__':
    main()
