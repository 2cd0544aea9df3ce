"""Rare Class Sampling: draw source images so that rare classes come early and often (section 3.3).

It works on the class index that the converters write into the source's root, so no label is read
to choose an image.
"""

import json
import os.path as osp

import numpy as np

from mmseg.utils.user_error import UserError

STATS_FILE = 'sample_class_stats.json'
SAMPLES_FILE = 'samples_with_class.json'


def class_probabilities(sample_class_stats, temperature):
    """P(c) = softmax((1 - f_c) / T) over the classes that occur.

    Args:
        sample_class_stats (list[dict]): Per label {class: pixels, ..., 'file': path}.
        temperature (float): T; infinity gives the uniform distribution.

    Returns:
        tuple[list[int], np.ndarray]: Train ids, most frequent last, and their probabilities.
    """
    pixels = {}
    for sample in sample_class_stats:
        for name, count in sample.items():
            if name != 'file':
                pixels[int(name)] = pixels.get(int(name), 0) + count
    classes = sorted(pixels, key=lambda c: (pixels[c], c))
    frequency = np.array([pixels[c] for c in classes], np.float64)
    frequency /= frequency.sum()
    exponent = (1 - frequency) / temperature
    weights = np.exp(exponent - exponent.max())
    return classes, weights / weights.sum()


class RareClassSampler:
    """Draws (class, source image) pairs.

    Args:
        data_root (str): Folder of the class index.
        label_names (list[str]): Label path of every source image, relative to ``label_dir``.
        label_dir (str): The source's label folder.
        min_pixels (int): An image supplies a class with more than this many pixels of it.
        class_temp (float): Temperature of the class distribution.

    Raises:
        UserError: If the index is missing or damaged, names labels that the source does not have,
            or has a class that no image supplies.
    """

    def __init__(self, data_root, label_names, label_dir, min_pixels, class_temp):
        stats = _read_index(data_root, STATS_FILE)
        with_class = _read_index(data_root, SAMPLES_FILE)
        self.classes, self.probabilities = class_probabilities(stats, class_temp)
        images = _LabelFinder(label_names, label_dir, osp.join(data_root, SAMPLES_FILE))
        self.images_with_class = {
            c: [
                images.index(name)
                for name, count in with_class.get(str(c), [])
                if count > min_pixels
            ]
            for c in self.classes
        }
        short = [c for c in self.classes if not self.images_with_class[c]]
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
        return class_id, images[rng.integers(len(images))]


class _LabelFinder:
    """Finds the source image that an entry of the index means.

    Ours are relative to the source's root, older tools' to where they ran, or absolute, and may
    have backslashes: an entry is matched by its end, from the file name upwards.
    """

    def __init__(self, label_names, label_dir, index_file):
        self.index_file = index_file
        self.label_dir = label_dir
        self.by_path = {name.replace('\\', '/'): i for i, name in enumerate(label_names)}

    def index(self, entry):
        parts = entry.replace('\\', '/').split('/')
        for start in range(len(parts)):
            found = self.by_path.get('/'.join(parts[start:]))
            if found is not None:
                return found
        raise UserError(
            f'{self.index_file} lists {entry}, but {self.label_dir} has no such label with an '
            'image: the class index belongs to other data. Run the converter of '
            'tools/convert_datasets again.'
        )


def _read_index(data_root, name):
    path = osp.join(data_root, name)
    if not osp.isfile(path):
        raise UserError(
            f'{path} is missing: Rare Class Sampling needs the class index. Make it with the '
            f'converter, e.g. python tools/convert_datasets/gta.py {data_root}'
        )
    with open(path, encoding='utf-8') as file:
        try:
            return json.load(file)
        except json.JSONDecodeError as error:
            raise UserError(
                f'{path} is damaged ({error}). Delete it and run the converter of '
                'tools/convert_datasets again.'
            ) from None
