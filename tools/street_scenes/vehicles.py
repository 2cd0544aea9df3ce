"""Draws cars, trucks, buses and trams face by face, with windows, lamps and wheels."""

import math

import numpy as np

from tools.street_scenes.camera import NEAR
from tools.street_scenes.paint import Picture, Sprite
from tools.street_scenes.vehicle_shapes import Vehicle

GLASS = np.array([46, 58, 70])
TYRE = np.array([28, 28, 30])


def paint_vehicle(picture: Picture, rng, vehicle: Vehicle) -> None:
    """Paints a vehicle with its wheels, windows and lamps."""
    if vehicle.solid()[:, 2].min() < NEAR:
        return
    palette = picture.style.vehicles
    colour = np.asarray(palette[rng.integers(len(palette))]) * rng.uniform(0.85, 1.15)
    if vehicle.kind == 'tram':
        colour = np.array([(214, 60, 44), (222, 190, 60), (70, 120, 90)][rng.integers(3)])
    drawer = _Drawer(picture, vehicle, colour)
    if not drawer.sprite.visible:
        return
    body = vehicle.bodies[rng.integers(len(vehicle.bodies))]
    box_colour = colour if rng.random() < 0.3 else np.array([216, 214, 208])
    drawer.underside()
    order = body
    if vehicle.kind == 'truck' and np.cos(vehicle.heading) < 0:
        order = body[::-1]
    for solid in order:
        is_box = vehicle.kind == 'truck' and solid is body[1]
        is_cabin = vehicle.label == 'car' and solid is body[1]
        drawer.solid(*solid, box_colour if is_box else colour, is_cabin)
        if is_box:
            drawer.cargo(rng, box_colour)
        if vehicle.kind == 'truck' and not is_box:
            drawer.windscreen((0.925, 0.97), (0.46, 0.68), 0.8)
    if vehicle.kind in ('bus', 'tram'):
        drawer.coach(rng)
    drawer.lamps(vehicle.kind)
    drawer.wheels()
    picture.paste(vehicle.label, drawer.sprite, vehicle.z)


