"""Trees, bushes and hedges: crowns of many leafy puffs, lit from the sun's side."""

import numpy as np

from tools.street_scenes.paint import Picture, Sprite


def _pick_leaf(picture: Picture, rng) -> np.ndarray:
    leaves = picture.style.leaves
    return np.asarray(leaves[rng.integers(len(leaves))], np.float64) * rng.uniform(0.85, 1.1)


def _foliage(picture, sprite, rng, centre, radii, leaf, puffs: int) -> None:
    """Draws a crown around ``centre``: dark puffs behind, lighter ones towards the sun."""
    sun = picture.style.sun
    towards = np.array([sun[0], -sun[1]])
    contrast = 0.25 + picture.style.diffuse * 0.6
    for i in range(puffs):
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
        offset = np.array([np.cos(angle), np.sin(angle)]) * reach * 0.8
        size = rng.uniform(0.16, 0.34) * (1.25 - 0.7 * i / puffs)
        light = 0.72 + contrast * (0.5 * offset @ towards + 0.35 * i / puffs)
        colour = leaf * light * rng.uniform(0.9, 1.1)
        sprite.ellipse(centre + offset * radii, np.asarray(radii) * size, colour, cover=size > 0.12)
    for _ in range(puffs * 2):  # single leaves
        spot = centre + rng.uniform(-0.85, 0.85, 2) * radii
        colour = leaf * rng.uniform(0.55, 1.3)
        sprite.ellipse(spot, np.asarray(radii) * 0.05, colour, cover=False)


def tree_solid(s: float, z: float, height: float) -> np.ndarray:
    """Returns points (N, 3) around a tree's crown, which cast its shadow."""
    angles = np.linspace(0, 2 * np.pi, 9)[:-1]
    radius = height * 0.28
    ring = np.stack([np.cos(angles) * radius, np.zeros(8), np.sin(angles) * radius], axis=1)
    return ring + (s, height * 0.65, z)


def paint_tree(picture: Picture, rng, s: float, z: float, height: float) -> None:
    """Paints a tree with its trunk, all of it vegetation."""
    metre = picture.camera.pixels_per_metre(z)
    foot = picture.camera.project([(s, 0, z)])[0]
    conifer = rng.random() < 0.15
    radii = np.array([0.3, 0.33]) * height * metre * rng.uniform(0.85, 1.1)
    centre = foot - (0, height * metre * 0.66)
    extent = np.array([foot + (radii[0] * 1.2, 0), foot - (radii[0] * 1.2, height * metre * 1.1)])
    leaf = _pick_leaf(picture, rng)
    sprite = Sprite(picture, extent, leaf * 0.7)
    if not sprite.visible:
        return
    bark = picture.style.lit(np.array([104, 82, 62]) * rng.uniform(0.7, 1.1), (0, 0, -1))
    thick = 0.018 * height * metre
    trunk = foot + np.array(
        [[-thick * 1.3, 0], [-thick * 0.7, -height * metre * 0.5]]
        + [[thick * 0.7, -height * metre * 0.5], [thick * 1.3, 0]]
    )
    sprite.polygon(trunk, bark)
    sprite.polygon(np.vstack([trunk[:2], trunk[:2][::-1] + (thick, 0)]), bark * 0.75, cover=False)
    for end in (-0.6, 0.5):
        branch = [foot - (0, height * metre * 0.35), centre + (end * radii[0], 0)]
        sprite.line(branch, bark * 0.9, max(thick * 0.7, 0.5))
    if conifer:
        for level in np.linspace(0.25, 0.9, 6):
            tip = foot - (0, height * metre * (level + 0.2))
            half = height * metre * 0.24 * (1.05 - level)
            low = foot - (0, height * metre * level)
            sprite.polygon([low - (half, 0), tip, low + (half, 0)], leaf * (0.5 + 0.3 * level))
    else:
        _foliage(picture, sprite, rng, centre, radii, leaf, puffs=42 if z < 40 else 16)
    picture.paste('vegetation', sprite, z)


def paint_bush(picture: Picture, rng, s: float, z: float, height: float) -> None:
    """Paints a bush, as wide as it is high."""
    metre = picture.camera.pixels_per_metre(z)
    foot = picture.camera.project([(s, 0, z)])[0]
    radii = np.array([0.7, 0.6]) * height * metre
    centre = foot - (0, 0.5 * height * metre)
    leaf = _pick_leaf(picture, rng) * 0.9
    sprite = Sprite(picture, [centre - radii * 1.2, centre + radii * 1.1], leaf * 0.7)
    if sprite.visible:
        _foliage(picture, sprite, rng, centre, radii, leaf, puffs=18)
        picture.paste('vegetation', sprite, z)


def paint_hedge(picture: Picture, rng, s: float, z: tuple[float, float], height: float) -> None:
    """Paints a clipped hedge along the street, or the edge of a wood where ``height`` is large."""
    near = max(z[0], 1.0)
    wobble = 0.06 if height < 3 else 0.25
    top = [
        (s, height * (1 + rng.uniform(-wobble, wobble)), near + (z[1] - near) * share)
        for share in np.linspace(0, 1, 12)
    ]
    outline = picture.camera.project([*top, (s, 0, z[1]), (s, 0, near)])
    leaf = _pick_leaf(picture, rng)
    sprite = Sprite(picture, outline, leaf)
    if not sprite.visible:
        return
    shade = picture.style.lit(leaf, (-np.sign(s), 0.4, 0))
    sprite.polygon(outline, shade * 0.75)
    count = int(np.clip(30 * (z[1] - near) * height / 8, 40, 220))
    for _ in range(count):
        depth = near + (z[1] - near) * rng.random() ** 1.5
        level = height * rng.uniform(0.03, 0.97)
        spot = picture.camera.project([(s, level, depth)])[0]
        size = rng.uniform(0.08, 0.22) * picture.camera.pixels_per_metre(depth) * (height**0.4)
        colour = shade * (0.6 + 0.5 * level / height) * rng.uniform(0.8, 1.2)
        sprite.ellipse(spot, (size, size * 0.7), colour, cover=False)
    picture.paste('vegetation', sprite, near + 3)
