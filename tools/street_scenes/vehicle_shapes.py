"""The shapes of cars, trucks, buses and trams, and where their points are on the street."""

import math

import numpy as np

# A body is a list of solids, each with its outline seen from the side, (along, up) in shares of the
# vehicle's length and height, clockwise from the low rear; and how much narrower it is at the top.
CAR = [
    ([(0, 0.16), (0.0, 0.5), (0.03, 0.6), (0.7, 0.62), (0.97, 0.52), (1, 0.4), (1, 0.16)], 0.03),
    ([(0.06, 0.6), (0.16, 0.97), (0.2, 1), (0.55, 1), (0.74, 0.61)], 0.2),
]
ESTATE = [
    ([(0, 0.16), (0.0, 0.5), (0.01, 0.58), (0.75, 0.6), (0.97, 0.5), (1, 0.4), (1, 0.16)], 0.03),
    ([(0.01, 0.58), (0.06, 0.98), (0.1, 1), (0.6, 1), (0.77, 0.59)], 0.16),
]
VAN = [
    ([(0, 0.12), (0, 0.5), (0.85, 0.5), (0.98, 0.42), (1, 0.34), (1, 0.12)], 0.02),
    ([(0, 0.5), (0.01, 1), (0.68, 1), (0.86, 0.5)], 0.1),
]
TRUCK = [
    ([(0.74, 0.14), (0.74, 0.72), (0.93, 0.72), (0.98, 0.45), (1, 0.4), (1, 0.14)], 0.05),
    ([(0, 0.24), (0, 1), (0.72, 1), (0.72, 0.24)], 0.0),
]
COACH = [([(0, 0.1), (0, 0.97), (0.02, 1), (0.98, 1), (1, 0.92), (1, 0.1)], 0.04)]

# name: bodies, (length, width, height) in metres, label
KINDS = {
    'car': ([CAR, ESTATE], (4.3, 1.8, 1.48), 'car'),
    'van': ([VAN], (4.9, 1.95, 2.05), 'car'),
    'truck': ([TRUCK], (8.0, 2.5, 3.4), 'truck'),
    'bus': ([COACH], (11.5, 2.55, 3.1), 'bus'),
    'tram': ([COACH], (24.0, 2.5, 3.4), 'train'),
}


class Vehicle:
    """Where a vehicle stands and how large it is.

    ``heading`` is the angle from straight ahead in radians; pi means that it comes towards us.
    """

    def __init__(self, kind: str, s: float, z: float, heading: float, size: float = 1.0) -> None:
        self.bodies, dimensions, self.label = KINDS[kind]
        self.kind, self.s, self.z, self.heading = kind, s, z, heading
        self.length, self.width, self.height = np.array(dimensions) * size

    def street(self, along, across, up) -> np.ndarray:
        """From shares of length (0..1, rear to front) and width (-1..1), and metres up."""
        forward = (np.asarray(along, np.float64) - 0.5) * self.length
        right = np.asarray(across, np.float64) * self.width / 2
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        points = np.empty((*np.broadcast_shapes(forward.shape, right.shape, np.shape(up)), 3))
        points[..., 0] = self.s + forward * sin + right * cos
        points[..., 1] = up
        points[..., 2] = self.z + forward * cos - right * sin
        return points

    def solid(self) -> np.ndarray:
        """Returns the corners (8, 3) of its box, which cast its shadow."""
        along, across, up = np.meshgrid([0.02, 0.98], [-1, 1], [0, self.height * 0.9])
        return self.street(along.ravel(), across.ravel(), up.ravel())
