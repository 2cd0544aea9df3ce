"""What lies flat: road with its markings, sidewalks, grass, rails, and the shadows on them."""

from dataclasses import dataclass, field
from itertools import pairwise

import cv2
import numpy as np

from tools.street_scenes.camera import FAR
from tools.street_scenes.noise import cloudy_noise
from tools.street_scenes.paint import SHIFT, Picture

CURB = 0.16  # metres of the sidewalk that are its kerbstone


@dataclass
class Ground:
    """The street's plan, in metres.

    ``walk`` and ``verge`` hold, for the left and the right side, the width of the sidewalk and of
    the grass between it and the road. ``crossing`` is the span of z of a street that crosses.
    """

    half_road: float
    walk: tuple[float, float]
    verge: tuple[float, float]
    lanes: list[float]
    parking: tuple[float, float]
    crossing: tuple[float, float] | None
    zebra: float | None
    rails: float | None
    grass_beyond: tuple[bool, bool]
    shadows: list[np.ndarray] = field(default_factory=list)

    def edge(self, side: int) -> float:
        """Returns how far from the middle the sidewalk of side 0 (left) or 1 (right) ends."""
        return self.half_road + self.verge[side] + self.walk[side]


def shadow_on_ground(points: np.ndarray, sun: np.ndarray) -> np.ndarray:
    """Returns the street points (N, 3) at which the sun throws the shadows of ``points``."""
    points = np.asarray(points, np.float64)
    reach = points[:, 1:2] / max(sun[1], 0.2)
    return np.stack(
        [
            points[:, 0] - sun[0] * reach[:, 0],
            np.zeros(len(points)),
            points[:, 2] - sun[2] * reach[:, 0],
        ],
        axis=1,
    )


def paint_ground(picture: Picture, ground: Ground, rng: np.random.Generator) -> None:
    """Paints grass and paving beyond, then sidewalks, rails and road, each as a region."""
    s, z = picture.camera.ground()
    below = z < FAR
    side = (s > 0).astype(int)
    away = np.abs(s)
    in_crossing = np.zeros_like(below)
    if ground.crossing:
        in_crossing = (z > ground.crossing[0]) & (z < ground.crossing[1])
    road = below & ((away < ground.half_road) | in_crossing)
    verge = np.asarray(ground.verge)[side]
    walk_end = verge + np.asarray(ground.walk)[side] + ground.half_road
    on_verge = below & ~road & (away < ground.half_road + verge)
    beyond = below & ~road & (away >= walk_end)
    green = on_verge | (beyond & np.asarray(ground.grass_beyond)[side])
    walk = below & ~road & ~green

    grain = _ground_noise(s, z, rng)
    light = _shadows(picture, ground)
    clear = picture.style.haze_share(z)[..., None]
    light, haze = light * clear, np.asarray(picture.style.haze, np.float32) * (1 - clear)

    def paint(label, region, colours):
        picture.paint_region(label, region, colours * light + haze, picture.camera.ground_top)

    paint('terrain', green, _grass(picture, grain, rng))
    paint('sidewalk', walk, _paving(picture, ground, s, z, grain))
    paint('road', road, _asphalt(picture, ground, s, z, grain, in_crossing))
    if ground.rails is not None:
        bed = below & (np.abs(s - ground.rails) < 1.3) & (z < 70)
        paint('rail track', bed, _rail_bed(picture, ground, s, z, grain))


def _ground_noise(s, z, rng) -> np.ndarray:
    """Returns noise (H, W) in [-1, 1] that lies on the ground: patches, and grain nearby."""
    tile = cloudy_noise(rng, (256, 256), 64)
    # there and back over the tile, by hand: OpenCV's own reflection is slow far outside of it
    x, y = (np.abs(np.mod(metres, 510) - 255) for metres in (s * 12, z * 5))
    patches = cv2.remap(tile, x, y, cv2.INTER_LINEAR)
    grain = rng.random(s.shape, dtype=np.float32) - 0.5
    return (patches - 0.5) * 1.4 + grain * 0.6 * np.clip(14 / z, 0.15, 1)


def _stripe(picture, distance, z, width) -> np.ndarray:
    """Returns the opacity of a line on the ground, given every pixel's distance from its middle."""
    pixel = z / picture.camera.focal
    return np.clip((width / 2 - np.abs(distance)) / pixel + 0.5, 0, 1)


