"""Own data sets, as a config describes them: own labels -> train-id PNGs and the class index.

Ids or colours become positions in the config's class list, all others 255 (ignored). Each PNG
keeps, as text, the map it was made with and the pixels that the map does not know: it is made again
if the config's map or class list has changed.
"""

import argparse
import io
import json
import sys
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import tools.openmp  # noqa: F401

import numpy as np
from PIL.PngImagePlugin import PngInfo, putchunk
from prettytable import PrettyTable

from tools.command_line import exit_with
from tools.convert_datasets import train_ids as files
from tools.convert_datasets.train_ids import IGNORE_INDEX, LabelError, opened

UNKNOWN_KEYWORD = 'unknown_ids'
MOST_UNKNOWN = 50  # of one label
MOST_SHOWN = 12
GREY_MODES = ('1', 'L', 'LA', 'I', 'I;16', 'I;16B')  # of Pillow
PALETTE_MODES = ('P', 'PA')
_AFTER_HEADER = 8 + 25  # of a PNG: its signature and IHDR, of 13 bytes in 12


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(
        description='Make train ids and the class index of the own data sets of a config.',
        epilog='example: python tools/convert_datasets/custom.py configs/own_data/uda_mitb5.py',
    )
    parser.add_argument('config', help='a Python or JSON config file')
    parser.add_argument(
        '--cfg-options', nargs='+', metavar='KEY=VALUE', help='replace entries of the config'
    )
    args = files.parse_args(parser, argv)
    # The processes that convert need not import mmseg.
    from mmseg.datasets.target_sets import without_options
    from mmseg.engine.config import load_config, parse_options
    from mmseg.engine.data_sets import data_sets, is_target
    from mmseg.utils.user_error import UserError

    try:
        found = data_sets(load_config(args.config, parse_options(args.cfg_options)))
        done, of_folders = [], {}
        for place, config in found.items():
            if is_target(place):
                if not config.get('labelled'):
                    continue  # its labels are not read
                config = without_options(config)
            is_own = config['type'] == 'OwnDataset' and config.get('ann_dir') is not None
            if is_own and config not in done:  # val and test are often the same
                folder = config.get('train_ids_dir') or config['ann_dir']
                other = of_folders.setdefault((config.get('data_root'), folder), config)
                if other.get('id_map') != config.get('id_map'):
                    raise UserError(
                        f'{place} and another data set map the labels of {folder} in two ways: '
                        'state a train_ids_dir of its own for one of them'
                    )
                convert(place, config, args)
                done.append(config)
        if not done:
            raise UserError(f'config {args.config} has no OwnDataset with an ann_dir to convert.')
    except (UserError, LabelError) as error:
        exit_with(error)
    except OSError as error:
        exit_with(
            error,
            f'. In {args.config} let data_root name a folder that can be written, with absolute '
            'img_dir and ann_dir, and train_ids_dir one below it (only with an id_map).',
        )


def convert(place: str, config: dict, args: argparse.Namespace) -> None:
    """Convert the data set that stands at ``place`` in the config and print what was found."""
    from mmseg.datasets.archives import is_archived, unpacked
    from mmseg.datasets.id_map import PNG_KEYWORD
    from mmseg.engine.checks.data import list_files
    from mmseg.engine.data_sets import is_target

    dataset = list_files(config, needs_labels=False, config_file=args.config).dataset
    if is_archived(dataset.own_ann_dir):
        print(
            f'{place}: {dataset.own_ann_dir} needs no conversion. Where it is a source, run: '
            f'python tools/convert_datasets/class_index.py {args.config}'
        )
        return
    names = [info['ann']['seg_map'] for info in dataset.img_infos]
    train_ids = [Path(dataset.ann_dir, name) for name in names]
    labels = [Path(dataset.own_ann_dir, dataset.own_label(name)) for name in names]
    print(f'{place}: {len(labels)} labels in {dataset.own_ann_dir}')
    id_map, unknown = dataset.id_map, []
    if id_map is None:
        count = partial(count_train_ids, num_classes=len(dataset.CLASSES))
        counts = files.for_all(count, labels, args.nproc)
    else:
        job = OwnLabels(id_map.train_ids, id_map.of_colors, id_map.text, PNG_KEYWORD)
        pairs = list(zip(labels, train_ids, strict=True))
        counts, unknown = zip(*files.for_all(job.convert, pairs, args.nproc), strict=True)
    _print_counts(counts, unknown, dataset)
    if place.startswith('data.train') and not is_target(place):
        root = unpacked(dataset.data_root)
        files.write_class_index(Path(root), train_ids, counts, dataset.ann_dir)
        print(f'Class index: {root}/sample_class_stats.json and two files beside it')


