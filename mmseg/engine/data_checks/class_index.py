"""Whether the class index belongs to the labels, and has images of every class that is drawn.

Rare Class Sampling reads two of its three files. Nothing here reads the third,
``sample_class_stats_dict.json``, which is for other tools.
"""

import os.path as osp
from collections import Counter
from dataclasses import dataclass

from mmseg.datasets.rare_class_sampling import (
    SAMPLES_FILE,
    STATS_FILE,
    LabelFinder,
    class_probabilities,
    class_shares,
    read_index_file,
    renumbered,
)
from mmseg.engine.data_checks.messages import a_few, convert_command
from mmseg.utils.user_error import UserError


@dataclass(frozen=True)
class ClassIndex:
    """The content of the class index.

    Attributes:
        root: Its folder.
        stats: {file: {train id: pixels}}.
        samples: {train id: [(file, pixels), ...]}.
        remake: The sentence that names the command which makes it.
    """

    root: str
    stats: dict[str, dict[int, int]]
    samples: dict[int, list[tuple[str, int]]]
    remake: str


@dataclass(frozen=True)
class ClassSupply:
    """What Rare Class Sampling has of one class.

    Attributes:
        class_id, name: Train id and its name.
        share: Of all counted pixels.
        probability: Of being drawn.
        num_images: With more than ``min_pixels`` pixels of it.
        most_pixels: In one image.
    """

    class_id: int
    name: str
    share: float
    probability: float
    num_images: int
    most_pixels: int


def read_index(listing):
    """Read the class index of a source.

    Args:
        listing (Listing): The source.

    Returns:
        ClassIndex: With at least one class.

    Raises:
        UserError: If there is none, or one that is damaged or empty.
    """
    root, command = listing.origin.root, convert_command(listing.origin)
    contents = []
    for name in (STATS_FILE, SAMPLES_FILE):
        path = osp.join(root, name)
        if not osp.isfile(path):
            raise UserError(
                f'{path} is missing: Rare Class Sampling needs the class index. '
                f'Make it with: {command}'
            )
        if not osp.getsize(path):
            raise UserError(f'{path} is empty. Make it again with: {command}')
        contents.append(read_index_file(root, name))
    try:
        index = _parse(root, *contents, f'Make it again with: {command}')
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f'{STATS_FILE} and {SAMPLES_FILE} in {root} are no class index ({error!r}). '
            f'Make it again with: {command}'
        ) from error
    for name, content in ((STATS_FILE, any(index.stats.values())), (SAMPLES_FILE, index.samples)):
        if not content:
            raise UserError(
                f'{osp.join(root, name)} is empty: no label in it has a class. {index.remake}'
            )
    return index


def _parse(root, stats, samples, remake):
    return ClassIndex(
        root,
        {
            entry['file']: {int(c): int(n) for c, n in entry.items() if c != 'file'}
            for entry in stats
        },
        {int(c): [(str(file), int(n)) for file, n in files] for c, files in samples.items()},
        remake,
    )


def class_supplies(index, dataset, min_pixels, temperature):
    """What Rare Class Sampling has of each class, the rarest first.

    Args:
        index (ClassIndex): Of the source.
        dataset (CustomDataset): The source; knows the names and which of its classes are chosen.
        min_pixels (int): With more of them an image supplies a class.
        temperature (float): ``class_temp`` of Rare Class Sampling.

    Returns:
        list[ClassSupply]: As the run will draw them; then, with zeros, those that do not occur.
    """
    stats = [renumbered(pixels, dataset.label_map) for pixels in index.stats.values()]
    samples = renumbered(index.samples, dataset.label_map)
    class_names = dataset.CLASSES
    classes, shares = class_shares(stats)
    _, probabilities = class_probabilities(stats, temperature)
    supplies = []
    for c, share, probability in zip(classes, shares, probabilities, strict=True):
        pixels = [count for _, count in samples.get(c, [])]
        enough = sum(count > min_pixels for count in pixels)
        supplies.append(
            ClassSupply(
                c, _name(c, class_names), share, probability, enough, max(pixels, default=0)
            )
        )
    absent = [c for c in range(len(class_names)) if c not in classes]
    return supplies + [ClassSupply(c, class_names[c], 0.0, 0.0, 0, 0) for c in absent]


