"""Draws scene number i of a domain: image, and objects as polygons."""

import numpy as np

from tools.street_scenes.backdrop import paint_sky, paint_skyline
from tools.street_scenes.ground import paint_ground
from tools.street_scenes.layout import Scene
from tools.street_scenes.paint import Picture, Sprite
from tools.street_scenes.styles import STYLES

DOMAIN_NUMBER = {'source': 0, 'target': 1, 'night': 2, 'fog': 3}


def draw_scene(seed: int, domain: str, index: int, size: tuple[int, int] | None = None) -> Picture:
    """Draws a scene, which depends on the arguments alone.

    Args:
        seed: of the data set.
        domain: 'source' (game-like), 'target' (camera-like), or that camera's 'night' or 'fog'.
        index: number of the scene in its domain.
        size: (width, height) in pixels; None is the domain's own.
    """
    rng = np.random.default_rng([seed, DOMAIN_NUMBER[domain], index])
    scene = Scene(rng, domain, size)
    picture = Picture(scene.camera, STYLES[domain](rng), rng)
    paint_sky(picture, rng)
    paint_skyline(picture, rng)
    paint_ground(picture, scene.ground, rng)
    for thing in sorted(scene.things, key=lambda thing: -thing.depth):
        thing.paint(picture, rng)
    if scene.hood:
        _paint_hood(picture, rng)
    picture.soften_edges()
    picture.image = picture.style.develop(picture.image, rng)
    return picture


def _paint_hood(picture: Picture, rng: np.random.Generator) -> None:
    """Paints the bonnet of the car that carries the camera; Cityscapes ignores these pixels."""
    height, width = picture.owner.shape
    x = np.linspace(0, width, 24)
    rise = rng.uniform(0.06, 0.1) * height
    y = height - rise * (1 - 0.55 * ((x / width - 0.5) * 2) ** 2)
    outline = np.vstack([np.stack([x, y], axis=1), [[width, height], [0, height]]])
    colour = np.array([62, 66, 72]) * rng.uniform(0.6, 1.6)
    sprite = Sprite(picture, outline, colour)
    sprite.polygon(outline, colour)
    shine = np.vstack([np.stack([x, y + 3], axis=1), np.stack([x, y + 7], axis=1)[::-1]])
    sprite.polygon(shine, colour * 1.5, cover=False)
    picture.paste('ego vehicle', sprite, 0)
