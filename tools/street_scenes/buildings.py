"""Buildings along the street, and the walls and fences that stand in line with them."""

import numpy as np

from tools.street_scenes.camera import NEAR
from tools.street_scenes.paint import Picture, Sprite

MOST_TEXTURE = 380  # pixels of a facade's texture along one side


def building_corners(s: float, z: tuple[float, float], height: float) -> np.ndarray:
    """Returns the points (4, 3) of the facade along the street, which cast its shadow."""
    return np.array([[s, 0, z[0]], [s, 0, z[1]], [s, height, z[1]], [s, height, z[0]]])


def paint_building(
    picture: Picture,
    rng: np.random.Generator,
    s: float,
    z: tuple[float, float],
    height: float,
    depth: float = 12.0,
) -> None:
    """Paints a house whose facade stands at ``s``, from z[0] to z[1], and the end that faces us."""
    style = picture.style
    colour = np.asarray(style.facades[rng.integers(len(style.facades))]) * rng.uniform(0.8, 1.02)
    roof = style.roofs[rng.integers(len(style.roofs))]
    look = {
        'storey': rng.uniform(2.9, 3.8),
        'bay': rng.uniform(1.9, 3.6),
        'window': (rng.uniform(0.35, 0.75), rng.uniform(0.45, 0.7)),
        'shop': rng.random() < 0.45,
        'bricks': rng.random() < 0.3,
        'awnings': style.clothes,
        'lit': style.lit_windows,
    }
    side = np.sign(s)
    gable = rng.random() < 0.5
    rise = rng.uniform(2.5, 4.5) if gable else 0.5
    sprites = []
    if z[0] > NEAR:
        end = [(s + side * depth, height, z[0]), (s, height, z[0])]
        end += [(s, 0, z[0]), (s + side * depth, 0, z[0])]
        sprites.append(_face(picture, rng, end, style.lit(colour, (0, 0, -1)), look, rise, roof))
    near = max(z[0], NEAR)
    front = [(s, height, near), (s, height, z[1]), (s, 0, z[1]), (s, 0, near)]
    if side > 0:
        front = [front[1], front[0], front[3], front[2]]
    facade = _face(picture, rng, front, style.lit(colour, (-side, 0, 0)), look, 0, roof)
    if gable:
        slope = [(s, height, near), (s, height, z[1])]
        ridge = s + side * depth / 2
        slope += [(ridge, height + rise, z[1]), (ridge, height + rise, near)]
        outline = picture.camera.outline(slope)
        tiles = Sprite(picture, outline, roof)
        tiles.polygon(outline, style.lit(roof, (-side * 0.6, 0.8, 0)))
        sprites.append(tiles)
    for sprite in [*sprites, facade]:
        picture.paste('building', sprite, max(near, sum(z) / 3))


def _face(picture, rng, corners, colour, look, rise, roof) -> Sprite:
    """Draws one face of a building; ``corners`` from the top left, clockwise as we see it."""
    corners = np.asarray(corners, np.float64)
    outline = picture.camera.project(corners)
    extent = outline
    if rise:
        extent = np.vstack([outline, outline[:2] - (0, abs(outline[0, 0] - outline[1, 0]) * 0.3)])
    sprite = Sprite(picture, extent, colour)
    if not sprite.visible:
        return sprite
    if rise > 1:
        peak = (outline[0] + outline[1]) / 2
        peak[1] -= rise * picture.camera.pixels_per_metre(corners[0, 2])
        sprite.polygon([outline[0], peak, outline[1]], colour * 0.95)
    length = float(np.linalg.norm(corners[1] - corners[0]))
    height = float(corners[0, 1] - corners[3, 1])
    sprite.texture(_facade(rng, length, height, colour, look, sprite), outline)
    return sprite


