"""What lines the street behind the sidewalks: houses, walls, fences, hedges and small parks."""

from functools import partial

import numpy as np

from tools.street_scenes import buildings, nature

END = 100.0  # metres ahead; the skyline follows
BUILT = {'building': 0.74, 'wall': 0.11, 'fence': 0.11, 'park': 0.04}
GREEN = {'building': 0.2, 'wall': 0.12, 'fence': 0.25, 'hedge': 0.2, 'park': 0.23}


def line_roadside(scene) -> None:
    """Adds, on both sides of a ``Scene``, one segment after the other up to ``END``."""
    for side in (0, 1):
        z = scene.rng.uniform(-8, 0)
        while z < END:
            length = scene.rng.uniform(7, 17)
            stop = z + length
            crossing = scene.ground.crossing
            if crossing and z < crossing[1] and stop > crossing[0]:
                if crossing[0] - z > 3:
                    _segment(scene, side, (z, crossing[0] - 1.2))
                z = crossing[1] + 1.2
                continue
            if stop > 1.5:
                _segment(scene, side, (z, stop))
            z = stop + (scene.rng.uniform(0.5, 4) if scene.rng.random() < 0.15 else 0)


def _segment(scene, side: int, z: tuple[float, float]) -> None:
    rng, ground = scene.rng, scene.ground
    shares = GREEN if ground.grass_beyond[side] else BUILT
    kind = rng.choice(list(shares), p=list(shares.values()))
    sign = 2 * side - 1
    s = sign * ground.edge(side)
    if kind == 'building':
        setback = rng.uniform(2, 6) if ground.grass_beyond[side] else 0.0
        _building(scene, s + sign * setback, z)
        if setback and rng.random() < 0.5:
            _bushes(scene, s + sign * 1.0, z)
        return
    if kind == 'hedge':
        paint = partial(nature.paint_hedge, s=s, z=z, height=rng.uniform(0.9, 1.8))
        scene.add(s, z[1], paint)
    elif kind in ('wall', 'fence'):
        height = rng.uniform(1.1, 2.6) if kind == 'wall' else rng.uniform(1.0, 1.8)
        paint = buildings.paint_wall if kind == 'wall' else buildings.paint_fence
        solid = buildings.building_corners(s, z, height) if kind == 'wall' else None
        scene.add(s, z[1], partial(paint, s=s, z=z, height=height), solid)
    _behind(scene, s, sign, z)


def _building(scene, s: float, z: tuple[float, float]) -> None:
    storeys = scene.rng.integers(scene.habits.storeys[0], scene.habits.storeys[1] + 1)
    height = float(storeys * 3.2 + scene.rng.uniform(0.5, 2.0))
    paint = partial(buildings.paint_building, s=s, z=z, height=height)
    scene.add(s, z[1], paint, buildings.building_corners(s, (max(z[0], 0.1), z[1]), height))


def _behind(scene, s: float, sign: int, z: tuple[float, float]) -> None:
    """Adds what is seen over a low thing at ``s``: trees, and a house or a wood further on."""
    rng = scene.rng
    if rng.random() < 0.6:
        _building(scene, s + sign * rng.uniform(6, 12), z)
    else:
        paint = partial(nature.paint_hedge, s=s + sign * 12, z=z, height=rng.uniform(4, 8))
        scene.add(s + sign * 12, z[1], paint)
    for _ in range(rng.integers(1, 4)):
        where = {'s': s + sign * rng.uniform(2, 5), 'z': rng.uniform(max(z[0], 6), max(z[1], 7))}
        height = rng.uniform(5, 9)
        # further to the side than the fence in front, whose depth is that of its far end
        scene.add(
            where['s'],
            max(where['z'], z[1] + 0.1),
            partial(nature.paint_tree, **where, height=height),
            nature.tree_solid(where['s'], where['z'], height),
        )
    if rng.random() < 0.5:
        _bushes(scene, s + sign * 1.5, z)


def _bushes(scene, s: float, z: tuple[float, float]) -> None:
    for at in np.arange(max(z[0], 5), min(z[1], 45), scene.rng.uniform(2, 5)):
        height = scene.rng.uniform(0.7, 1.7)
        scene.add(s, z[1] + 0.05, partial(nature.paint_bush, s=s, z=at, height=height))
