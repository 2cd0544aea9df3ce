"""The domains' looks: colours, light, haze and what the camera does to the picture.

``game``, the source: sunny, saturated, crisp, hard shadows. ``camera``, the target: overcast,
greyer, hazy, soft and noisy. ``night`` and ``fog`` are what that camera sees in two of ACDC's
conditions. Shapes and layout come from one code, so a class is the same thing in all.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np


@dataclass(frozen=True)
class Style:
    """Colours are RGB in 0..255; ``sun`` is the unit vector (s, y, z) towards the sun.

    ``lit_windows`` is the share of the windows with light in them, ``glow`` how strongly bright
    light spreads around its source. Where it does, the lamps of vehicles are on.
    """

    facades: list
    roofs: list
    vehicles: list
    clothes: list
    leaves: list
    grass: tuple
    asphalt: tuple
    pavement: tuple
    zenith: tuple
    skyline: tuple
    clouds: float
    sun: np.ndarray
    ambient: float
    diffuse: float
    shadow: float
    shadow_blur: float
    haze: tuple
    haze_distance: float
    saturation: float
    contrast: float
    gain: tuple
    noise: float
    blur: float
    vignette: float
    lit_windows: float = 0.0
    glow: float = 0.0

    def lit(self, colour, normal) -> np.ndarray:
        """Returns the colour of a surface with this normal vector in the scene's light."""
        facing = max(0.0, float(np.dot(normal, self.sun)))
        return np.asarray(colour, np.float64) * (self.ambient + self.diffuse * facing)

    def in_haze(self, colour: np.ndarray, depth: float) -> np.ndarray:
        """Fades uint8 colours (H, W, 3), ``depth`` metres away, into the haze."""
        share = self.haze_share(depth)
        table = np.arange(256)[:, None] * share + np.asarray(self.haze) * (1 - share)
        return cv2.LUT(colour, table.astype(np.uint8)[None])

    def haze_share(self, depth):
        """Returns how much of a colour is left after ``depth`` metres (a number or an array)."""
        return np.exp(-depth / self.haze_distance)

    def develop(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """What lens, sensor and processing make of the scene: uint8 (H, W, 3) to the same."""
        height, width = image.shape[:2]
        out = image.astype(np.float32)
        if self.glow:
            bright = np.maximum(out - 150, 0)
            out += self.glow * cv2.GaussianBlur(bright, (0, 0), height / 40)
        if self.blur:
            out = cv2.GaussianBlur(out, (0, 0), self.blur)
        grey = out @ np.array([0.299, 0.587, 0.114], np.float32)
        out = grey[..., None] + (out - grey[..., None]) * self.saturation
        out = (out - 118) * self.contrast + 118
        out *= np.asarray(self.gain, np.float32)
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        x = np.linspace(-1, 1, width, dtype=np.float32)[None]
        out *= (1 - self.vignette * (x * x + y * y) / 2)[..., None]
        if self.noise:
            out += self.noise * rng.standard_normal((height, width, 1), np.float32)
            out += self.noise / 2 * rng.standard_normal(out.shape, np.float32)
        return np.clip(out, 0, 255).astype(np.uint8)


def _sun(rng: np.random.Generator, elevation: tuple[float, float]) -> np.ndarray:
    height = np.radians(rng.uniform(*elevation))
    around = np.radians(rng.uniform(25, 155)) * rng.choice([-1, 1])
    return np.array(
        [np.cos(height) * np.sin(around), np.sin(height), -np.cos(height) * np.cos(around)]
    )


def game(rng: np.random.Generator) -> Style:
    """The source domain's look."""
    return Style(
        facades=[
            (226, 196, 150),
            (240, 232, 214),
            (206, 120, 84),
            (178, 186, 196),
            (236, 208, 120),
            (150, 104, 82),
            (214, 226, 232),
            (232, 170, 140),
        ],
        roofs=[(176, 84, 56), (120, 112, 104), (150, 90, 60)],
        vehicles=[
            (214, 30, 28),
            (24, 62, 168),
            (240, 240, 240),
            (28, 28, 32),
            (238, 190, 30),
            (30, 140, 96),
            (250, 120, 30),
            (170, 176, 186),
        ],
        clothes=[
            (214, 40, 50),
            (40, 90, 200),
            (250, 250, 250),
            (40, 160, 90),
            (250, 210, 60),
            (30, 30, 40),
            (160, 60, 160),
            (240, 130, 60),
        ],
        leaves=[(74, 140, 38), (96, 156, 44), (50, 112, 40), (120, 150, 50)],
        grass=(120, 164, 62),
        asphalt=tuple(np.array([106, 104, 106]) + rng.uniform(-14, 14)),
        pavement=tuple(np.array([184, 174, 160]) + rng.uniform(-14, 14)),
        zenith=(58, 122, 214),
        skyline=(176, 214, 246),
        clouds=rng.uniform(0.2, 0.7),
        sun=_sun(rng, (28, 58)),
        ambient=0.62,
        diffuse=0.55,
        shadow=0.45,
        shadow_blur=0.6,
        haze=(190, 214, 240),
        haze_distance=rng.uniform(350, 700),
        saturation=1.15,
        contrast=1.1,
        gain=(1.02, 1.0, 0.97),
        noise=0.0,
        blur=0.0,
        vignette=0.05,
    )


def camera(rng: np.random.Generator) -> Style:
    """The target domain's look."""
    overcast = rng.uniform(0.5, 1.0)
    tint = rng.uniform(-0.03, 0.03)
    brightness = rng.uniform(0.9, 1.1)
    return Style(
        facades=[
            (190, 180, 160),
            (168, 162, 154),
            (150, 110, 94),
            (200, 192, 176),
            (134, 132, 132),
            (176, 150, 116),
            (120, 92, 80),
            (196, 178, 150),
        ],
        roofs=[(110, 70, 60), (84, 82, 84), (96, 76, 68)],
        vehicles=[
            (40, 42, 46),
            (150, 152, 156),
            (190, 192, 194),
            (28, 30, 36),
            (56, 66, 88),
            (100, 30, 32),
            (88, 92, 96),
        ],
        clothes=[
            (40, 42, 52),
            (60, 66, 84),
            (96, 90, 84),
            (30, 30, 34),
            (120, 50, 52),
            (150, 150, 150),
            (70, 84, 66),
        ],
        leaves=[(74, 92, 58), (88, 98, 62), (60, 80, 54), (104, 104, 66)],
        grass=(108, 122, 80),
        asphalt=tuple(np.array([88, 90, 92]) + rng.uniform(-12, 10)),
        pavement=tuple(np.array([168, 160, 152]) + rng.uniform(-14, 14)),
        zenith=(196, 204, 212),
        skyline=(232, 234, 234),
        clouds=rng.uniform(0.3, 0.9),
        sun=_sun(rng, (25, 60)),
        ambient=0.86,
        diffuse=0.42 * (1 - overcast) + 0.1,
        shadow=0.12 + 0.3 * (1 - overcast),
        shadow_blur=2.5,
        haze=(212, 216, 218),
        haze_distance=rng.uniform(90, 220),
        saturation=rng.uniform(0.6, 0.85),
        contrast=rng.uniform(0.78, 0.95),
        gain=tuple(brightness * np.array([1 - tint, 1.02, 1 + tint])),
        noise=rng.uniform(3, 7),
        blur=rng.uniform(0.5, 0.8),
        vignette=rng.uniform(0.15, 0.35),
    )


def night(rng: np.random.Generator) -> Style:
    """The camera by night: lamps, head lamps and windows are the light there is."""
    day = camera(rng)
    sodium = rng.uniform(-0.1, 0.14)  # from bluish lamps to those of sodium
    light = rng.uniform(0.38, 0.5)
    return replace(
        day,
        leaves=list(light * np.array(day.leaves)),
        grass=tuple(light * np.array(day.grass)),
        asphalt=tuple((light + 0.2) * np.array(day.asphalt)),  # in the light of our own lamps
        pavement=tuple(light * np.array(day.pavement)),
        zenith=(10, 13, 24),
        skyline=(38, 37, 48),
        clouds=0.0,
        ambient=light,
        diffuse=0.08,
        shadow=0.0,
        haze=(30, 29, 38),
        haze_distance=rng.uniform(70, 130),
        contrast=1.0,
        gain=(1 + sodium, 1.0, 1 - sodium),
        noise=rng.uniform(7, 11),
        lit_windows=rng.uniform(0.1, 0.35),
        glow=4.0,
    )


def fog(rng: np.random.Generator) -> Style:
    """The camera in fog: what is some tens of metres away fades into it."""
    day = camera(rng)
    pale = tuple(np.array([204, 208, 210]) + rng.uniform(-22, 14))
    return replace(
        day,
        zenith=pale,
        skyline=pale,
        clouds=0.0,
        diffuse=0.06,
        shadow=0.0,
        haze=pale,
        haze_distance=rng.uniform(18, 42),
        saturation=0.7 * day.saturation,
        contrast=rng.uniform(0.65, 0.8),
    )


CONDITIONS = ('night', 'fog')  # of the target's camera, under their names in ACDC
STYLES = {'source': game, 'target': camera, 'night': night, 'fog': fog}
