"""Trees, bushes and hedges: crowns of many leafy puffs, lit from the sun's side."""

import cv2
import numpy as np

from tools.street_scenes.paint import Picture, Sprite


def _pick_leaf(picture: Picture, rng) -> np.ndarray:
    leaves = picture.style.leaves
    return np.asarray(leaves[rng.integers(len(leaves))], np.float32) * np.float32(
        rng.uniform(0.85, 1.1)
    )


def _foliage(picture, sprite: Sprite, rng, centre, radii, leaf, puffs: int) -> None:
    """Draws a crown around ``centre``: the union of some puffs, ragged and lit by leaf noise."""
    if not sprite.visible:
        return
    sprite.ellipse(centre, radii * 0.7, leaf)
    for angle in np.linspace(0, 2 * np.pi, puffs, endpoint=False) + rng.uniform(0, 1, puffs):
        reach = rng.uniform(0.42, 0.72)
        puff = centre + np.array([np.cos(angle), np.sin(angle)]) * reach * radii
        sprite.ellipse(puff, radii * rng.uniform(0.24, 0.38), leaf)
    noise, x, y = sprite.grain(centre, radii)
    crown = np.abs(y) < 1.15
    soft = cv2.blur(sprite.coverage, (7, 7))
    ragged = soft > 60 + 130 * noise
    sprite.coverage[:] = np.where(crown & ragged, 255, np.where(crown, 0, sprite.coverage))
    _shade_leaves(picture, sprite, noise, x, y, leaf, ragged & crown)


def _shade_leaves(picture, sprite, noise, x, y, leaf, where) -> None:
    """Colours foliage: light where the sun gets to it and in front, dark in its gaps and below."""
    style = picture.style
    across, up = (float(part) for part in style.sun[:2])
    side = np.clip(0.5 * (x * across - y * max(up, 0.5)), -0.7, 0.7)
    light = 0.78 + (0.35 + style.diffuse) * (0.5 * side + 1.3 * (noise - 0.5))
    # what the sun lights is yellower, what it does not is bluer
    steps, warmth = np.linspace(0.25, 1.45, 256)[:, None], np.array([14, 8, -8])
    colours = np.clip(steps * (leaf + warmth) - 0.8 * warmth, 0, 255).astype(np.uint8)
    step = ((light[where] - 0.25) * (255 / 1.2)).clip(0, 255).astype(np.uint8)
    sprite.colour[where] = colours[step]


def tree_solid(s: float, z: float, height: float) -> np.ndarray:
    """Returns points (N, 3) around a tree's crown, which cast its shadow."""
    angles = np.linspace(0, 2 * np.pi, 25)[:-1]
    radius = height * 0.28
    ring = radius * np.stack([np.cos(angles), 0 * angles, np.sin(angles)], axis=1)
    return ring + np.array([s, height * 0.65, z])


def paint_tree(picture: Picture, rng, s: float, z: float, height: float) -> None:
    """Paints a tree with its trunk, all of it vegetation."""
    metre = picture.camera.pixels_per_metre(z)
    foot = picture.camera.project([(s, 0, z)])[0]
    conifer = rng.random() < 0.15
    radii = np.array([0.3, 0.33]) * height * metre * rng.uniform(0.85, 1.1)
    centre = foot - (0, height * metre * 0.66)
    reach = np.array([radii[0] * 1.2, height * metre * 1.1])
    leaf = _pick_leaf(picture, rng)
    sprite = Sprite(picture, [foot - reach, foot + reach * (1, 0)], leaf * 0.7)
    if not sprite.visible:
        return
    _draw_trunk(picture, sprite, rng, foot, height * metre, branches=not conifer)
    if conifer:
        _needles(picture, sprite, foot, height * metre, leaf)
    else:
        _foliage(picture, sprite, rng, centre, radii, leaf, puffs=11)
    picture.paste('vegetation', sprite, z)


def _draw_trunk(picture, sprite: Sprite, rng, foot, tall: float, branches: bool) -> None:
    """Draws the trunk, and perhaps two branches, of a tree that is ``tall`` pixels high."""
    bark = picture.style.lit(np.array([104, 82, 62]) * rng.uniform(0.7, 1.1), (0, 0, -1))
    shape = np.array([[-1.3, 0], [-0.7, -0.5], [0.7, -0.5], [1.3, 0]])
    trunk = foot + shape * (0.013 * tall, tall)
    sprite.polygon(trunk, bark)
    dark = foot + np.array([[-1.3, 0], [-0.7, -0.5], [0, -0.5], [-0.3, 0]]) * (0.013 * tall, tall)
    sprite.polygon(dark, bark * 0.75, cover=False)
    for end in (-0.15, 0.13) if branches else ():
        branch = foot + np.array([[0, -0.35], [end, -0.56]]) * tall
        sprite.line(branch, bark * 0.9, max(tall * 0.01, 0.5))


def _needles(picture, sprite: Sprite, foot, tall: float, leaf) -> None:
    """Draws the crown of a conifer, ``tall`` pixels high, in tiers."""
    trunk = sprite.coverage.copy()
    sprite.coverage[:] = 0
    for level in np.linspace(0.2, 0.85, 7):
        half = 0.2 * (1.05 - level)
        tier = np.array([[-half, -level], [0, -level - 0.2], [half, -level], [0, -level + 0.02]])
        sprite.polygon(foot + tier * tall, leaf)
    centre = foot - np.array([0, 0.6 * tall])
    noise, x, y = sprite.grain(centre, np.array([0.2, 0.4]) * tall)
    _shade_leaves(picture, sprite, noise, x, y, leaf * 0.8, sprite.coverage > 0)
    sprite.coverage |= trunk


def paint_bush(picture: Picture, rng, s: float, z: float, height: float) -> None:
    """Paints a bush, as wide as it is high."""
    metre = picture.camera.pixels_per_metre(z)
    foot = picture.camera.project([(s, 0, z)])[0]
    radii = np.array([0.7, 0.6]) * height * metre
    centre = foot - (0, 0.5 * height * metre)
    leaf = _pick_leaf(picture, rng) * 0.9
    sprite = Sprite(picture, [centre - radii * 1.2, centre + radii * 1.1], leaf * 0.7)
    if sprite.visible:
        _foliage(picture, sprite, rng, centre, radii, leaf, puffs=9)
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
    sprite.polygon(outline, leaf)
    low, high = outline[:, 1].max(), outline[:, 1].min()
    middle = np.array([outline[:, 0].mean(), (low + high) / 2])
    noise, x, y = sprite.grain(middle, np.array([picture.camera.width, max(low - high, 2) / 2]))
    shade = picture.style.lit(leaf, (-np.sign(s), 0.4, 0)) * 1.1
    _shade_leaves(picture, sprite, noise, x, y, shade, sprite.coverage > 0)
    picture.paste('vegetation', sprite, near + 3)
