"""Rare Class Sampling (section 3.3): source images and crops in which rare classes come often."""

import io
import json
import os.path as osp
from collections import Counter

import numpy as np
from PIL import Image

from mmseg.datasets.archives import read_bytes
from mmseg.utils.files import is_hidden
from mmseg.utils.user_error import UserError

STATS_FILE = 'sample_class_stats.json'
SAMPLES_FILE = 'samples_with_class.json'
MAX_CROP_REDRAWS = 10
_BALANCING_REDRAWS = 10  # of RandomCrop
_SIZES_READ = 9  # labels, for the size that a ratio is of


def count_pixels(sample_class_stats, label_map=None):
    """Add up the pixels of each train id over the labels of a class index."""
    pixels = Counter()
    for sample in sample_class_stats:
        pixels.update({int(c): count for c, count in sample.items() if c != 'file'})
    return Counter(_chosen(pixels, label_map))


def class_ratios(pixels):
    """Compute the train ids that occur, most frequent last, and f_c, the ratio of each's pixels."""
    classes = sorted(pixels, key=lambda c: (pixels[c], c))
    ratios = np.array([pixels[c] for c in classes], np.float64)
    return classes, ratios / ratios.sum()


def class_probabilities(ratios, temperature):
    """Compute P(c) = softmax((1 - f_c) / T)."""
    exponent = (1 - ratios) / temperature
    weights = np.exp(exponent - exponent.max())
    return weights / weights.sum()


def pixels_of_ratio(min_pixels, label_names, label_dir):
    """Convert ``min_pixels`` of the config to a number of pixels of labels as they are stored.

    Below 1 it is a ratio of an image: of the median one of a few that are spread evenly.
    """
    if not 0 < min_pixels < 1:
        return min_pixels
    sizes = []
    for place in np.linspace(0, len(label_names) - 1, min(_SIZES_READ, len(label_names))):
        content = read_bytes(osp.join(label_dir, label_names[int(place)]))
        with Image.open(io.BytesIO(content)) as image:
            sizes.append(image.width * image.height)
    return round(min_pixels * float(np.median(sizes)))


class ClassIndex:
    """The class index of one data set: the pixels of each class, and the images that have it.

    Args:
        data_root (str): Folder of the index's files.
        label_names (list[str]): Relative to ``label_dir``, of the images in their order.
        min_pixels (float): An image with a class has more pixels of it; below 1 a ratio of them.
        label_map (dict | None): From the train ids of the index to those of chosen classes.
        is_shared (bool): Whether it is of other data sets in ``data_root``, too.

    Attributes:
        pixels (Counter): By train id.
        images (dict[int, ndarray]): Numbers of the images with enough of a class, by train id.
    """

    def __init__(
        self, data_root, label_names, label_dir, min_pixels, label_map=None, is_shared=False
    ):
        finder = LabelFinder(label_names)
        stats, samples = (read_index_file(data_root, name) for name in (STATS_FILE, SAMPLES_FILE))
        stats = [entry for entry in stats if not finder.is_hidden_copy(entry['file'])]
        if is_shared:
            stats = [entry for entry in stats if finder.find(entry['file']) is not None]
        with_class = _chosen({int(c): entries for c, entries in samples.items()}, label_map)
        self.data_root = data_root
        self.min_pixels = pixels_of_ratio(min_pixels, label_names, label_dir)
        self.pixels = count_pixels(stats, label_map)
        self.images = {}
        for c in self.pixels:
            names = [name for name, count in with_class.get(c, []) if count > self.min_pixels]
            names = [name for name in names if not finder.is_hidden_copy(name)]
            images = [finder.find(name) for name in names]
            if is_shared:
                images = [image for image in images if image is not None]
            if None in images:
                raise UserError(
                    f'{osp.join(data_root, SAMPLES_FILE)} lists {names[images.index(None)]}, but '
                    f'{label_dir} has no such label with an image: it is out of date or belongs to '
                    'other data. Where images were removed, move their raw labels away, too.'
                )
            # Arrays, since lists of 25,000 images take 120 MB more.
            self.images[c] = np.array(images, np.int64)


