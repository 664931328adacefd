"""Draws smooth shapes of a body into a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import ImageDraw

SIZE, SCALE = 192, 3
"""Side of a picture in pixels, and how much larger it is drawn before it is scaled down."""

FEET = 90.0
"""Height of the feet, in hundredths of the picture from its top; trunks crop the outermost 6."""

Colour = tuple[int, int, int]
Point = tuple[float, float]

_STEPS = np.linspace(0, 1, 5, endpoint=False)[:, None, None]


class Pen:
    """Draws in the body's own measure: x to the front or right, y up from the feet; 80 is its height."""

    def __init__(
        self, draw: ImageDraw.ImageDraw, x: float, facing: float, turn: float, size: float
    ) -> None:
        self._draw, self._x, self._size = draw, x, size
        cos, sin = math.cos(turn), math.sin(turn)
        self._turn = np.array([[facing * cos, facing * sin], [sin, -cos]])

    def shape(self, points: Sequence[Point], colour: Colour, *, smooth: bool = True) -> None:
        """A closed outline, filled; smooth = a Catmull-Rom curve through the points."""
        p = np.asarray(points, dtype=np.float64)
        if smooth:
            a, b, c = np.roll(p, 1, axis=0), np.roll(p, -1, axis=0), np.roll(p, -2, axis=0)
            t = _STEPS
            curve = p + 0.5 * t * (
                (b - a) + t * (2 * a - 5 * p + 4 * b - c + t * (3 * (p - b) + c - a))
            )
            p = curve.transpose(1, 0, 2).reshape(-1, 2)
        p = self._size * (p @ self._turn.T) + (self._x, FEET)
        pixels = (p * (SIZE * SCALE / 100)).ravel().tolist()
        self._draw.polygon(pixels, fill=colour, outline=shade(colour, 0.72), width=2)

    def rows(self, rows: Sequence[tuple[float, float, float]], colour: Colour) -> None:
        """A smooth body of (y, left or back, right or front), from bottom to top."""
        self.shape([(a, y) for y, a, _ in rows] + [(b, y) for y, _, b in reversed(rows)], colour)

    def limb(self, joints: Sequence[Point], half: Sequence[float], colour: Colour) -> None:
        """A tapering limb through the joints with these half widths."""
        p = np.asarray(joints, dtype=np.float64)
        along = np.gradient(p, axis=0)
        across = np.stack([-along[:, 1], along[:, 0]], axis=1)
        across *= (np.asarray(half) / np.linalg.norm(along, axis=1))[:, None]
        outline = np.concatenate([p + across, (p - across)[::-1]])
        self.shape([(float(x), float(y)) for x, y in outline], colour)

    def disc(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """An ellipse."""
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        points = np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], axis=1)
        self.shape([(float(a), float(b)) for a, b in points], colour, smooth=False)


def shade(colour: Colour, factor: float) -> Colour:
    """A darker colour, for factors below 1."""
    r, g, b = colour
    return round(r * factor), round(g * factor), round(b * factor)
