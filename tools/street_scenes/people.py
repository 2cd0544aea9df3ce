"""People on foot, and bicycles and motorcycles with or without their riders."""

import numpy as np

from tools.street_scenes.paint import Picture, Sprite

SKIN = [(226, 180, 150), (180, 130, 100), (120, 84, 64), (240, 200, 172)]


def person_solid(s: float, z: float, height: float) -> np.ndarray:
    """Returns points (4, 3) of a standing person, which cast the shadow."""
    wide = 0.14 * height
    return np.array(
        [[s - wide, 0, z], [s + wide, 0, z], [s + wide / 2, height, z], [s - wide / 2, height, z]]
    )


class _Figure:
    """Draws on an upright plane, in metres from a foot; ``squeeze`` narrows what is seen aslant."""

    def __init__(self, picture, s, z, extent, colour, squeeze=1.0) -> None:
        self.metre = picture.camera.pixels_per_metre(z)
        self.foot = picture.camera.project([(s, 0, z)])[0]
        self.squeeze = squeeze
        self.sprite = Sprite(picture, self.at(extent), colour)

    def at(self, points) -> np.ndarray:
        points = np.atleast_2d(np.asarray(points, np.float64))
        return self.foot + points * (self.metre * self.squeeze, -self.metre)

    def limb(self, points, colour, width) -> None:
        self.sprite.line(self.at(points), colour, max(width * self.metre, 1.0))

    def shape(self, points, colour) -> None:
        self.sprite.polygon(self.at(points), colour)

    def disc(self, centre, radii, colour) -> None:
        radii = np.asarray(radii, np.float64) * self.metre
        self.sprite.ellipse(self.at([centre])[0], np.maximum(radii, 0.6), colour)


def _pick(rng, colours) -> np.ndarray:
    return np.asarray(colours[rng.integers(len(colours))], np.float64)


def paint_person(picture: Picture, rng, s: float, z: float, height: float) -> None:
    """Paints somebody who walks or stands."""
    style = picture.style
    light = (style.sun[0] * 0.3, 0.3, -0.9)
    top, legs = (style.lit(_pick(rng, style.clothes), light) for _ in range(2))
    skin = style.lit(_pick(rng, SKIN), light)
    hair = style.lit(_pick(rng, [(40, 30, 24), (90, 60, 36), (170, 150, 110), (60, 60, 62)]), light)
    h = height
    figure = _Figure(picture, s, z, [(-0.3 * h, 0), (0.3 * h, 1.03 * h)], top)
    if not figure.sprite.visible:
        return
    stride, swing = rng.uniform(0.0, 0.16) * h, rng.uniform(-0.1, 0.1) * h
    dress = rng.random() < 0.2
    for sign, shade in ((-1, 0.8), (1, 1.0)):
        knee, foot = (sign * stride * 0.45 + 0.01 * h, 0.26 * h), (sign * stride, 0.02 * h)
        figure.limb([(sign * 0.03 * h, 0.5 * h), knee, foot], legs * shade, 0.085 * h)
        figure.limb([foot, (foot[0] + 0.05 * h, 0.015 * h)], np.array([40, 36, 34]), 0.045 * h)
    hem = 0.3 if dress else 0.46
    torso = [(-0.085, hem), (-0.12, 0.8), (-0.06, 0.845), (0.06, 0.845), (0.12, 0.8), (0.085, hem)]
    figure.shape(np.array(torso) * h, top)
    figure.shape(np.array([(0.03, hem), (0.05, 0.83), (0.12, 0.8), (0.085, hem)]) * h, top * 0.8)
    for sign, shade in ((-1, 0.9), (1, 0.75)):
        hand = (sign * (0.15 * h) + swing * sign, 0.46 * h)
        figure.limb(
            [(sign * 0.115 * h, 0.79 * h), (sign * 0.15 * h, 0.62 * h), hand],
            top * shade,
            0.055 * h,
        )
        figure.disc(hand, (0.026 * h, 0.03 * h), skin)
    figure.limb([(0, 0.84 * h), (0, 0.88 * h)], skin * 0.85, 0.06 * h)
    figure.disc((0, 0.925 * h), (0.052 * h, 0.07 * h), skin)
    figure.disc((-0.006 * h, 0.955 * h), (0.056 * h, 0.05 * h), hair)
    if rng.random() < 0.3:  # a bag
        bag = np.array([(0.1, 0.42), (0.22, 0.42), (0.2, 0.56), (0.11, 0.56)]) * h
        figure.shape(bag, style.lit(_pick(rng, style.clothes), light) * 0.8)
    picture.paste('person', figure.sprite, z)


