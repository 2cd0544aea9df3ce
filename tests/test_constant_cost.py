"""A run costs the same per iteration from its beginning to its end."""

import gc
import multiprocessing

import pytest
import torch

from mmseg.models.uda.dacs import DACS
from tests.tiny_runs import FEATURE_DISTANCE, UDA_CONFIG, run_experiment


def count_objects():
    """Train for 500 iterations; count all objects and tensors early and late.

    Returns:
        list[tuple[int, int, int]]: Objects, tensors and the bytes of these, after 100 iterations
        and after 500.
    """
    found = []
    original = DACS.train_step

    def train_step(self, batch, optimizer, *, step):
        if step.iteration in (101, 501):
            gc.collect()
            # Asking a tensor for its storage, as below, makes an object.
            objects = [o for o in gc.get_objects() if type(o) is not torch.UntypedStorage]
            tensors = [entry for entry in objects if isinstance(entry, torch.Tensor)]
            size = sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
                        for t in tensors}.values())  # fmt: skip
            found.append((len(objects), len(tensors), size))
        return original(self, batch, optimizer, step=step)

    DACS.train_step = train_step
    run_experiment(
        UDA_CONFIG, *FEATURE_DISTANCE, 'runner.max_iters=502', 'evaluation=None',
        'uda.debug_img_interval=0', 'log_config.interval=50', 'data.samples_per_gpu=1',
    )  # fmt: skip
    return found


@pytest.mark.long
@pytest.mark.usefixtures('workplace')
def test_nothing_piles_up_over_500_iterations():
    # A process of its own: what earlier tests left in this one, threads too, is no concern here.
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        found = pool.apply(count_objects)
    objects, tensors, size = (late - early for early, late in zip(*found, strict=True))
    assert tensors == 0 and size == 0
    # Less than one object per iteration; a list that grows would have one at least.
    assert objects < 200
