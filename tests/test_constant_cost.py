"""A run costs the same per iteration from its beginning to its end."""

import gc

import pytest
import torch

from mmseg.models.uda.dacs import DACS
from tests.tiny_runs import FEATURE_DISTANCE, UDA_CONFIG, run_experiment


@pytest.fixture
def own_objects():
    """Leave out of ``gc.get_objects`` what is there already: earlier tests left it."""
    _left = torch.eye(2).to_sparse()  # has no storage, like the tensors that an export leaves
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.long
@pytest.mark.usefixtures('workplace', 'own_objects')
def test_nothing_piles_up_over_500_iterations(monkeypatch):
    found = {}
    original = DACS.train_step

    def train_step(self, batch, optimizer, *, step):
        if step.iteration in (101, 501):
            gc.collect()
            # Asking a tensor for its storage, as below, makes an object.
            objects = [o for o in gc.get_objects() if type(o) is not torch.UntypedStorage]
            tensors = [entry for entry in objects if isinstance(entry, torch.Tensor)]
            size = sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
                        for t in tensors}.values())  # fmt: skip
            found[step.iteration] = len(objects), len(tensors), size
        return original(self, batch, optimizer, step=step)

    monkeypatch.setattr(DACS, 'train_step', train_step)
    run_experiment(
        UDA_CONFIG, *FEATURE_DISTANCE, 'runner.max_iters=502', 'evaluation=None',
        'uda.debug_img_interval=0', 'log_config.interval=50', 'data.samples_per_gpu=1',
    )  # fmt: skip
    objects, tensors, size = (late - early for early, late in zip(*found.values(), strict=True))
    assert tensors == 0 and size == 0
    # Less than one object per iteration; a list that grows would have one at least.
    assert objects < 200