class RareClassSampler:
    """Draws (class, source image) pairs, of images that have more than ``min_pixels`` of the class.

    Args:
        indices (list[ClassIndex]): Of each source. Their pixels are counted together.
        class_temp (float): T of P(c) = softmax((1 - f_c) / T).
        starts (Sequence[int]): Number of each source's first image, counted through all sources.
        over_sets (bool): Draw each source that has the class as often as any other, not each image.
    """

    def __init__(self, indices, class_temp, starts=(0,), over_sets=False):
        self.min_pixels = [index.min_pixels for index in indices]
        self.classes, self.ratios = class_ratios(sum((i.pixels for i in indices), Counter()))
        self.probabilities = class_probabilities(self.ratios, class_temp)
        # By class: an array for each source that has it, or one for all of them.
        self.images_with_class = {}
        for c in self.classes:
            parts = [
                start + index.images[c]
                for start, index in zip(starts, indices, strict=True)
                if len(index.images.get(c, ()))
            ]
            self.images_with_class[c] = parts if over_sets or not parts else [np.concatenate(parts)]
        short = [c for c in self.classes if not self.images_with_class[c]]
        if short:
            roots = ', '.join(dict.fromkeys(index.data_root for index in indices))
            raise UserError(
                f'no image in {roots} has more than min_pixels={_one_or_all(self.min_pixels)} '
                f'pixels of train id(s) {short}. Lower data.train.rare_class_sampling.min_pixels.'
            )

    def draw(self, rng):
        """Draw the train id of a class and the number of a source image with it."""
        class_id = self.classes[rng.choice(len(self.classes), p=self.probabilities)]
        parts = self.images_with_class[class_id]
        images = parts[rng.integers(len(parts))] if len(parts) > 1 else parts[0]
        return class_id, int(images[rng.integers(len(images))])

    def summary(self, names):
        """One line for the log: how frequent each class is, and how often it is drawn."""
        each = zip(self.classes, self.ratios, self.probabilities, strict=True)
        drawn = ', '.join(f'{names[c]}: {ratio:.2%}, {drawn:.2%}' for c, ratio, drawn in each)
        return (
            f'Rare Class Sampling (class: ratio of pixels, drawn): {drawn}; from images with more '
            f'than {_one_or_all(self.min_pixels)} pixels of the class (min_pixels).'
        )


def _one_or_all(values):
    """A value that all sources share, or that of each: a ratio of images of several sizes."""
    return ' / '.join(map(str, values if len(set(values)) > 1 else values[:1]))


def _chosen(values, label_map):
    """Turn values by train id on disk into those by train id of the chosen classes."""
    if not label_map:
        return values
    chosen = {old: new for old, new in label_map.items() if 0 <= new < 255}
    return {chosen[old]: value for old, value in values.items() if old in chosen}


class LabelFinder:
    """Finds the source image that an entry of the index means, by the end of its path.

    Older tools wrote paths relative to where they ran, or absolute ones, also with backslashes.
    """

    def __init__(self, label_names):
        self.by_path = {name.replace('\\', '/'): i for i, name in enumerate(label_names)}

    def find(self, entry):
        """Return the number of the image that ``entry`` is the label of; None without one."""
        parts = entry.replace('\\', '/').split('/')
        ends = ('/'.join(parts[start:]) for start in range(len(parts)))
        return next((self.by_path[end] for end in ends if end in self.by_path), None)

    def is_hidden_copy(self, entry):
        """Whether ``entry`` is a hidden file, which older tools listed, and none of the labels."""
        path = osp.normpath(entry.replace('\\', '/')).replace('../', '')
        return is_hidden(path) and self.find(entry) is None


def read_index_file(data_root, name):
    """Read one file of the class index."""
    path = osp.join(data_root, name)
    try:
        with open(path, encoding='utf-8') as file:
            return json.load(file)
    except (FileNotFoundError, ValueError) as error:  # no JSON, or not even text
        raise UserError(
            f'{path} is damaged or missing ({error}): Rare Class Sampling needs the class index.'
        ) from error


def crop_with_class(random_crop, results, class_id, min_pixels, tries=None):
    """Crop image and label where the label has more than ``min_pixels`` of a class.

    The draws are those of ``RandomCrop``, called again and again. ``tries`` is VFM-UDA's rule.
    """
    image, label = results['img'], results['gt_semantic_seg']
    if tries is None:
        box = _box_with_class(random_crop, image, label, class_id, min_pixels)
    else:
        box = _balanced_box_with_class(random_crop, image, label, class_id, min_pixels, tries)
    for key in ('img', *results['seg_fields']):
        results[key] = random_crop.crop(results[key], box)
    results['img_shape'] = results['img'].shape
    return results


def _box_with_class(random_crop, image, label, class_id, min_pixels):
    """After ``MAX_CROP_REDRAWS`` redraws the last box stays."""
    for _ in range(1 + MAX_CROP_REDRAWS):
        box, counts = _balanced_box(random_crop, image, label)
        if counts[class_id] > min_pixels:
            break
    return box


def _balanced_box_with_class(random_crop, image, label, class_id, min_pixels, tries):
    """Class and balance are sought together; after the last try one box is taken as it comes."""
    for _ in range(tries):
        box, counts = _draw(random_crop, image, label)
        if counts[class_id] > min_pixels and _is_balanced(random_crop, counts):
            return box
    return _draw(random_crop, image, label)[0]


def _balanced_box(random_crop, image, label):
    """What ``random_crop`` would choose: (y1, y2, x1, x2), and its pixels of each id, (256,)."""
    box, counts = _draw(random_crop, image, label)
    for _ in range(_BALANCING_REDRAWS):
        if _is_balanced(random_crop, counts):
            break
        box, counts = _draw(random_crop, image, label)
    return box, counts


def _is_balanced(random_crop, counts):
    """Whether several classes share a crop and none has ``cat_max_ratio`` of its labels."""
    if random_crop.cat_max_ratio >= 1:
        return True
    counted = np.arange(len(counts)) != random_crop.ignore_index
    classes = counts[counted & (counts > 0)]
    return len(classes) > 1 and classes.max() / classes.sum() < random_crop.cat_max_ratio


def _draw(random_crop, image, label):
    box = random_crop.get_crop_bbox(image)
    return box, np.bincount(random_crop.crop(label, box).ravel(), minlength=256)
