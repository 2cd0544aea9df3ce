"""What can be wrong with the files of a data set, said so that the user can mend it.

Every problem is one line that names some of the files, their number and the mend.
"""

from dataclasses import dataclass, field

from mmseg.datasets.rare_class_sampling import pixels_of_share
from mmseg.datasets.readable import image_loader, range_hint
from mmseg.engine.config_checks.blame import blamed_on
from mmseg.engine.data_checks.class_index import (
    ClassSupply,
    class_supplies,
    index_problems,
    missing_supplies,
    read_index,
)
from mmseg.engine.data_checks.crops import too_large_crop
from mmseg.engine.data_checks.examined import examine, sample
from mmseg.engine.data_checks.files import list_files, unused_images
from mmseg.engine.data_checks.messages import a_few, convert_command, how_to_label, how_to_relabel
from mmseg.utils.user_error import UserError

# The share of labels from which on {0, 255} is no chance.
NEARLY_ALL = 0.9
LAST_LABEL_ID = 33  # of Cityscapes, whose ids GTA shares


@dataclass
class Report:
    """What was found in one data set.

    Attributes:
        place: In the config.
        num_images, num_examined: Listed, and decoded (with their labels).
        problems: One line each, the gravest first.
        unused: The line on images that the data set does not take, if there are any.
        supplies: What Rare Class Sampling has to draw from, where it is on and has an index.
        min_pixels: Of a class, with more of which an image supplies it; None without ``supplies``.
    """

    place: str
    num_images: int = 0
    num_examined: int = 0
    problems: list[str] = field(default_factory=list)
    unused: str | None = None
    supplies: list[ClassSupply] = field(default_factory=list)
    min_pixels: int | None = None


def check_dataset(use, full=False, nproc=1):
    """Check one data set of a config.

    Args:
        use (DatasetUse): The data set.
        full (bool): Decode all images and labels instead of a few.
        nproc (int): Processes that decode.

    Returns:
        Report: With all problems.
    """
    report = Report(use.place)
    try:
        listing = list_files(use.config, use.needs_labels, use.config_file)
    except UserError as error:
        report.problems.append(str(error))
        return report
    report.unused = unused_images(listing)
    dataset, pairs = listing.dataset, listing.pairs
    with blamed_on(f'{use.place}.pipeline'):
        load = image_loader(use.config['pipeline'])
    examined = examine(
        pairs if full else sample(pairs), dataset.img_dir, dataset.ann_dir, nproc, load
    )
    report.num_images, report.num_examined = len(pairs), len(examined)
    found = [
        *(_file_problems(listing, examined)),
        *(_label_problems(listing, examined, _valid_ids(use, dataset))),
        *(_id_map_problems(listing, examined)),
        *(_training_problems(use, listing, examined)),
    ]
    report.problems += [problem for problem in found if problem is not None]
    if use.rare_class_sampling is not None:
        _check_class_index(use, listing, examined, report)
    return report


def _file_problems(listing, examined):
    dataset = listing.dataset
    if listing.unlabelled:
        yield (
            f'{dataset.ann_dir} lacks the labels of {len(listing.unlabelled)} of '
            f'{len(listing.pairs)} images: {a_few(listing.unlabelled)}. '
            f'{how_to_label(listing.origin, listing.is_converted)}'
        )
    broken = [f'{e.image} ({e.image_error})' for e in examined if e.image_error]
    if broken:
        yield (
            f'{dataset.img_dir}: {len(broken)} of {len(examined)} images read cannot be decoded: '
            f'{a_few(broken)}. Get them again from the data set.'
        )
    dark = [e for e in examined if e.unused_range is not None]
    if len(dark) > len(examined) / 2:  # a few may be night
        largest = max(e.unused_range for e in dark)
        yield (
            f'{dataset.img_dir}: {len(dark)} of {len(examined)} images read hold 16 bits per '
            f'channel, but no value above {largest}: {range_hint(largest)}.'
        )
    broken = [f'{e.label} ({e.label_error})' for e in examined if e.label_error]
    if broken:
        yield (
            f'{dataset.ann_dir}: {len(broken)} of {len(examined)} labels read cannot be decoded: '
            f'{a_few(broken)}. {_relabel(listing)}'
        )
    differ = [
        f'{e.label} (image {e.image_size[0]}×{e.image_size[1]}, '
        f'label {e.label_size[0]}×{e.label_size[1]})'
        for e in examined
        if e.image_size and e.label_size and e.image_size != e.label_size
    ]
    if differ:
        yield (
            f'{dataset.ann_dir}: {len(differ)} of {len(examined)} labels read differ in size from '
            f'their images: {a_few(differ)}. Make them of one size, or remove both.'
        )


