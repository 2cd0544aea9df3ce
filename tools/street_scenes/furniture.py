"""Street furniture: lamps, signs and traffic lights on their poles, and bins."""

import numpy as np

from tools.street_scenes.paint import Picture, Sprite

METAL = np.array([142, 146, 148])


def pole_solid(s: float, z: float, height: float) -> np.ndarray:
    """Returns points (4, 3) of a pole, which cast its shadow."""
    return np.array(
        [[s - 0.07, 0, z], [s + 0.07, 0, z], [s + 0.07, height, z], [s - 0.07, height, z]]
    )


class _Stand:
    """Draws things on an upright plane across the street, in metres from a foot on the ground."""

    def __init__(self, picture: Picture, s: float, z: float) -> None:
        self.picture, self.z = picture, z
        self.metre = picture.camera.pixels_per_metre(z)
        self.foot = picture.camera.project([(s, 0, z)])[0]

    def points(self, points) -> np.ndarray:
        return self.foot + np.asarray(points, np.float64) * (self.metre, -self.metre)

    def sprite(self, left, bottom, right, top, colour) -> Sprite:
        return Sprite(self.picture, self.points([(left, bottom), (right, top)]), colour)

    def paste(self, label: str, sprite: Sprite) -> None:
        self.picture.paste(label, sprite, self.z)


def _shaft(stand: _Stand, height: float, width: float, colour, arm: float = 0.0) -> None:
    """Paints a pole, with an arm over the road where ``arm`` is not 0."""
    left, right = min(arm, 0) - 0.3, max(arm, 0) + 0.3
    sprite = stand.sprite(left, 0, right, height + 0.3, colour)
    if not sprite.visible:
        return
    wide = max(width, 1.25 / stand.metre)  # at least a pixel, or it would not be seen at all
    sprite.polygon(
        stand.points([(-wide / 2, 0), (-wide / 2, height), (wide / 2, height), (wide / 2, 0)]),
        colour,
    )
    sprite.line(
        stand.points([(wide / 4, 0), (wide / 4, height)]),
        colour * 0.7,
        wide / 3 * stand.metre,
        cover=False,
    )
    if arm:
        points = [(0, height - 0.4), (arm * 0.3, height), (arm, height + 0.1)]
        sprite.line(stand.points(points), colour, max(wide * 0.7 * stand.metre, 1.0))
    stand.paste('pole', sprite)


def paint_lamp(picture: Picture, rng, s: float, z: float, height: float) -> None:
    """Paints a street lamp that leans over the road."""
    colour = picture.style.lit(METAL * rng.uniform(0.5, 1.0), (0, 0, -1))
    stand = _Stand(picture, s, z)
    arm = -np.sign(s) * rng.uniform(1.2, 2.2)
    _shaft(stand, height, 0.16, colour, arm)
    sprite = stand.sprite(arm - 0.5, height - 0.2, arm + 0.5, height + 0.4, (210, 206, 190))
    if sprite.visible:
        sprite.ellipse(
            stand.points([(arm, height + 0.08)])[0],
            np.array([0.4, 0.12]) * stand.metre,
            (206, 202, 190),
        )
        stand.paste('pole', sprite)


def paint_sign(picture: Picture, rng, s: float, z: float) -> None:
    """Paints one or two traffic signs on a pole."""
    stand = _Stand(picture, s, z)
    height = rng.uniform(2.3, 3.0)
    _shaft(stand, height, 0.09, picture.style.lit(METAL, (0, 0, -1)))
    centre = height
    for _ in range(rng.integers(1, 3)):
        size = rng.uniform(0.29, 0.4)
        sprite = stand.sprite(-size, centre - size, size, centre + size, (220, 220, 220))
        if sprite.visible:
            _sign_face(stand, sprite, rng, np.array([0, centre]), size, picture.style)
            stand.paste('traffic sign', sprite)
        centre -= 2 * size + 0.05


def _sign_face(stand, sprite, rng, centre, size, style) -> None:
    kind = rng.choice(['round', 'triangle', 'blue', 'stop', 'square'])
    red, blue, white = (
        style.lit(np.array(c), (0, 0, -1)) for c in [(206, 34, 36), (32, 84, 178), (240, 240, 236)]
    )
    if kind == 'triangle':
        corners = np.array([[-1, -0.8], [1, -0.8], [0, 0.95]])
        sprite.polygon(stand.points(centre + corners * size), red)
        sprite.polygon(stand.points(centre + (corners * 0.62 - (0, 0.07)) * size), white)
        return
    if kind == 'square':
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        sprite.polygon(stand.points(centre + corners * size * 0.9), blue)
        sprite.polygon(stand.points(centre + corners * size * (0.35, 0.55)), white)
        return
    middle, radius = stand.points([centre])[0], size * stand.metre
    sprite.ellipse(middle, (radius, radius), blue if kind == 'blue' else red)
    if kind == 'round':
        sprite.ellipse(middle, (radius * 0.66, radius * 0.66), white)
    else:
        bar = np.array([[-0.55, -0.15], [0.55, -0.15], [0.55, 0.15], [-0.55, 0.15]])
        sprite.polygon(stand.points(centre + bar * size), white)


def paint_traffic_light(picture: Picture, rng, s: float, z: float) -> None:
    """Paints a traffic light on its pole, with a second one on an arm over wide roads."""
    stand = _Stand(picture, s, z)
    arm = -np.sign(s) * rng.uniform(2.5, 4.0) if rng.random() < 0.4 else 0.0
    height = 5.4 if arm else 3.4
    _shaft(stand, height, 0.15, picture.style.lit(METAL * 0.6, (0, 0, -1)), arm)
    lit = rng.integers(3)
    for x, top in [(0.0, 3.5)] + ([(arm, 5.7)] if arm else []):
        _signal_head(stand, rng, x, top, lit)


def _signal_head(stand: _Stand, rng, x: float, top: float, lit: int) -> None:
    sprite = stand.sprite(x - 0.3, top - 1.15, x + 0.3, top + 0.1, (34, 36, 34))
    if not sprite.visible:
        return
    box = [(x - 0.22, top - 1.08), (x - 0.22, top), (x + 0.22, top), (x + 0.22, top - 1.08)]
    sprite.polygon(stand.points(box), (34, 36, 34))
    for i, colour in enumerate([(255, 50, 40), (255, 190, 40), (60, 240, 110)]):
        shown = np.array(colour) * (1.0 if i == lit else 0.28)
        centre = stand.points([(x, top - 0.2 - 0.34 * i)])[0]
        sprite.ellipse(centre, np.array([0.15, 0.15]) * stand.metre, shown, cover=False)
    stand.paste('traffic light', sprite)


def paint_bin(picture: Picture, rng, s: float, z: float) -> None:
    """Paints a bin or box, ``static`` in Cityscapes: a thing that belongs to no class."""
    stand = _Stand(picture, s, z)
    wide, high = rng.uniform(0.4, 0.8), rng.uniform(0.8, 1.3)
    colour = picture.style.lit(rng.uniform(40, 140, 3), (0, 0, -1))
    sprite = stand.sprite(-wide, 0, wide, high + 0.2, colour)
    if sprite.visible:
        body = [(-wide / 2, 0), (-wide * 0.55, high), (wide * 0.55, high), (wide / 2, 0)]
        sprite.polygon(stand.points(body), colour)
        lid = [
            (-wide * 0.6, high),
            (-wide * 0.5, high + 0.12),
            (wide * 0.5, high + 0.12),
            (wide * 0.6, high),
        ]
        sprite.polygon(stand.points(lid), colour * 0.7)
        stand.paste('static', sprite)
