"""Rare Class Sampling: draw source images so that rare classes come early and often (section 3.3).

It works on the class index that the converters write into the source's root, so no label is read
to choose an image.
"""

import json
import os.path as osp

import numpy as np
from PIL import Image

from mmseg.datasets.class_subset import renumbered
from mmseg.utils.user_error import UserError

STATS_FILE = 'sample_class_stats.json'
SAMPLES_FILE = 'samples_with_class.json'
_SIZES_READ = 9  # labels, for the size that a share is of


def class_shares(sample_class_stats):
    """f_c, the share of each class in the pixels of all classes.

    Args:
        sample_class_stats (list[dict]): Per label {class: pixels, ..., 'file': path}.

    Returns:
        tuple[list[int], np.ndarray]: Train ids that occur, most frequent last, and their shares.
    """
    pixels = {}
    for sample in sample_class_stats:
        for name, count in sample.items():
            if name != 'file':
                pixels[int(name)] = pixels.get(int(name), 0) + count
    classes = sorted(pixels, key=lambda c: (pixels[c], c))
    shares = np.array([pixels[c] for c in classes], np.float64)
    return classes, shares / shares.sum()


def class_probabilities(sample_class_stats, temperature):
    """P(c) = softmax((1 - f_c) / T) over the classes that occur.

    Args:
        sample_class_stats (list[dict]): As for :func:`class_shares`.
        temperature (float): T; infinity gives the uniform distribution.

    Returns:
        tuple[list[int], np.ndarray]: Train ids, most frequent last, and their probabilities.
    """
    classes, shares = class_shares(sample_class_stats)
    exponent = (1 - shares) / temperature
    weights = np.exp(exponent - exponent.max())
    return classes, weights / weights.sum()


def pixels_of_share(min_pixels, label_names, label_dir):
    """``min_pixels`` of the config as a number of pixels of the labels as they are stored.

    Args:
        min_pixels (int | float): Below 1 it is a share of an image: of the median one of a few
            that are spread evenly, so that a start does not open them all.
        label_names (Sequence[str]): Relative to ``label_dir``.
        label_dir (str): The source's label folder.

    Raises:
        UserError: If one of these labels is no image.
    """
    if not 0 < min_pixels < 1:
        return min_pixels
    places = np.linspace(0, len(label_names) - 1, min(_SIZES_READ, len(label_names)))
    sizes = []
    for place in places:
        path = osp.join(label_dir, label_names[int(place)])
        try:
            with Image.open(path) as image:
                sizes.append(image.width * image.height)
        except OSError as error:
            raise UserError(f'{path} cannot be read ({error}), to know its size.') from error
    return round(min_pixels * float(np.median(sizes)))


class RareClassSampler:
    """Draws (class, source image) pairs.

    Args:
        data_root (str): Folder of the class index.
        label_names (list[str]): Label path of every source image, relative to ``label_dir``.
        label_dir (str): The source's label folder.
        min_pixels (int | float): An image supplies a class with more than this many pixels of it;
            below 1 it is a share of the image (see :func:`pixels_of_share`).
        class_temp (float): Temperature of the class distribution.
        label_map (dict[int, int] | None): From the train ids of the index to those of the chosen
            classes, where the config chooses some.

    Attributes:
        min_pixels (int): As a number of pixels.

    Raises:
        UserError: If the index is missing or damaged, names labels that the source does not have,
            or has a class that no image supplies.
    """

    def __init__(self, data_root, label_names, label_dir, min_pixels, class_temp, label_map=None):
        stats = [chosen_classes(s, label_map) for s in read_index_file(data_root, STATS_FILE)]
        with_class = {int(c): e for c, e in read_index_file(data_root, SAMPLES_FILE).items()}
        with_class = renumbered(with_class, label_map)
        self.min_pixels = min_pixels = pixels_of_share(min_pixels, label_names, label_dir)
        self.classes, self.probabilities = class_probabilities(stats, class_temp)
        self.shares = class_shares(stats)[1]
        finder = LabelFinder(label_names)
        # Arrays, since lists of 25,000 images take 120 MB more.
        self.images_with_class = {
            c: np.array(
                [
                    _image_of(name, finder, label_dir, osp.join(data_root, SAMPLES_FILE))
                    for name, count in with_class.get(c, [])
                    if count > min_pixels
                ],
                np.int64,
            )
            for c in self.classes
        }
        short = [c for c in self.classes if not len(self.images_with_class[c])]
        if short:
            raise UserError(
                f'Rare Class Sampling: no image in {data_root} has more than min_pixels='
                f'{min_pixels} pixels of train id(s) {short}. Lower '
                'data.train.rare_class_sampling.min_pixels.'
            )

    def draw(self, rng):
        """Draw a class and an image with it.

        Args:
            rng (np.random.Generator): The sample's own.

        Returns:
            tuple[int, int]: Train id and index of the source image.
        """
        class_id = self.classes[rng.choice(len(self.classes), p=self.probabilities)]
        images = self.images_with_class[class_id]
        return class_id, int(images[rng.integers(len(images))])

    def summary(self, names):
        """One line for the log: each class with its share of pixels and how often it is drawn.

        Args:
            names (Sequence[str]): Of the classes.
        """
        drawn = ', '.join(
            f'{names[c]}: {share:.2%}, {probability:.2%}'
            for c, share, probability in zip(
                self.classes, self.shares, self.probabilities, strict=True
            )
        )
        return (
            f'Rare Class Sampling (class: share of pixels, drawn): {drawn}. An image supplies a '
            f'class with more than {self.min_pixels} pixels of it (min_pixels).'
        )


def chosen_classes(sample, label_map):
    """An entry of the statistics with the chosen classes alone, under their own train ids."""
    pixels = {int(c): count for c, count in sample.items() if c != 'file'}
    return renumbered(pixels, label_map)


class LabelFinder:
    """Finds the source image that an entry of the index means.

    Ours are relative to the source's root, older tools' to where they ran, or absolute, and may
    have backslashes: an entry is matched by its end, from the file name upwards.

    Args:
        label_names (list[str]): Label path of every source image, relative to the label folder.
    """

    def __init__(self, label_names):
        self.by_path = {name.replace('\\', '/'): i for i, name in enumerate(label_names)}

    def find(self, entry):
        """The number of the image that ``entry`` is the label of; None if there is none."""
        parts = entry.replace('\\', '/').split('/')
        for start in range(len(parts)):
            found = self.by_path.get('/'.join(parts[start:]))
            if found is not None:
                return found
        return None


def _image_of(entry, finder, label_dir, index_file):
    found = finder.find(entry)
    if found is None:
        raise UserError(
            f'{index_file} lists {entry}, but {label_dir} has no such label with an image: the '
            'class index belongs to other data. Run the converter of tools/convert_datasets again.'
        )
    return found


def read_index_file(data_root, name):
    """Read one file of the class index.

    Raises:
        UserError: If it is missing or no JSON.
    """
    path = osp.join(data_root, name)
    if not osp.isfile(path):
        raise UserError(
            f'{path} is missing: Rare Class Sampling needs the class index. Make it with the '
            f'converter, e.g. python tools/convert_datasets/gta.py {data_root}'
        )
    with open(path, encoding='utf-8') as file:
        try:
            return json.load(file)
        except ValueError as error:  # no JSON, or not even text
            raise UserError(
                f'{path} is damaged ({error}). Delete it and run the converter of '
                'tools/convert_datasets again.'
            ) from error