def paint_bicycle(picture: Picture, rng, s: float, z: float, squeeze: float, ridden: bool) -> None:
    """Paints a bicycle, and its rider where it is ridden; squeeze 1 is the full side view."""
    colour = picture.style.lit(_pick(rng, picture.style.vehicles), (0, 0.3, -0.9))
    tyre = np.array([34, 34, 36])
    figure = _Figure(picture, s, z, [(-1.0, -0.05), (1.0, 1.2)], tyre * 1.5, squeeze)
    if not figure.sprite.visible:
        return
    radius = 0.35
    for x in (-0.55, 0.55):
        wide = radius * max(squeeze, 0.22)
        figure.disc((x, radius), (wide, radius), tyre)
        figure.disc((x, radius), (wide * 0.8, radius * 0.8), (128, 128, 126))
        for angle in np.arange(0, np.pi, np.pi / 5):
            spoke = np.array([np.cos(angle) * wide / max(squeeze, 0.22), np.sin(angle) * radius])
            hub = np.array([x, radius])
            figure.sprite.line(
                figure.at([hub - spoke * 0.8, hub + spoke * 0.8]),
                (80, 80, 80),
                0.012 * figure.metre,
                cover=False,
            )
    frame = [(-0.55, 0.35), (-0.1, 0.32), (0.42, 0.78), (-0.22, 0.8), (-0.55, 0.35)]
    figure.limb(frame, colour, 0.06)
    figure.limb([(-0.1, 0.32), (-0.25, 0.92)], colour, 0.05)
    figure.limb([(0.55, 0.35), (0.4, 0.95), (0.5, 1.02)], colour * 0.8, 0.05)
    figure.limb([(-0.38, 0.93), (-0.12, 0.93)], tyre, 0.08)
    figure.limb([(0.3, 1.03), (0.5, 1.03)], tyre, 0.05)
    picture.paste('bicycle', figure.sprite, z)
    if ridden:
        _paint_rider(picture, rng, s, z, squeeze, seat=0.95, helmet=rng.random() < 0.5)


def paint_motorcycle(
    picture: Picture, rng, s: float, z: float, squeeze: float, ridden: bool
) -> None:
    """Paints a motorcycle, and its rider where it is ridden."""
    colour = picture.style.lit(_pick(rng, picture.style.vehicles), (0, 0.3, -0.9))
    dark = np.array([36, 36, 40])
    figure = _Figure(picture, s, z, [(-1.25, -0.05), (1.25, 1.25)], dark, squeeze)
    if not figure.sprite.visible:
        return
    for x in (-0.7, 0.72):
        figure.disc((x, 0.32), (0.32 * max(squeeze, 0.35), 0.32), dark)
        figure.disc((x, 0.32), (0.17 * max(squeeze, 0.35), 0.17), (140, 140, 142))
    figure.shape([(-0.5, 0.3), (-0.45, 0.62), (0.35, 0.66), (0.4, 0.28), (0, 0.2)], (96, 96, 100))
    figure.shape([(-1.0, 0.74), (-0.6, 0.86), (0.0, 0.8), (-0.1, 0.6), (-0.6, 0.58)], dark)
    figure.shape([(-0.15, 0.78), (0.05, 0.98), (0.42, 0.96), (0.5, 0.7), (0.0, 0.6)], colour)
    figure.shape([(0.4, 0.62), (0.4, 1.12), (0.6, 1.0), (0.72, 0.7)], colour * 0.85)
    figure.limb([(0.72, 0.32), (0.5, 0.9)], (150, 150, 152), 0.08)
    figure.limb([(-0.8, 0.3), (-0.1, 0.28)], (170, 170, 172), 0.09)
    figure.limb([(0.25, 1.08), (0.45, 1.06)], dark, 0.06)
    figure.disc((-0.98, 0.76), (0.07, 0.06), (190, 24, 24))
    picture.paste('motorcycle', figure.sprite, z)
    if ridden:
        _paint_rider(picture, rng, s, z, squeeze, seat=0.84, helmet=True)


def _paint_rider(picture, rng, s, z, squeeze, seat, helmet) -> None:
    """Paints who sits on a bicycle or motorcycle, as the class rider."""
    style = picture.style
    light = (style.sun[0] * 0.3, 0.3, -0.9)
    top, legs = (style.lit(_pick(rng, style.clothes), light) for _ in range(2))
    skin = style.lit(_pick(rng, SKIN), light)
    aslant = max(squeeze, 0.35)
    figure = _Figure(picture, s, z, [(-1.0, 0.1), (1.0, seat + 1.0)], top, squeeze)
    if not figure.sprite.visible:
        return
    for shade, knee, foot in (
        (0.8, (0.2, seat - 0.2), (0.02, 0.22)),
        (1, (0.22, seat - 0.4), (-0.02, 0.3)),
    ):
        figure.limb([(-0.22, seat + 0.04), knee, foot], legs * shade, 0.15)
        figure.limb([foot, (foot[0] + 0.14, foot[1])], (36, 34, 34), 0.08)
    torso = np.array([(-0.4, 0), (-0.3, 0.5), (-0.02, 0.62), (0.14, 0.5), (-0.08, 0)])
    torso = torso + np.array([0, seat])
    if squeeze < 0.5:  # from behind the shoulders show
        torso = np.array(
            [(-0.42, 0), (-0.6, 0.52), (-0.2, 0.62), (0.2, 0.62), (0.5, 0.52), (0.3, 0)]
        )
        torso = torso * (0.4 / squeeze, 1) + np.array([0, seat])
    figure.shape(torso, top)
    figure.limb([(0.02, seat + 0.5), (0.2, seat + 0.28), (0.42, seat + 0.14)], top * 0.75, 0.1)
    figure.disc((0.44, seat + 0.14), (0.05, 0.05), skin)
    figure.disc((0.06, seat + 0.76), (0.1 * min(1, aslant + 0.3), 0.135), skin)
    if helmet:
        figure.disc((0.05, seat + 0.81), (0.125, 0.11), _pick(rng, style.vehicles))
    else:
        figure.disc((0.04, seat + 0.82), (0.11, 0.09), (50, 38, 30))
    picture.paste('rider', figure.sprite, z - 0.1)