def _label_problems(listing, examined, valid):
    labels = [e for e in examined if e.pixels]
    ann_dir = listing.dataset.ann_dir
    ignored = listing.dataset.ignore_index
    wrong = {e.label: set(e.pixels) - valid for e in labels if set(e.pixels) - valid}
    if wrong:
        ids = sorted(set().union(*wrong.values()))
        files = a_few([f'{name} ({a_few(sorted(bad))})' for name, bad in wrong.items()])
        looks = ''
        if ids[-1] <= LAST_LABEL_ID:
            looks = ' They look like label ids instead of train ids.'
        yield (
            f'{ann_dir}: {len(wrong)} of {len(labels)} labels read hold ids that are neither '
            f'0..{max(valid - {ignored})} nor {ignored}: {files}.{looks} {_relabel(listing)}'
        )
    masks = [e.label for e in labels if set(e.pixels) <= {0, 255}]
    both = set().union(*(e.pixels for e in labels if e.label in masks)) == {0, 255}
    if both and len(masks) >= NEARLY_ALL * len(labels):
        yield (
            f'{ann_dir}: {len(masks)} of {len(labels)} labels read hold nothing but 0 and 255: '
            f'{a_few(masks)}. They look like binary masks, but 255 means "ignore" here: write '
            'the second class as 1.'
        )


def _id_map_problems(listing, examined):
    """Labels that were made before the config's classes or id map were changed."""
    id_map = getattr(listing.dataset, 'id_map', None)
    old = [e.label for e in examined if id_map is not None and e.pixels and e.id_map != id_map.text]
    if old:
        yield (
            f'{listing.dataset.ann_dir}: {len(old)} labels read were made with another id_map or '
            f'class list than {listing.origin.config_file} has: {a_few(old)}. '
            f'Make them again with: {convert_command(listing.origin)}'
        )


def _training_problems(use, listing, examined):
    if len(listing.pairs) < use.batch_size:
        yield (
            f'{listing.dataset.img_dir} holds {len(listing.pairs)} image(s), fewer than one batch: '
            f'add images or set data.samples_per_gpu={len(listing.pairs)} '
            f'(it is {use.batch_size}).'
        )
    sizes = sorted({e.image_size for e in examined if e.image_size})
    with blamed_on(f'{use.place}.pipeline'):
        crop = too_large_crop(use.place, use.config['pipeline'], sizes)
    yield crop


def _check_class_index(use, listing, examined, report):
    try:
        index = read_index(listing)
    except UserError as error:
        report.problems.append(str(error))
        return
    report.problems += index_problems(index, listing, examined)
    rcs, dataset = use.rare_class_sampling, listing.dataset
    labels = [info['ann']['seg_map'] for info in dataset.img_infos]
    try:
        report.min_pixels = pixels_of_share(rcs['min_pixels'], labels, dataset.ann_dir)
    except UserError as error:
        report.problems.append(str(error))
        return
    report.supplies = class_supplies(index, dataset, report.min_pixels, rcs['class_temp'])
    report.problems += missing_supplies(report.supplies, listing.origin.root, report.min_pixels)


def _valid_ids(use, dataset):
    """The ids that labels may hold on disk."""
    if dataset.label_map:  # a choice of the data set's classes, `classes=` in the config
        ids = set(dataset.label_map)
    else:
        ids = set(range(min(use.num_classes, len(dataset.CLASSES))))
    transforms = use.config['pipeline']
    if dataset.reduce_zero_label or any(t.get('reduce_zero_label') for t in transforms):
        ids.add(max(ids) + 1)
    return ids | {dataset.ignore_index}


def _relabel(listing):
    suffix = listing.dataset.seg_map_suffix
    return how_to_relabel(listing.origin, suffix, listing.is_converted)
