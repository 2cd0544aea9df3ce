"""Processes of one attempt find each other, whatever earlier attempts have left in the store."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch.distributed as dist

from mmseg.engine.meeting import fresh_store


def meet(store, world_size):
    """The names of the stores that all ranks get; the highest rank comes first."""

    def rank_of(rank):
        # The name is the prefix: a key set through one store is seen through the other.
        fresh = fresh_store(store, rank, world_size)
        fresh.set(f'rank_{rank}', '')
        return fresh

    with ThreadPoolExecutor(world_size) as pool:
        return list(pool.map(rank_of, reversed(range(world_size))))


@pytest.mark.parametrize('world_size', [1, 2, 4])
def test_all_processes_get_one_store_that_is_new(world_size):
    shared = dist.HashStore()
    seen = []
    for attempt in range(3):
        stores = meet(shared, world_size)
        names = [f'rank_{rank}' for rank in range(world_size)]
        assert all(store.check(names) for store in stores)
        stores[0].set(f'address_{attempt}', '')
        assert not any(store.check([f'address_{attempt}']) for store in seen)
        seen.append(stores[0])


def test_a_process_that_died_before_it_understood_is_not_waited_for():
    shared = dist.HashStore()
    shared.set('came/1', 'dead')
    stores = meet(shared, 2)
    assert all(store.check(['rank_0', 'rank_1']) for store in stores)
