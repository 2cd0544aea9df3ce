"""The data sets of a target: its images alone, and those of them that have labels, if a few do."""

import os.path as osp
from fractions import Fraction

from mmseg.datasets import archives
from mmseg.datasets.file_errors import build_files
from mmseg.utils.seeding import numpy_generator
from mmseg.utils.user_error import UserError

# What a target's config has beside its data set's own options.
OPTIONS = ('crop_pseudo_margins', 'labelled')


def without_options(target):
    """Return a target's config as that of a data set."""
    return {key: value for key, value in target.items() if key not in OPTIONS}


def images_alone(target, marks=False):
    """Return the config without what would read labels, and with what marks its margins, if any.

    ``marks``: Samples of other targets have marks, so those of one without margins need them.
    """
    margins = target.get('crop_pseudo_margins') or ([0, 0, 0, 0] if marks else None)
    target = without_options(target)
    masks = [] if margins is None else ['valid_pseudo_mask']
    pipeline = []
    for transform in target['pipeline']:
        if transform['type'] == 'LoadAnnotations':
            continue
        if transform['type'] == 'Collect':  # published configs collect labels
            keys = [key for key in transform['keys'] if key != 'gt_semantic_seg']
            transform = {**transform, 'keys': [*keys, *masks]}
        elif transform['type'] == 'RandomCrop':  # and some balance crops by them
            transform = {key: v for key, v in transform.items() if key != 'cat_max_ratio'}
        pipeline.append(transform)
    if margins is not None:
        pipeline.insert(1, {'type': 'MarkMargins', 'margins': margins})
    return {**target, 'pipeline': pipeline, 'ann_dir': None}


def labelled_images(target, seed, number=0):
    """Build the data set of a target's images that have labels, with the target's pipeline.

    ``number`` is that of the target among several, each of which draws its own.
    """
    config = without_options(target)
    pipeline = [*config['pipeline']]
    if not any(transform['type'] == 'LoadAnnotations' for transform in pipeline):
        pipeline.insert(1, {'type': 'LoadAnnotations'})
    for position, transform in enumerate(pipeline):
        if transform['type'] == 'Collect' and 'gt_semantic_seg' not in transform['keys']:
            pipeline[position] = {**transform, 'keys': [*transform['keys'], 'gt_semantic_seg']}
    dataset = build_files({**config, 'pipeline': pipeline})
    keep_labelled(dataset, target['labelled'], seed, number)
    return dataset


def keep_labelled(dataset, labelled, seed, number=0):
    """Leave out the images of a data set that have no labels; see :func:`labelled_images`."""
    names = [info['filename'] for info in dataset.img_infos]
    chosen = choose_labelled(labelled, names, seed, dataset.data_root, number)
    dataset.img_infos = [dataset.img_infos[number] for number in chosen]


def choose_labelled(labelled, names, seed, root=None, number=0):
    """Return the numbers of the images that have labels, ascending.

    Args:
        labelled (str | float | list[str]): A fraction of the images such as ``'1/16'``, drawn from
            the seed; names of images; or the name of a text file with a name per line, below
            ``root`` or as it is. Names may leave out the ending.
        names (list[str]): Of all images, relative to their folder.

    Raises:
        UserError: A name is unknown, or there is none.
    """
    fraction = _fraction(labelled)
    if fraction is not None:
        count = max(1, round(fraction * len(names)))
        drawn = numpy_generator(seed, 'labelled', number).permutation(len(names))[:count]
        return sorted(drawn.tolist())
    wanted = [labelled] if isinstance(labelled, str) else labelled
    if isinstance(labelled, str) and labelled not in names:
        wanted = _read(labelled, root)
    numbers = {name: i for i, name in enumerate(names)}
    numbers = {osp.splitext(name)[0]: i for name, i in numbers.items()} | numbers
    unknown = [name for name in wanted if name not in numbers]
    if unknown or not wanted:
        said = f'{unknown[0]!r}, which is no image of it' if unknown else 'no image'
        raise UserError(
            f'labelled of a target names {said}: give names as {names[0]!r}, below its img_dir'
        )
    return sorted({numbers[name] for name in wanted})


def _fraction(labelled):
    """The fraction that ``labelled`` is; None where it names images or a file."""
    if not isinstance(labelled, str):
        return None if isinstance(labelled, list | tuple) else Fraction(labelled)
    try:
        fraction = Fraction(labelled)
    except (ValueError, ZeroDivisionError):
        return None
    if not 0 < fraction <= 1:
        raise UserError(f'labelled={labelled!r} of a target has to be above 0 and at most 1')
    return fraction


def _read(path, root):
    found = archives.locate(root or '', path)
    found = found if archives.is_file(found) else path
    if not archives.is_file(found):
        raise UserError(
            f'labelled={path!r} of a target is no file: give one that lists its images, a list of '
            "them, or a fraction such as '1/16'"
        )
    try:
        lines = archives.read_bytes(found).decode().splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f'labelled={path!r} of a target is no text file') from error
    return [line.strip() for line in lines if line.strip()]
