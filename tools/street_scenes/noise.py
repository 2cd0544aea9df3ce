"""Random textures: smooth noise at several scales, the ground of clouds, leaves and asphalt."""

import cv2
import numpy as np


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Returns float32 noise (H, W) in [0, 1] that varies over about ``cell`` pixels."""
    height, width = shape
    coarse = rng.random((int(height / cell) + 3, int(width / cell) + 3), dtype=np.float32)
    fine = cv2.resize(coarse, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
    return np.clip(fine[:height, :width], 0, 1)


def cloudy_noise(rng: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Returns float32 noise (H, W) in [0, 1]: large patches with ever smaller ones on top."""
    layers = [smooth_noise(rng, shape, max(cell / 2**i, 1.5)) / 2**i for i in range(4)]
    total = np.sum(layers, axis=0)
    return (total - total.min()) / max(float(np.ptp(total)), 1e-6)


def leaf_noise(rng: np.random.Generator, size: int = 512) -> np.ndarray:
    """Returns float32 noise (size, size) in [0, 1]: clumps of leaves and single leaves."""
    shape = (size, size)
    clumps = smooth_noise(rng, shape, 22)
    leaves = smooth_noise(rng, shape, 5)
    return np.clip(0.45 * clumps + 0.35 * leaves + 0.2 * smooth_noise(rng, shape, 2.5), 0, 1)
