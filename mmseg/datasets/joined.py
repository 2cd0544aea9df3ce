"""Several data sets of files as one: several sources, or several targets."""

from bisect import bisect_right

import numpy as np

UNIFORM_OVER = ('images', 'sets')


class JoinedSets:
    """Numbers the images of data sets one after the other.

    Args:
        datasets (list[CustomDataset]): In the order of the config.
        uniform_over (str): Each image is drawn as often as any other (``'images'``, as VFM-UDA++
            does: sets weigh by their length), or each set as often as any other (``'sets'``).
    """

    def __init__(self, datasets, uniform_over='images'):
        assert uniform_over in UNIFORM_OVER
        self.datasets = datasets
        self.ends = np.cumsum([len(dataset) for dataset in datasets]).tolist()
        self.over_sets = uniform_over == 'sets' and len(datasets) > 1

    def __len__(self):
        return self.ends[-1]

    def __getitem__(self, number):
        dataset, number = self.find(number)
        return dataset[number]

    def set_of(self, number):
        """Return the number of the set that an image is in."""
        return bisect_right(self.ends, number)

    def find(self, number):
        """Return the data set that an image is in, and the image's number in it."""
        position = self.set_of(number)
        return self.datasets[position], number - self.start(position)

    def start(self, position):
        """Return the number of a set's first image."""
        return self.ends[position - 1] if position else 0

    def draw(self, rng):
        """Draw an image's number."""
        if not self.over_sets:
            return int(rng.integers(len(self)))
        position = int(rng.integers(len(self.datasets)))
        return self.start(position) + int(rng.integers(len(self.datasets[position])))

    @property
    def names(self):
        """What each set is called in logs and records."""
        return [_name_of(dataset) for dataset in self.datasets]


def _name_of(dataset):
    conditions = getattr(dataset, 'conditions', None)
    return f'{type(dataset).__name__} ({dataset.img_dir}{f", {conditions}" if conditions else ""})'