def _asphalt(picture, ground, s, z, grain, in_crossing) -> np.ndarray:
    colours = np.asarray(picture.style.asphalt, np.float32) + grain[..., None] * 20
    worn = sum(np.exp(-(((np.abs(s - lane) - 0.8) / 0.35) ** 2)) for lane in ground.lanes)
    colours = colours - worn[..., None] * 7
    paint = np.zeros_like(s)
    borders = [(a + b) / 2 for a, b in pairwise(ground.lanes)]
    for border in borders:
        dashed = (np.mod(z, 9) < 4.5) | (abs(border) < 0.1 and len(ground.lanes) > 2)
        paint = np.maximum(paint, _stripe(picture, s - border, z, 0.16) * dashed)
    for side, parking in enumerate(ground.parking):
        if parking:
            border = (ground.half_road - parking) * (2 * side - 1)
            paint = np.maximum(paint, _stripe(picture, s - border, z, 0.14))
    paint = paint * ~in_crossing
    if ground.zebra is not None:
        bars = (np.mod(s, 1.0) < 0.5) & (np.abs(z - ground.zebra) < 1.6)
        paint = np.where(np.abs(z - ground.zebra) < 2.6, 0, paint)
        paint = np.maximum(paint, bars)
    paint = paint[..., None] * (0.75 + 0.25 * grain[..., None])
    return colours * (1 - paint) + 232 * paint


def _paving(picture, ground, s, z, grain) -> np.ndarray:
    colours = np.asarray(picture.style.pavement, np.float32) + grain[..., None] * 16
    slab = np.maximum(
        _stripe(picture, np.mod(s, 0.9) - 0.45, z, 0.05),
        _stripe(picture, np.mod(z, 0.9) - 0.45, z, 0.05 + z.clip(max=60) * 0.004),
    ) * np.clip(1.3 - z / 14, 0, 1)
    colours = colours * (1 - 0.28 * slab[..., None])
    beside = np.abs(s) - ground.half_road
    kerb = (beside > 0) & (beside < CURB)
    gutter = np.clip(1 - np.abs(beside - CURB) / 0.05, 0, 1) * np.clip(1.4 - z / 25, 0, 1)
    colours = np.where(kerb[..., None], colours * 1.12 + 6, colours)
    return colours * (1 - 0.35 * gutter[..., None])


def _grass(picture, grain, rng) -> np.ndarray:
    blades = cv2.resize(
        rng.random((grain.shape[0], grain.shape[1] // 2), dtype=np.float32), grain.shape[::-1]
    )
    light = 1 + 0.3 * grain + 0.35 * (blades - 0.5)
    return np.asarray(picture.style.grass, np.float32) * light[..., None]


def _rail_bed(picture, ground, s, z, grain) -> np.ndarray:
    colours = np.asarray(picture.style.asphalt, np.float32) * 0.86 + grain[..., None] * 14
    for offset in (-0.72, 0.72):
        rail = _stripe(picture, s - ground.rails - offset, z, 0.12)[..., None]
        colours = colours * (1 - rail) + np.array([70, 66, 64], np.float32) * rail
        shine = _stripe(picture, s - ground.rails - offset, z, 0.04)[..., None]
        colours = colours * (1 - 0.7 * shine) + 190 * 0.7 * shine
    return colours


def _shadows(picture, ground) -> np.ndarray:
    """Returns the share of light, float32 (H, W, 1), that reaches every pixel of the ground."""
    style, camera = picture.style, picture.camera
    light = np.ones((*picture.owner.shape, 1), np.float32)[camera.ground_top :]
    cast = [_hull(shadow_on_ground(solid, style.sun)) for solid in ground.shadows]
    # under what stands on the ground with a broad base, vehicles that is, little light gets
    bases = [solid[solid[:, 1] == 0] for solid in ground.shadows]
    under = [_hull(base) for base in bases if len(base) > 2]
    for outlines, strength, blur in ((cast, style.shadow, style.shadow_blur), (under, 0.6, 1.2)):
        layer = np.zeros(picture.owner.shape, np.uint8)
        for points in outlines:
            outline = camera.outline(points)
            if len(outline) >= 3:
                fixed = np.round(outline * (1 << SHIFT)).clip(-(2**22), 2**22).astype(np.int32)
                cv2.fillPoly(layer, [fixed], 255, cv2.LINE_AA, SHIFT)
        layer = cv2.GaussianBlur(layer[camera.ground_top :], (0, 0), blur)
        light *= 1 - np.float32(strength / 255) * layer[..., None]
    return light


def _hull(points: np.ndarray) -> np.ndarray:
    flat = cv2.convexHull(points[:, [0, 2]].astype(np.float32))[:, 0]
    return np.stack([flat[:, 0], np.zeros(len(flat)), flat[:, 1]], axis=1)
