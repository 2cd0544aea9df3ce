"""Painting with exact labels: what is painted of an object is the polygon that is written for it.

An object is drawn as a ``Sprite``, larger than it will be. ``Picture.paste`` reduces it, takes the
contour of what it covers as its polygon (whole pixels, as annotators click them), lets PIL paint
that polygon as cityscapesscripts does, and changes the image at exactly these pixels.
"""

import cv2
import numpy as np
from PIL import Image, ImageDraw

from tools.street_scenes.camera import Camera
from tools.street_scenes.noise import leaf_noise
from tools.street_scenes.styles import Style

SHIFT = 4  # bits of a pixel's fraction in OpenCV's drawing functions
MOST_SPRITE_PIXELS = 50_000


class Sprite:
    """A drawing of one object in picture coordinates: its colour, coverage and opacity.

    Args:
        picture: where it will be pasted.
        extent: pixels (N, 2) that the object lies within.
        colour: RGB where something is covered that nothing is drawn on.
    """

    def __init__(self, picture: 'Picture', extent: np.ndarray, colour) -> None:
        self.picture = picture
        height, width = picture.image.shape[:2]
        extent = np.asarray(extent, np.float64).reshape(-1, 2)
        if len(extent) == 0:
            extent = np.full((1, 2), -10.0)
        self.left, self.top = np.clip(np.floor(extent.min(0)) - 1, 0, (width, height)).astype(int)
        right, bottom = np.clip(np.ceil(extent.max(0)) + 2, 0, (width, height)).astype(int)
        self.width, self.height = max(right - self.left, 0), max(bottom - self.top, 0)
        self.visible = self.width > 0 and self.height > 0
        area = max(self.width * self.height, 1)
        self.scale = int(np.clip(np.sqrt(MOST_SPRITE_PIXELS / area), 1, 4))
        shape = (self.height * self.scale, self.width * self.scale)
        self.colour = np.empty((*shape, 3), np.uint8)
        self.colour[:] = np.clip(colour, 0, 255)
        self.coverage = np.zeros(shape, np.uint8)
        self.opacity: np.ndarray | None = None

    def _points(self, points) -> np.ndarray:
        local = (np.asarray(points, np.float64) - (self.left, self.top)) * self.scale
        return np.round(local * (1 << SHIFT)).clip(-(2**22), 2**22).astype(np.int32)

    def polygon(self, points, colour, cover: bool = True) -> None:
        """Fills a polygon (N, 2); without ``cover`` it only colours what is covered already."""
        if len(points) < 3 or not self.visible:
            return
        fixed = [self._points(points)]
        cv2.fillPoly(self.colour, fixed, _rgb(colour), cv2.LINE_AA, SHIFT)
        if cover:
            cv2.fillPoly(self.coverage, fixed, 255, cv2.LINE_8, SHIFT)

    def line(self, points, colour, width: float, cover: bool = True) -> None:
        """Draws a line through points (N, 2), ``width`` pixels of the picture wide."""
        if not self.visible:
            return
        fixed = [self._points(points)]
        thickness = max(1, round(width * self.scale))
        cv2.polylines(self.colour, fixed, False, _rgb(colour), thickness, cv2.LINE_AA, SHIFT)
        if cover:
            cv2.polylines(self.coverage, fixed, False, 255, thickness, cv2.LINE_8, SHIFT)

    def ellipse(self, centre, radii, colour, cover: bool = True) -> None:
        """Fills an upright ellipse around ``centre`` with radii (x, y) in pixels."""
        if not self.visible:
            return
        fixed = self._points([centre])[0].tolist()
        axes = [max(round(float(r) * self.scale * (1 << SHIFT)), 1) for r in radii]
        shape = (fixed, axes, 0, 0, 360)
        cv2.ellipse(self.colour, *shape, _rgb(colour), cv2.FILLED, cv2.LINE_AA, SHIFT)
        if cover:
            cv2.ellipse(self.coverage, *shape, 255, cv2.FILLED, cv2.LINE_8, SHIFT)

    def grain(self, centre, radii) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns, for every pixel of the sprite, noise in [0, 1] and its place in an ellipse.

        The place is x and y (down) in radii from ``centre``.
        """
        height, width = self.coverage.shape
        x = (np.arange(width, dtype=np.float32) / self.scale + self.left - centre[0]) / radii[0]
        y = (np.arange(height, dtype=np.float32) / self.scale + self.top - centre[1]) / radii[1]
        tile = self.picture.leaf_noise
        start = abs(int(centre[0] * 7 + centre[1] * 13)) % (tile.shape[0] // 2)
        rows = np.arange(start, start + height) % tile.shape[0]
        columns = np.arange(start, start + width) % tile.shape[1]
        return tile[rows[:, None], columns], x[None], y[:, None]

    def texture(self, texture: np.ndarray, corners) -> None:
        """Puts an image, (H, W, 3) or with opacity (H, W, 4), on a quadrilateral.

        ``corners`` are where its top left, top right, bottom right and bottom left go.
        """
        if not self.visible:
            return
        height, width = texture.shape[:2]
        source = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
        target = (np.asarray(corners) - (self.left, self.top)) * self.scale
        matrix = cv2.getPerspectiveTransform(source, target.astype(np.float32))
        size = (self.colour.shape[1], self.colour.shape[0])
        mode = {'flags': cv2.INTER_LINEAR, 'borderMode': cv2.BORDER_REPLICATE}
        warped = cv2.warpPerspective(texture, matrix, size, **mode)
        inside = np.zeros(size[::-1], np.uint8)
        cv2.fillPoly(inside, [self._points(corners)], 255, cv2.LINE_8, SHIFT)
        cv2.copyTo(np.ascontiguousarray(warped[:, :, :3]), inside, self.colour)
        self.coverage |= inside
        if texture.shape[2] == 4:
            self.opacity = warped[:, :, 3]

    def reduced(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Returns colour, coverage (bool) and opacity (or None) at the picture's resolution."""
        size = (self.width, self.height)
        colour, coverage = (
            cv2.resize(a, size, interpolation=cv2.INTER_AREA) for a in (self.colour, self.coverage)
        )
        opacity = self.opacity
        if opacity is not None:
            opacity = cv2.resize(opacity, size, interpolation=cv2.INTER_AREA) / np.float32(255)
        return colour, coverage > 127, opacity


