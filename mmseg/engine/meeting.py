"""Where the processes of a run meet: a part of torchrun's store that no earlier attempt has used.

``torchrun --max-restarts`` keeps its store over restarts (torch 2.14), and in it stand addresses of
processes that are gone. The number of restarts does not tell the attempts apart, since torchrun
does not count it alike on all machines.
"""

import time
import uuid

import torch.distributed as dist

_SECONDS_BETWEEN_LOOKS = 0.05


def fresh_store(store, rank, world_size):
    """A store that the processes of this attempt share, and no others.

    Rank 0 names it and tells everybody who comes, until all of them have understood: whoever stands
    in the store may be a process of an earlier attempt.

    Args:
        store (dist.Store): Of all attempts.
        rank, world_size (int): Of this process.

    Returns:
        dist.PrefixStore
    """
    own = uuid.uuid4().hex
    if rank > 0:
        store.set(f'came/{rank}', own)
        name = store.get(f'told/{own}').decode()
        store.set(f'understood/{name}/{rank}', '')
        return dist.PrefixStore(name, store)
    missing = set(range(1, world_size))
    while missing:
        for other in [other for other in missing if store.check([f'came/{other}'])]:
            store.set(f'told/{store.get(f"came/{other}").decode()}', own)
        missing -= {other for other in missing if store.check([f'understood/{own}/{other}'])}
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return dist.PrefixStore(own, store)
