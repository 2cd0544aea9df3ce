"""Bounds how long OpenMP's threads spin while they wait for each other.

Every entry point imports this module before torch, since libgomp reads its environment once. By
default a training step takes 10 to 100 times as long on a CPU that other processes use, too.
"""

import os

if not {'GOMP_SPINCOUNT', 'OMP_WAIT_POLICY'} & os.environ.keys():
    os.environ['GOMP_SPINCOUNT'] = '10000'
