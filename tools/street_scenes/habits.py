"""How often things occur, and what differs in layout between the domains.

The long tail is that of the real sets: few images have a train, a motorcycle, a bus, a truck, a
rider or a traffic light.
"""

from dataclasses import dataclass

# Share of the images with at least one of these, near enough to be seen well.
CHANCE = {
    'truck': 0.18,
    'bus': 0.16,
    'tram': 0.12,
    'motorcycle': 0.14,
    'cyclist': 0.2,
    'parked bicycles': 0.1,
    'traffic lights': 0.2,
}


@dataclass(frozen=True)
class Habits:
    """What differs in layout between the domains; (low, high) are ranges drawn from uniformly.

    ``focal`` is in image widths, ``horizon`` in image heights, ``eye`` in metres; ``walkers`` is
    the mean number of people, ``traffic`` the mean gap between cars in metres.
    """

    size: tuple[int, int]
    focal: tuple[float, float]
    horizon: tuple[float, float]
    eye: tuple[float, float]
    lanes: tuple[int, ...]
    walk: tuple[float, float]
    parked: float
    traffic: float
    walkers: float
    storeys: tuple[int, int]
    green: float
    hood: float


HABITS = {
    'source': Habits(
        (480, 264), (0.78, 0.95), (0.44, 0.52), (1.5, 2.1), (2, 3, 4, 4), (2.5, 5.0),
        0.3, 26.0, 4.5, (1, 6), 0.4, 0.0,
    ),
    'target': Habits(
        (512, 256), (0.95, 1.1), (0.4, 0.46), (1.2, 1.4), (2, 2, 3), (1.8, 3.6),
        0.65, 32.0, 5.5, (3, 6), 0.3, 0.9,
    ),
}  # fmt: skip
HABITS |= {'night': HABITS['target'], 'fog': HABITS['target']}  # the same camera, other weather
