"""A pinhole camera above a street: from metres on the street to pixels, and back for the ground.

Street coordinates are (s, y, z): s metres to the right of the road's middle, y up, z ahead. A
street may turn away from the camera (``slope``) and bend; both only shift s with z.
"""

from dataclasses import dataclass

import numpy as np

NEAR = 0.8  # metres; nothing nearer is drawn
FAR = 160.0  # metres; the ground ends here


@dataclass(frozen=True)
class Camera:
    """Size, focal length and horizon are in pixels; eye (height) and offset (s) in metres."""

    width: int
    height: int
    focal: float
    horizon: float
    eye: float
    offset: float
    slope: float = 0.0
    bend: float = 0.0

    def _shift(self, z):
        return -self.offset + self.slope * z + 0.5 * self.bend * z * z

    def project(self, points: np.ndarray) -> np.ndarray:
        """From street points (N, 3), all with z > 0, to pixels (N, 2) of x and y."""
        s, y, z = np.asarray(points, np.float64).T
        x = self.width / 2 + self.focal * (s + self._shift(z)) / z
        return np.stack([x, self.horizon + self.focal * (self.eye - y) / z], axis=1)

    def outline(self, points) -> np.ndarray:
        """Projects a flat polygon (N, 3) of the street, cut where it comes nearer than NEAR."""
        points = np.asarray(points, np.float64)
        inside = points[:, 2] >= NEAR
        if not inside.all():
            points = _cut_at_near(points, inside)
        return self.project(points) if len(points) else np.zeros((0, 2))

    def eye_seen_from(self, z: float) -> np.ndarray:
        """Returns where the camera is for somebody at ``z`` who takes the street to be straight.

        Which side of a thing we see depends on it. The bend alone matters: to shear the plane by
        ``slope`` changes nothing in what lies on which side of a line.
        """
        return np.array([self.offset + 0.5 * self.bend * z * z, self.eye, 0.0])

    def pixels_per_metre(self, z: float) -> float:
        return self.focal / max(z, NEAR)

    @property
    def ground_top(self) -> int:
        """The first row that shows ground."""
        return int(self.horizon) + 1

    def ground(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns s and z, float32 (H - ground_top, W), of the ground that these pixels show."""
        rows = np.arange(self.ground_top, self.height, dtype=np.float32)[:, None]
        columns = np.arange(self.width, dtype=np.float32)[None]
        z = self.focal * self.eye / (rows - self.horizon)
        s = (columns - self.width / 2) * z / self.focal - self._shift(z)
        return s.astype(np.float32), np.broadcast_to(z, s.shape).astype(np.float32)


def _cut_at_near(points: np.ndarray, inside: np.ndarray) -> np.ndarray:
    kept = []
    for i, point in enumerate(points):
        before = points[i - 1]
        if inside[i] != inside[i - 1]:
            share = (NEAR - before[2]) / (point[2] - before[2])
            kept.append(before + share * (point - before))
        if inside[i]:
            kept.append(point)
    return np.array(kept)