def index_problems(index, listing, examined):
    """Compare the class index with the labels that are there.

    Args:
        index (ClassIndex): Of the source.
        listing (Listing): The source's files.
        examined (list[Examined]): Those of them that were decoded.

    Returns:
        list[str]: One line for each thing that does not fit.
    """
    dataset = listing.dataset
    labels = [info['ann']['seg_map'] for info in dataset.img_infos]
    finder = LabelFinder(labels)
    files = {*index.stats, *(file for entries in index.samples.values() for file, _ in entries)}
    # Of a file that is not there the name in the index stands for it.
    found = {
        file: file if (number := finder.find(file)) is None else labels[number]
        for file in sorted(files)
    }
    unknown = sorted({*found.values()} - {*labels})
    if len(unknown) == len(found):
        return [
            f'{osp.join(index.root, STATS_FILE)} lists {a_few(unknown)}, of which '
            f'{dataset.ann_dir} has none with an image: the class index belongs to other data. '
            f'{index.remake}'
        ]
    counts = {found[file]: pixels for file, pixels in index.stats.items()}
    # The files, and so the index, have all of them, also where the config chooses some.
    names = type(dataset).CLASSES if dataset.label_map else dataset.CLASSES
    return [
        *_files_that_differ(
            index,
            dataset.ann_dir,
            unknown,
            [name for name in labels if name not in counts],
            [name for name, times in Counter(found[f] for f in index.stats).items() if times > 1],
        ),
        *_contradictions(index, found, counts, len(names)),
        *_wrong_counts(index, counts, examined, names),
    ]


def _files_that_differ(index, ann_dir, unknown, lacking, doubled):
    without_image = [
        name
        for name in unknown
        if any(osp.isfile(osp.join(folder, name)) for folder in (ann_dir, index.root))
    ]
    if without_image:
        yield (
            f'{osp.join(index.root, STATS_FILE)} lists labels whose images are missing '
            f'({len(without_image)}): {a_few(without_image)}. Restore the images, or move these '
            f'labels, with their raw ones, out of their folder. {index.remake}'
        )
    unknown = [name for name in unknown if name not in without_image]
    for what, files in (
        ('lists labels that are not there', unknown),
        ('lacks labels', lacking),
        # One of them may have been in a hidden folder, where a notebook keeps a copy.
        ('lists labels more than once', doubled),
    ):
        if files:
            yield (
                f'{osp.join(index.root, STATS_FILE)} {what} ({len(files)}): {a_few(files)}. '
                f'The class index is out of date. {index.remake}'
            )


def _contradictions(index, found, counts, num_classes):
    strange = sorted(c for c in index.samples if c >= num_classes)
    if strange:
        yield (
            f'{osp.join(index.root, SAMPLES_FILE)} counts {a_few(strange)}, but the classes are '
            f'0..{num_classes - 1}. {index.remake}'
        )
    by_class = {(found[file], c): n for c, entries in index.samples.items() for file, n in entries}
    by_file = {(label, c): n for label, pixels in counts.items() for c, n in pixels.items()}
    if by_class != by_file:
        yield (
            f'{STATS_FILE} and {SAMPLES_FILE} in {index.root} contradict each other. {index.remake}'
        )


def _wrong_counts(index, counts, examined, names):
    wrong = []
    for one in examined:
        if not one.pixels or one.label not in counts:
            continue
        said = counts[one.label]
        differ = [c for c in range(len(names)) if said.get(c, 0) != one.pixels.get(c, 0)]
        if differ:
            c = differ[0]
            wrong.append(
                f'{one.label} ({said.get(c, 0)} pixels of {names[c]} instead of '
                f'{one.pixels.get(c, 0)})'
            )
    if wrong:
        yield (
            f'{osp.join(index.root, STATS_FILE)} counts other pixels than {len(wrong)} of '
            f'{len(examined)} labels read have: {a_few(wrong)}. The class index is out of date. '
            f'{index.remake}'
        )


def missing_supplies(supplies, root, min_pixels):
    """Name the classes that would be drawn, but that no image supplies.

    Args:
        supplies (list[ClassSupply]): All classes.
        root (str): Of the source.
        min_pixels (int): Of Rare Class Sampling.

    Returns:
        list[str]: One line or none.
    """
    short = [supply for supply in supplies if supply.share > 0 and not supply.num_images]
    if not short:
        return []
    classes = ', '.join(
        f'{s.name} (train id {s.class_id}, {s.share:.2%} of all pixels, at most {s.most_pixels} in '
        'one image)'
        for s in short
    )
    return [
        f'Rare Class Sampling: no image in {root} has more than min_pixels={min_pixels} pixels of '
        f'{classes}. Set data.train.rare_class_sampling.min_pixels below '
        f'{min(s.most_pixels for s in short)}, or add images that have more.'
    ]


def _name(class_id, class_names):
    return class_names[class_id] if class_id < len(class_names) else f'train id {class_id}'
