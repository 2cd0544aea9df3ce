"""Evaluation samples: images with their ground truth, in batches of images of equal size."""

from itertools import groupby

import numpy as np
from torch.utils.data import Dataset

from mmseg.datasets.run_loader import collate

# MMSegmentation predicts a batch by the meta of its first image.
_EQUAL_IN_A_BATCH = ('ori_shape', 'img_shape', 'pad_shape', 'flip', 'flip_direction')


class TestSamples(Dataset):
    """The samples of a data set in test mode, each with its index and ground truth.

    Args:
        dataset (CustomDataset): With a test pipeline.
        with_truth (bool): Without, ``truth`` is None and no label need exist.
    """

    __test__ = False  # it is no test of pytest's

    def __init__(self, dataset, with_truth):
        self.dataset = dataset
        self.with_truth = with_truth

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        truth = None
        if self.with_truth:
            truth = self.dataset.get_gt_seg_map_by_idx(index).astype(np.uint8, copy=False)
            if self.dataset.reduce_zero_label:  # 0 wraps around to 255, and both mean no class
                truth = truth - 1
                truth[truth == 254] = 255
        return dict(self.dataset[index], index=index, truth=truth)


def collate_equal(samples):
    """Batch consecutive :class:`TestSamples` of equal sizes: a list of batches, in their order."""
    return [collate(list(group)) for _, group in groupby(samples, _sizes)]


def _sizes(sample):
    return [[meta.data.get(key) for key in _EQUAL_IN_A_BATCH] for meta in sample['img_metas']]
