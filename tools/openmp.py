"""Bounds how long OpenMP's threads spin while they wait for each other.

Every entry point imports this module before torch, since libgomp reads its environment once, when
it is loaded. By default its threads spin for so long that, on a CPU that other processes use too, a
training step takes 10 to 100 times as long. With this bound an idle machine loses nothing (`python
tools/benchmark.py training`). Child processes inherit it; what the user has set stays.
"""

import os

if not {'GOMP_SPINCOUNT', 'OMP_WAIT_POLICY'} & os.environ.keys():
    os.environ['GOMP_SPINCOUNT'] = '10000'
