"""What an iteration waits for: one reading of the device, and few messages between ranks."""

import collections
import traceback

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mmseg.models.accuracy import accuracy
from mmseg.models.losses.accuracy import accuracy as accuracy_of_mmsegmentation
from mmseg.utils.seeding import Step
from tests.test_dacs import THINGS, build_dacs, random_batch

# Operations whose result, or its shape, the CPU has to know. `.tolist()` is none of torch's.
READS = {'_local_scalar_dense', 'nonzero', '_unique2', 'unique_dim', 'masked_select', 'is_nonzero',
         'equal', 'bincount'}  # fmt: skip


class CountReads(TorchDispatchMode):
    """Counts operations that wait for a GPU, where tensors are on one.

    What the strong augmentation draws, and kornia checks of it, is on the CPU in any case.
    """

    def __init__(self):
        super().__init__()
        self.found = collections.Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name.startswith('index') and any(
            index is not None and index.dtype == torch.bool
            for argument in args
            if isinstance(argument, list | tuple)
            for index in argument
            if index is None or torch.is_tensor(index)
        )
        if (name in READS or by_mask) and not _is_of_augmentation():
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def test_a_step_reads_the_device_once(monkeypatch):
    dacs = build_dacs(
        imnet_feature_dist_lambda=0.005, imnet_feature_dist_classes=THINGS,
        imnet_feature_dist_scale_min_ratio=0.75, debug_img_interval=0,
        color_jitter_probability=0.0,
    )  # fmt: skip
    dacs.train()
    dacs.gradients.grad_clip = dict(max_norm=1.0)
    # Adam's count of steps is on the CPU anyway.
    optimizer = torch.optim.SGD(dacs.model.parameters(), lr=0.1)
    lists, original = [], torch.Tensor.tolist

    def tolist(tensor):
        lists.append(tensor.dtype)
        return original(tensor)

    monkeypatch.setattr(torch.Tensor, 'tolist', tolist)
    iteration = next(i for i in range(99) if all_augmentations_act(Step(0, i)))
    with CountReads() as counted:
        dacs.train_step(random_batch(), optimizer, step=Step(0, iteration))
    assert counted.found == {}
    assert lists.count(torch.float64) == 1


def _is_of_augmentation():
    frames = traceback.extract_stack()
    return any(frame.filename.endswith('strong_augmentation.py') for frame in frames)


def all_augmentations_act(step):
    return torch.rand(2, generator=step.shared_generator('augment')).min() > 0.5


@pytest.mark.parametrize('ignored', [0.0, 0.3, 1.0])
def test_accuracy_is_that_of_mmsegmentation(ignored):
    logits, label = torch.randn(2, 5, 8, 8), torch.randint(0, 5, (2, 8, 8))
    label[torch.rand(2, 8, 8) < ignored] = 255
    for ignore_index in (None, 255):
        expected = accuracy_of_mmsegmentation(logits, label, ignore_index=ignore_index)
        assert accuracy(logits, label, ignore_index).item() == pytest.approx(expected.item())