class Picture:
    """The image so far, and its objects in the order of painting.

    Attributes:
        image: uint8 RGB (H, W, 3).
        objects: (label's name, polygon [[x, y], …]) in order, as Cityscapes' annotations list them.
        leaf_noise: float32 noise in [0, 1], a tile that all foliage of the picture is drawn with.
        owner: int32 (H, W), the number of the object that a pixel shows, -1 for none.
    """

    def __init__(self, camera: Camera, style: Style, rng: np.random.Generator) -> None:
        self.camera = camera
        self.leaf_noise = leaf_noise(rng)
        self.style = style
        self.image = np.zeros((camera.height, camera.width, 3), np.uint8)
        self.owner = np.full((camera.height, camera.width), -1, np.int32)
        self.objects: list[tuple[str, list]] = []

    def paste(self, label: str, sprite: Sprite, depth: float) -> None:
        """Paints a sprite, ``depth`` metres away, and records its polygons under ``label``."""
        if not sprite.visible:
            return
        colour, coverage, opacity = sprite.reduced()
        rows = slice(sprite.top, sprite.top + sprite.height)
        columns = slice(sprite.left, sprite.left + sprite.width)
        mask = self._record(label, coverage, (sprite.left, sprite.top))[rows, columns]
        region = self.image[rows, columns]
        colour = self.style.in_haze(colour, depth)[mask]
        if opacity is not None:
            share = opacity[mask][:, None]
            colour = colour * share + region[mask] * (1 - share)
        region[mask] = colour

    def paint_region(self, label: str, region: np.ndarray, colours: np.ndarray, top: int) -> None:
        """Paints ``colours`` (h, W, 3) where ``region``, bool (h, W), is true, from row ``top``."""
        rows = slice(top, top + len(region))
        mask = self._record(label, region, (0, top))[rows]
        self.image[rows][mask] = colours[mask]

    def _record(self, label: str, coverage: np.ndarray, origin) -> np.ndarray:
        """Records the polygons around ``coverage`` and returns the pixels they paint, (H, W)."""
        height, width = self.owner.shape
        canvas = Image.new('L', (width, height))
        draw = ImageDraw.Draw(canvas)
        contours, _ = cv2.findContours(
            coverage.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=origin
        )
        for contour in contours:
            polygon = contour[:, 0].tolist()
            if len(polygon) < 2:
                continue
            if len(polygon) == 2:  # a line one pixel wide, there and back
                polygon.append(polygon[0])
            draw.polygon([tuple(point) for point in polygon], fill=1)
            self.objects.append((label, polygon))
        mask = np.asarray(canvas, bool)
        self.owner[mask] = len(self.objects)
        return mask

    def soften_edges(self) -> None:
        """Blends the colours across the borders of objects, as a lens does."""
        across = np.diff(self.owner, axis=1) != 0
        down = np.diff(self.owner, axis=0) != 0
        edge = np.zeros(self.owner.shape, bool)
        edge[:, :-1] |= across
        edge[:, 1:] |= across
        edge[:-1] |= down
        edge[1:] |= down
        blurred = cv2.GaussianBlur(self.image, (3, 3), 0.7)
        self.image[edge] = blurred[edge]


def _rgb(colour) -> tuple[int, int, int]:
    return tuple(int(min(max(c, 0), 255)) for c in colour)
