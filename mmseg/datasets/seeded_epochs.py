"""Epochs of one data set in seeded order, for runs without adaptation."""

from torch.utils.data import Dataset

from mmseg.utils.seeding import numpy_generator, seed_for, seeded_globals


class SeededEpochs(Dataset):
    """Sample number i is a function of (seed, i): epoch i // n, a permutation of its own.

    Args:
        dataset (CustomDataset): Draws from the global generators in its transforms.
        seed (int): The run's seed.
    """

    def __init__(self, dataset, seed):
        self.dataset = dataset
        self.seed = seed
        self.CLASSES, self.PALETTE = dataset.CLASSES, dataset.PALETTE
        self._epoch, self._order = None, None

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, number):
        epoch, position = divmod(number, len(self.dataset))
        if epoch != self._epoch:
            rng = numpy_generator(self.seed, 'epoch', epoch)
            self._epoch, self._order = epoch, rng.permutation(len(self.dataset))
        with seeded_globals(seed_for(self.seed, 'source', number)):
            return self.dataset[int(self._order[position])]
