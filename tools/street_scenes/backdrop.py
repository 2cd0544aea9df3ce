"""What is far away: the sky with its clouds, and the roofs and trees at the end of the street."""

import numpy as np

from tools.street_scenes.camera import FAR, Camera
from tools.street_scenes.noise import cloudy_noise
from tools.street_scenes.paint import Picture, Sprite

SKYLINE_DEPTH = 170.0  # metres


def _end_of_ground(camera: Camera) -> float:
    """Returns the row at which the ground ends, a little below the horizon."""
    return camera.horizon + camera.focal * camera.eye / FAR


def paint_sky(picture: Picture, rng: np.random.Generator) -> None:
    """Paints the sky down to a little below the horizon."""
    style, camera = picture.style, picture.camera
    rows = min(int(_end_of_ground(camera)) + 3, camera.height)
    height = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    colours = np.asarray(style.zenith, np.float32) * (1 - height)
    colours = colours + np.asarray(style.skyline, np.float32) * height
    noise = cloudy_noise(rng, (rows, camera.width), camera.width / 5)
    cover = np.clip((noise - 1 + style.clouds) * 3, 0, 1)[..., None] * (1 - 0.6 * height)
    cloud = 250 - 40 * noise[..., None] * np.ones(3, np.float32)
    region = np.ones((rows, camera.width), bool)
    picture.paint_region('sky', region, colours * (1 - cover) + cloud * cover, top=0)


def paint_skyline(picture: Picture, rng: np.random.Generator) -> None:
    """Paints a row of distant buildings with trees in front of it."""
    camera, style = picture.camera, picture.style
    base = _end_of_ground(camera) + 2
    x = -5.0
    while x < camera.width:
        width = rng.uniform(0.04, 0.12) * camera.width
        top = camera.horizon - rng.uniform(0.01, 0.1) * camera.height
        box = np.array([[x, top], [x + width, top], [x + width, base], [x, base]])
        colour = style.lit(_pick(rng, style.facades), (0, 0, -1)) * 0.9
        sprite = Sprite(picture, box, colour)
        sprite.polygon(box, colour)
        for column in np.arange(x + 2, x + width - 2, 4.0):
            for row in np.arange(top + 2, camera.horizon, 5.0):
                window = np.array([[0, 0], [1.6, 0], [1.6, 2.4], [0, 2.4]]) + np.array(
                    [column, row]
                )
                sprite.polygon(window, colour * 0.6, cover=False)
        picture.paste('building', sprite, SKYLINE_DEPTH)
        x += width * rng.uniform(0.8, 1.5)
    for _ in range(rng.integers(3, 8)):
        x, radius = rng.uniform(0, camera.width), rng.uniform(0.02, 0.05) * camera.width
        centre = np.array([x, camera.horizon])
        sprite = Sprite(picture, [centre - radius, centre + radius], _pick(rng, style.leaves))
        for _ in range(6):
            puff = centre + rng.uniform(-0.6, 0.6, 2) * np.array([radius, radius * 0.5])
            leaf = _pick(rng, style.leaves) * rng.uniform(0.7, 1.1)
            sprite.ellipse(puff, (radius * 0.5, radius * 0.4), leaf)
        picture.paste('vegetation', sprite, SKYLINE_DEPTH * 0.9)


def _pick(rng: np.random.Generator, colours: list) -> np.ndarray:
    return np.asarray(colours[rng.integers(len(colours))], np.float64)