def _facade(rng, length, height, colour, look, sprite) -> np.ndarray:
    """Draws a facade of this size in metres: windows in storeys, shops or doors below."""
    wanted = max(sprite.width, sprite.height) * 1.5
    scale = np.clip(wanted, 48, MOST_TEXTURE) / max(length, height)
    shape = (max(int(height * scale), 8), max(int(length * scale), 8))
    image = np.empty((*shape, 3), np.float32)
    image[:] = colour
    image *= 1 + 0.035 * rng.standard_normal((*shape, 1)).astype(np.float32)
    if look['bricks']:
        image[:: max(int(0.3 * scale), 2)] *= 0.9

    def box(left, top, right, bottom, fill):
        rows = slice(max(round(top * scale), 0), max(round(bottom * scale), 0))
        columns = slice(max(round(left * scale), 0), max(round(right * scale), 0))
        image[rows, columns] = fill

    box(0, 0, length, 0.35, colour * 0.8)  # cornice
    storeys = max(int(height // look['storey']), 1)
    bays = max(int(length // look['bay']), 1)
    bay = length / bays
    wide, tall = look['window'][0] * bay, look['window'][1] * look['storey']
    trim = colour * (1.18 if rng.random() < 0.6 else 0.75)
    for storey in range(storeys):
        floor = height - storey * look['storey']
        if storey == 0:
            _ground_floor(rng, box, length, floor, look, colour)
            continue
        box(0, floor - 0.12, length, floor, colour * 0.88)
        top = floor - look['storey'] * 0.5 - tall / 2
        for i in range(bays):
            left = i * bay + (bay - wide) / 2
            glass = np.array([66, 82, 100]) * rng.uniform(0.6, 1.5)
            if look['lit']:
                lit = rng.random() < look['lit']
                glass = np.array([250, 206, 140]) * rng.uniform(0.6, 1) if lit else glass * 0.4
            box(left - 0.1, top - 0.1, left + wide + 0.1, top + tall + 0.16, trim)
            box(left, top, left + wide, top + tall, glass)
            box(left, top, left + wide, top + tall * 0.3, glass * 0.7)
            middle = left + wide / 2
            box(middle - 0.04, top, middle + 0.04, top + tall, trim)
    return np.clip(image, 0, 255).astype(np.uint8)


def _ground_floor(rng, box, length, floor, look, colour) -> None:
    box(0, floor - 0.5, length, floor, colour * 0.7)  # plinth
    x = rng.uniform(0.4, 1.2)
    while x + 1.2 < length:
        wide = rng.uniform(1.8, 3.2) if look['shop'] else 1.1
        if look['shop'] and rng.random() < 0.75:
            awning = np.asarray(look['awnings'][rng.integers(len(look['awnings']))])
            box(x, floor - 2.5, x + wide, floor - 0.4, np.array([52, 62, 72]) * rng.uniform(0.7, 2))
            box(x + wide / 2, floor - 2.5, x + wide / 2 + 0.08, floor - 0.4, colour * 0.6)
            box(x - 0.1, floor - 3.0, x + wide + 0.1, floor - 2.4, awning)
        elif rng.random() < 0.3:
            box(x, floor - 2.3, x + 1.1, floor, colour * 1.1)
            box(x + 0.1, floor - 2.2, x + 1.0, floor, rng.uniform(40, 110, 3))
        else:
            box(
                x, floor - 2.1, x + 1.1, floor - 0.9, np.array([60, 76, 92]) * rng.uniform(0.7, 1.4)
            )
        x += wide + rng.uniform(0.5, 1.2)


def paint_wall(picture: Picture, rng, s: float, z: tuple[float, float], height: float) -> None:
    """Paints a wall of stones or concrete along the street."""
    near = max(z[0], NEAR)
    colour = picture.style.lit(
        np.array([168, 158, 144]) * rng.uniform(0.75, 1.05), (-np.sign(s), 0, 0)
    )
    outline = picture.camera.outline(
        [(s, height, near), (s, height, z[1]), (s, 0, z[1]), (s, 0, near)]
    )
    sprite = Sprite(picture, outline, colour)
    if not sprite.visible:
        return
    length = z[1] - near
    rows, columns = max(int(height / 0.35), 3), max(int(length / 0.7), 4)
    stones = rng.uniform(0.82, 1.12, (rows, columns, 1)).repeat(8, 0).repeat(8, 1)
    stones[::8] *= 0.7
    stones[:, ::8] *= 0.75
    stones[:6] = 1.2  # coping
    texture = np.clip(colour * stones, 0, 255).astype(np.uint8)
    sprite.texture(texture, outline)
    picture.paste('wall', sprite, max(near, sum(z) / 3))


def paint_fence(picture: Picture, rng, s: float, z: tuple[float, float], height: float) -> None:
    """Paints a fence of bars or boards along the street; one sees through between them."""
    near = max(z[0], NEAR)
    wooden = rng.random() < 0.4
    colour = np.array([134, 100, 66]) if wooden else np.array([64, 72, 70]) * rng.uniform(0.6, 2)
    colour = picture.style.lit(colour, (-np.sign(s), 0, 0))
    outline = picture.camera.outline(
        [(s, height, near), (s, height, z[1]), (s, 0, z[1]), (s, 0, near)]
    )
    sprite = Sprite(picture, outline, colour)
    if not sprite.visible:
        return
    period, bar = (12, 10) if wooden else (10, 3)
    bars = max(int((z[1] - near) / (0.22 if wooden else 0.16)), 6)
    texture = np.zeros((48, bars * period, 4), np.float32)
    texture[..., :3] = colour
    texture[..., 3] = 70 if not wooden else 150  # never quite clear: the fence owns these pixels
    solid = np.arange(bars * period) % period < bar
    texture[:, solid, 3] = 255
    texture[:, solid, :3] *= rng.uniform(0.85, 1.1, (1, solid.sum(), 1))
    for row in (3, 24, 42):
        texture[row : row + 4, :, 3] = 255
        texture[row : row + 4, :, :3] *= 0.85
    texture = np.clip(texture, 0, 255).astype(np.uint8)
    sprite.texture(texture, outline)
    picture.paste('fence', sprite, max(near, sum(z) / 3))