class _Drawer:
    """Draws the parts of one vehicle on its sprite, those alone that face the camera."""

    def __init__(self, picture: Picture, vehicle: Vehicle, colour) -> None:
        self.picture, self.vehicle, self.camera = picture, vehicle, picture.camera
        solid = vehicle.solid()
        solid[:, 1] *= 1.13
        self.sprite = Sprite(picture, self.camera.project(solid), np.asarray(colour) * 0.6)
        self.middle = vehicle.street(0.5, 0, vehicle.height * 0.45)

    def faces_us(self, points) -> np.ndarray | None:
        """Returns the outward normal of a face if the camera sees it; the middle is inside."""
        (ax, ay, az), (bx, by, bz) = (
            (points[1] - points[0]).tolist(),
            (points[2] - points[0]).tolist(),
        )
        normal = np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])
        length = math.sqrt(normal @ normal)
        centre = points.sum(0) / len(points)
        if length < 1e-9 or abs(normal @ (centre - self.middle)) < 1e-9:
            return None
        normal /= math.copysign(length, normal @ (centre - self.middle))
        return normal if normal @ (self.camera.eye_seen_from(centre[2]) - centre) > 0 else None

    def face(self, points, colour, cover=True, shines=False) -> bool:
        normal = self.faces_us(points)
        if normal is None:
            return False
        shade = colour if shines else self.picture.style.lit(colour, normal)
        self.sprite.polygon(self.camera.project(points), shade, cover)
        return True

    def underside(self) -> None:
        high = self.vehicle.height * 0.3
        for end in ((0.04, 0.04), (0.96, 0.96)):
            self.face(
                self.vehicle.street(
                    [*end, *end], [-0.9, 0.9, 0.9, -0.9], np.array([0.08, 0.08, high, high])
                ),
                TYRE,
            )
        for across in (-0.9, 0.9):
            up = np.array([0.12, 0.12, high, high])
            self.face(self.vehicle.street([0.04, 0.96, 0.96, 0.04], [across] * 4, up), TYRE)

    def solid(self, outline, taper, colour, is_cabin) -> None:
        along, share = np.array(outline, np.float64).T
        up = share * self.vehicle.height
        low, high = share.min(), share.max()
        across = 1 - taper * (share - low) / (high - low)
        for i in range(len(along)):
            j = (i + 1) % len(along)
            if j == 0:
                continue  # the underside
            points = self.vehicle.street(
                along[[i, i, j, j]],
                np.array([-across[i], across[i], across[j], -across[j]]),
                up[[i, i, j, j]],
            )
            steep = abs(share[j] - share[i]) > 0.2
            if self.face(points, colour) and is_cabin and steep:
                self._pane(points)
        for sign in (-1, 1):
            side = self.vehicle.street(along, sign * across, up)
            if self.face(side, colour) and is_cabin:
                self._pane(side, split=True)

    def _pane(self, points, split=False) -> None:
        centre = points.mean(0)
        inner = centre + (points - centre) * 0.84
        outline = self.camera.project(inner)
        self.sprite.polygon(outline, GLASS, cover=False)
        glint = centre + (inner - centre) * (0.92, 0.5, 0.92) + (0, 0.06 * self.vehicle.height, 0)
        self.sprite.polygon(self.camera.project(glint), GLASS * 1.45, cover=False)
        if split:
            upper = inner[:, 1] > centre[1]
            post = np.stack([inner[upper].mean(0), inner[~upper].mean(0)])
            width = 0.09 * self.camera.pixels_per_metre(self.vehicle.z)
            self.sprite.line(
                self.camera.project(post), self.sprite.colour[0, 0] * 0.9, width, cover=False
            )

    def cargo(self, rng, colour) -> None:
        """Draws the doors at the rear of a truck's box, and the stripe along its sides."""
        tall, dark = self.vehicle.height, np.asarray(colour) * 0.6
        for across in (0.0, -0.96, 0.96):
            seam = [across - 0.02, across + 0.02, across + 0.02, across - 0.02]
            up = np.array([0.25, 0.25, 0.98, 0.98]) * tall
            self.face(self.vehicle.street([0] * 4, seam, up), dark, cover=False)
        for across in (-0.3, 0.3):
            bar = [across - 0.03, across + 0.03, across + 0.03, across - 0.03]
            up = np.array([0.3, 0.3, 0.9, 0.9]) * tall
            self.face(self.vehicle.street([0] * 4, bar, up), dark * 0.8, cover=False)
        up = np.array([0.25, 0.25, 0.3, 0.3]) * tall
        self.face(self.vehicle.street([0] * 4, [-1, 1, 1, -1], up), (206, 60, 44), cover=False)
        paint, low = rng.uniform(30, 200, 3), rng.uniform(0.4, 0.6)
        up = np.array([low, low, low + 0.2, low + 0.2]) * tall
        for across in (-1.0, 1.0):
            stripe = self.vehicle.street([0.02, 0.7, 0.7, 0.02], [across] * 4, up)
            self.face(stripe, paint, cover=False)

    def windscreen(self, along, share, across) -> None:
        up = np.array([share[0], share[0], share[1], share[1]]) * self.vehicle.height
        points = self.vehicle.street(
            [along[1], along[1], along[0], along[0]], [-across, across, across, -across], up
        )
        self.face(points, GLASS, cover=False)

    def coach(self, rng) -> None:
        """Draws the windows of a bus or tram: along its sides and at both ends."""
        low, high = self.vehicle.height * 0.45, self.vehicle.height * 0.86
        stripe = np.array([236, 236, 230]) if rng.random() < 0.6 else rng.uniform(40, 200, 3)
        count = int(self.vehicle.length / 1.5)
        for across in (-1.0, 1.0):
            band = np.array([0.3, 0.3, 0.4, 0.4]) * self.vehicle.height
            if not self.face(self.vehicle.street([0, 1, 1, 0], [across] * 4, band), stripe, False):
                continue
            for i in range(count):
                left, right = (i + 0.1) / count, (i + 0.9) / count
                bottom = low if i % 4 != 1 else self.vehicle.height * 0.14
                up = np.array([bottom, bottom, high, high])
                self.face(
                    self.vehicle.street([left, right, right, left], [across] * 4, up),
                    GLASS * rng.uniform(0.8, 1.4),
                    False,
                )
        for end in (0.0, 1.0):
            up = np.array([low, low, high, high])
            points = self.vehicle.street([end] * 4, [-0.84, 0.84, 0.84, -0.84], up)
            self.face(points, GLASS, False)
            up = np.array([0.89, 0.89, 0.96, 0.96]) * self.vehicle.height
            self.face(
                self.vehicle.street([end] * 4, [-0.6, 0.6, 0.6, -0.6], up), (240, 170, 40), False
            )

    def lamps(self, kind: str) -> None:
        low, high = (0.4, 0.5) if kind in ('car', 'van') else (0.2, 0.27)
        for end, colour in ((0.0, (196, 22, 24)), (1.0, (246, 244, 226))):
            up = np.array([low, low, high, high]) * self.vehicle.height
            for sign in (-1, 1):
                across = np.array([0.68, 0.94, 0.94, 0.68]) * sign
                lamp = self.vehicle.street([end] * 4, across, up)
                self.face(lamp, colour, cover=False, shines=self.picture.style.glow > 0)
            plate = np.array([0.27, 0.27, 0.34, 0.34]) * self.vehicle.height
            if kind in ('car', 'van'):
                self.face(
                    self.vehicle.street([end] * 4, [-0.25, 0.25, 0.25, -0.25], plate),
                    (230, 230, 224),
                    False,
                )
                bumper = np.array([0.16, 0.16, 0.25, 0.25]) * self.vehicle.height
                self.face(
                    self.vehicle.street([end] * 4, [-0.96, 0.96, 0.96, -0.96], bumper),
                    (46, 46, 48),
                    False,
                )

    def wheels(self) -> None:
        radius = 0.32 if self.vehicle.label == 'car' else 0.48
        angles = np.linspace(0, 2 * np.pi, 17)[:-1]
        shares = (0.18, 0.81) if self.vehicle.kind != 'tram' else (0.08, 0.2, 0.48, 0.6, 0.84, 0.94)
        for sign in (-1, 1):
            for share in shares:
                for size, colour in ((1.0, TYRE), (0.6, np.array([150, 152, 154]))):
                    along = share + np.cos(angles) * radius * size / self.vehicle.length
                    up = radius + np.sin(angles) * radius * size
                    self.face(self.vehicle.street(along, np.full(16, sign * 1.0), up), colour)
