"""What stands where: draws a street's plan and everything on it, in metres."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from tools.street_scenes import furniture, nature, people
from tools.street_scenes.camera import FAR, Camera
from tools.street_scenes.ground import Ground
from tools.street_scenes.habits import CHANCE, HABITS
from tools.street_scenes.roadside import line_roadside
from tools.street_scenes.vehicle_shapes import Vehicle
from tools.street_scenes.vehicles import paint_vehicle

LANE = 3.3  # metres
PARKING = 2.1


@dataclass
class Thing:
    """An object to paint: where in the order (far ones first), how, and what casts its shadow."""

    depth: float
    paint: Callable
    solid: np.ndarray | None = None


class Scene:
    """A street drawn at random: its camera, plan and things.

    Args:
        rng: draws it.
        domain: 'source' or 'target', whose habits it has.
        size: (width, height) of the picture in pixels; None is the domain's own.
    """

    def __init__(
        self, rng: np.random.Generator, domain: str, size: tuple[int, int] | None = None
    ) -> None:
        self.rng, self.habits = rng, HABITS[domain]
        self.size = size or self.habits.size
        self.wanted = {name for name, chance in CHANCE.items() if rng.random() < chance}
        self.things: list[Thing] = []
        self.ground = self._plan()
        self.camera = self._camera()
        line_roadside(self)
        self._poles()
        self._trees()
        self._traffic()
        self._rare_vehicles()
        self._people()
        self.ground.shadows = [thing.solid for thing in self.things if thing.solid is not None]
        self.hood = rng.random() < self.habits.hood

    def add(self, s: float, z: float, paint: Callable, solid: np.ndarray | None = None) -> None:
        """Adds a thing at (s, z); of two at the same z the one further to the side is behind."""
        depth = z + 0.6 * abs(s - self.camera.offset)
        self.things.append(Thing(depth, paint, solid))

    def _plan(self) -> Ground:
        rng = self.rng
        count = int(rng.choice(self.habits.lanes))
        parking = tuple(PARKING if rng.random() < 0.7 else 0.0 for _ in range(2))
        half = (count * LANE + sum(parking)) / 2
        first = -half + parking[0] + LANE / 2
        crossing = None
        if rng.random() < 0.4 or 'traffic lights' in self.wanted:
            start = rng.uniform(11, 38)
            crossing = (start, start + rng.uniform(6, 10))
        has_rails = 'tram' in self.wanted or rng.random() < 0.05
        verge = tuple(rng.uniform(1.0, 3.0) if rng.random() < 0.3 else 0.0 for _ in range(2))
        return Ground(
            half_road=half,
            walk=tuple(rng.uniform(*self.habits.walk, 2)),
            verge=verge,
            lanes=[first + LANE * i for i in range(count)],
            parking=parking,
            crossing=crossing,
            zebra=crossing[0] - 2.5 if crossing and rng.random() < 0.6 else None,
            rails=first if has_rails else None,
            grass_beyond=tuple(rng.random() < self.habits.green for _ in range(2)),
        )

    def _camera(self) -> Camera:
        rng, habits = self.rng, self.habits
        width, height = self.size
        return Camera(
            width=width,
            height=height,
            focal=rng.uniform(*habits.focal) * width,
            horizon=rng.uniform(*habits.horizon) * height,
            eye=rng.uniform(*habits.eye),
            offset=self.ground.lanes[-1] + rng.uniform(-0.5, 0.5),
            slope=rng.normal(0, 0.07),
            bend=rng.normal(0, 0.0012),
        )

    def _blocked(self, z: float, margin: float = 1.0) -> bool:
        """Whether a thing beside the road at ``z`` would stand in the crossing street."""
        crossing = self.ground.crossing
        return crossing is not None and crossing[0] - margin < z < crossing[1] + margin

    def _first_seen(self, s: float) -> float:
        """Returns the z from which on a thing at ``s`` is in the image."""
        half_width = self.camera.width / 2 / self.camera.focal
        return max(abs(s - self.camera.offset) / half_width + 0.5, 4.0)

    def _poles(self) -> None:
        rng, ground = self.rng, self.ground
        for side in (0, 1):
            sign = 2 * side - 1
            kerb = sign * (ground.half_road + 0.45)
            if rng.random() < 0.75:
                height = rng.uniform(6, 9)
                for z in np.arange(rng.uniform(6, 24), 90, rng.uniform(20, 30)):
                    if not self._blocked(z):
                        solid = furniture.pole_solid(kerb, z, height)
                        paint = partial(furniture.paint_lamp, s=kerb, z=z, height=height)
                        self.add(kerb, z, paint, solid)
            for z in rng.uniform(6, 26, rng.poisson(1.0)):
                if not self._blocked(z):
                    solid = furniture.pole_solid(kerb, z, 2.5)
                    self.add(kerb, z, partial(furniture.paint_sign, s=kerb, z=z), solid)
            if rng.random() < 0.25:
                s, z = kerb + sign * rng.uniform(0.3, 1), rng.uniform(6, 25)
                if not self._blocked(z):
                    self.add(s, z, partial(furniture.paint_bin, s=s, z=z))
            if 'traffic lights' in self.wanted and ground.crossing:
                z = ground.crossing[0] - 0.8
                paint = partial(furniture.paint_traffic_light, s=kerb, z=z)
                self.add(kerb, z, paint, furniture.pole_solid(kerb, z, 3.5))

    def _trees(self) -> None:
        rng, ground = self.rng, self.ground
        for side in (0, 1):
            on_verge = ground.verge[side] > 0
            if rng.random() > (0.8 if on_verge else 0.3):
                continue
            reach = ground.half_road + (ground.verge[side] / 2 if on_verge else 0.9)
            for z in np.arange(rng.uniform(6, 14), 75, rng.uniform(7, 13)):
                if not self._blocked(z, 2.0):
                    height = rng.uniform(4.5, 8.0)
                    s = (2 * side - 1) * reach
                    paint = partial(nature.paint_tree, s=s, z=z, height=height)
                    self.add(s, z, paint, nature.tree_solid(s, z, height))

    def add_vehicle(self, kind: str, s: float, z: float, heading: float) -> None:
        vehicle = Vehicle(kind, s, z, heading, self.rng.uniform(0.93, 1.07))
        # a long one counts by its near end, so that what stands beside it is behind it
        near = z - (vehicle.length / 2 - 1.5) * abs(np.cos(heading))
        self.add(s, near, partial(paint_vehicle, vehicle=vehicle), vehicle.solid())

    def _traffic(self) -> None:
        rng, ground = self.rng, self.ground
        for side in (0, 1):
            if not ground.parking[side] or rng.random() > self.habits.parked + 0.2:
                continue
            s = (2 * side - 1) * (ground.half_road - PARKING / 2)
            z = rng.uniform(5, 12)
            while z < 75:
                if rng.random() < self.habits.parked and not self._blocked(z, 5.0):
                    kind = 'van' if rng.random() < 0.15 else 'car'
                    self.add_vehicle(kind, s + rng.normal(0, 0.1), z, np.pi * (side == 0))
                z += rng.uniform(5.2, 7)
        for lane in ground.lanes:
            if ground.rails == lane and 'tram' in self.wanted:
                continue
            ahead = lane == ground.lanes[-1] or lane > 0
            z = rng.uniform(7, 14) + rng.exponential(self.habits.traffic / 3)
            while z < 90:
                kind = 'van' if rng.random() < 0.12 else 'car'
                heading = rng.normal(0, 0.03) + (0 if ahead else np.pi)
                self.add_vehicle(kind, lane + rng.normal(0, 0.2), z, heading)
                z += 8 + rng.exponential(self.habits.traffic)
        if ground.crossing and rng.random() < 0.4:
            s, z = rng.uniform(-8, 8), ground.crossing[0] + rng.uniform(2, 4)
            self.add_vehicle('car', s, z, rng.choice([-1, 1]) * np.pi / 2)

    def _clear(self, s: float, z: float, reach: float) -> None:
        """Removes cars and people in the way of a vehicle that is to be seen well."""
        depth = z + 0.6 * abs(s - self.camera.offset)

        def in_the_way(thing: Thing) -> bool:
            keywords = thing.paint.keywords
            vehicle = keywords.get('vehicle')
            other = vehicle.s if vehicle else keywords.get('s')
            return vehicle is not None and abs(other - s) < 2.6 and thing.depth < depth + reach

        self.things = [thing for thing in self.things if not in_the_way(thing)]

    def _rare_vehicles(self) -> None:
        rng, ground = self.rng, self.ground
        for kind, reach in (('truck', 9), ('bus', 12), ('tram', 22)):
            if kind not in self.wanted:
                continue
            lane = ground.rails if kind == 'tram' else float(rng.choice(ground.lanes))
            length = {'truck': 8, 'bus': 11.5, 'tram': 24}[kind]
            z = length / 2 + rng.uniform(6, 13)
            ahead = lane == ground.lanes[-1] or lane > 0
            self._clear(lane, z, reach)
            self.add_vehicle(kind, lane, z, 0.0 if ahead else np.pi)
        if 'motorcycle' in self.wanted:
            self._two_wheeler(people.paint_motorcycle, ridden=rng.random() < 0.6)
        if 'cyclist' in self.wanted:
            self._two_wheeler(people.paint_bicycle, ridden=True)
        if 'parked bicycles' in self.wanted:
            side = int(rng.integers(2))
            s = (2 * side - 1) * (ground.half_road + ground.verge[side] + 1.0)
            start = self._first_seen(s) + rng.uniform(1, 7)
            for i in range(rng.integers(1, 5)):
                z = start + i * rng.uniform(0.6, 2.0)
                paint = partial(
                    people.paint_bicycle, s=s, z=z, squeeze=rng.uniform(0.5, 1), ridden=False
                )
                self.add(s, z, paint)

    def _two_wheeler(self, paint: Callable, ridden: bool) -> None:
        rng, ground = self.rng, self.ground
        across = rng.random() < 0.4
        if ridden:
            reach = ground.half_road - 0.8 - max(ground.parking)
            s = rng.uniform(-reach, reach) if across else reach * rng.choice([-1, 1])
        else:
            s = (ground.half_road + 0.8) * rng.choice([-1, 1])
        z = self._first_seen(s) + rng.uniform(0.5, 4)
        squeeze = rng.uniform(0.75, 1.0) if across or not ridden else rng.uniform(0.28, 0.5)
        self._clear(s, z, 5)
        paint = partial(paint, s=s, z=z, squeeze=squeeze, ridden=ridden)
        self.add(s, z, paint, people.person_solid(s, z, 1.6))

    def _people(self) -> None:
        rng, ground = self.rng, self.ground
        for _ in range(rng.poisson(self.habits.walkers)):
            side = int(rng.integers(2))
            inner = ground.half_road + ground.verge[side] + 0.5
            s = (2 * side - 1) * rng.uniform(inner, max(ground.edge(side) - 0.4, inner + 0.1))
            z = self._first_seen(s) + 20 * rng.random() ** 2
            if ground.zebra and rng.random() < 0.15:
                s, z = rng.uniform(-ground.half_road, ground.half_road), ground.zebra
            for i in range(1 + (rng.random() < 0.35)):
                height = rng.uniform(1.2, 1.4) if rng.random() < 0.1 else rng.uniform(1.6, 1.9)
                where = {'s': s + 0.6 * i, 'z': min(z + 0.2 * i, FAR), 'height': height}
                solid = people.person_solid(**where)
                self.add(where['s'], where['z'], partial(people.paint_person, **where), solid)