def _print_counts(counts, unknown, dataset):
    pixels, labels, ignored = Counter(), Counter(), Counter()
    for count in counts:
        pixels.update(count)
        labels.update(count.keys())
    table = PrettyTable(['class', 'train id', 'ratio of labelled pixels', 'labels that have it'])
    for train_id, name in enumerate(dataset.CLASSES):
        ratio = pixels[train_id] / max(pixels.total(), 1)
        table.add_row([name, train_id, f'{ratio:.2%}', labels[train_id]])
    print(table)
    for count in unknown:
        ignored.update(count)
    if ignored:
        shown = ', '.join(f'{code}: {n} pixels' for code, n in ignored.most_common(MOST_SHOWN))
        print(f'Not in id_map, so 255 (ignored): {shown}')


@dataclass(frozen=True)
class OwnLabels:
    """How the labels of one data set become train ids. It travels to other processes."""

    train_ids: dict[int, int]  # of each id, or of each colour as 0xRRGGBB
    of_colors: bool
    text: str  # what train-id PNGs keep of the map
    keyword: str  # of that text

    def convert(self, pair: tuple[Path, Path]) -> tuple[dict[int, int], dict[str, int]]:
        """Write a label's train ids, unless an earlier run has; count classes and unknown codes."""
        label, destination = pair
        if destination.exists():
            with opened(destination) as image:
                texts, train_ids = image.info, np.asarray(image)
            if UNKNOWN_KEYWORD not in texts:
                raise LabelError(
                    f'{destination} stands where the train ids of {label.name} go: move it away'
                )
            if texts.get(self.keyword) == self.text and files.is_finished(label, destination):
                return files.count_classes(train_ids), json.loads(texts[UNKNOWN_KEYWORD])
        train_ids, unknown = self._mapped(self._codes(label))
        texts = {self.keyword: self.text, UNKNOWN_KEYWORD: json.dumps(unknown)}
        files.write_atomically(destination, with_texts(files.as_png(train_ids), texts))
        return files.count_classes(train_ids), unknown

    def _codes(self, label):
        """The id, or the colour as 0xRRGGBB, of each pixel: (H, W) of integers."""
        with opened(label) as image:
            if self.of_colors and image.mode not in (*GREY_MODES, 'F'):
                red, green, blue = np.moveaxis(np.asarray(image.convert('RGB'), np.int32), -1, 0)
                return red << 16 | green << 8 | blue
            if not self.of_colors and image.mode in (*GREY_MODES, *PALETTE_MODES, 'F'):
                ids = np.asarray(image)
                if (ids != np.floor(ids)).any():
                    raise LabelError(f'{label} holds fractions: write its ids as whole numbers')
                return (ids[..., 0] if ids.ndim == 3 else ids).astype(np.int64)
        kind = 'colours' if self.of_colors else 'ids'
        raise LabelError(
            f'{label}: id_map has {kind}, but the image is of mode {image.mode}. Grey images need '
            'ids (road=7), others colours (road=[[128, 64, 128]])'
        )

    def _mapped(self, codes):
        """Train ids, uint8, of (H, W) codes, and the pixels of each unknown one."""
        keys = np.array(sorted(self.train_ids), np.int32)
        values = np.array([self.train_ids[key] for key in keys.tolist()], np.uint8)
        place = np.searchsorted(keys, codes).clip(max=len(keys) - 1)
        is_known = keys[place] == codes
        strange, counts = np.unique(codes[~is_known], return_counts=True)
        unknown = {
            f'#{strange[i]:06x}' if self.of_colors else str(strange[i]): int(counts[i])
            for i in np.argsort(-counts, kind='stable')[:MOST_UNKNOWN]
        }
        return np.where(is_known, values[place], np.uint8(IGNORE_INDEX)), unknown


def count_train_ids(label: Path, num_classes: int) -> dict[int, int]:
    """Count the classes of a label that holds train ids already."""
    with opened(label) as image:
        ids = np.asarray(image)
    if ids.ndim != 2 or not np.isin(ids, [*range(num_classes), IGNORE_INDEX]).all():
        raise LabelError(f'{label}: not all is 0..{num_classes - 1} or 255. Give an id_map.')
    return files.count_classes(ids.astype(np.uint8))


def with_texts(png: bytes, texts: dict[str, str]) -> bytes:
    """Put texts by keyword into a PNG, which OpenCV cannot write."""
    info, chunks = PngInfo(), io.BytesIO()
    for keyword, text in texts.items():
        info.add_text(keyword, text)
    for kind, content, *_ in info.chunks:
        putchunk(chunks, kind, content)
    return png[:_AFTER_HEADER] + chunks.getvalue() + png[_AFTER_HEADER:]


if __name__ == '__main__':
    main()
