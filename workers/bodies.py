"""Drawings of stylised bodies from a vector of parameters: pictures whose taste can be known.

A picture shows one person twice, from the front and from the side, as posture charts do: breadth is seen
best from the front, belly and posture from the side.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from workers.pen import FEET, SCALE, SIZE, Colour, Pen, shade

PARAMETERS = (
    "shoulders",  # narrow .. broad
    "waist",  # slim .. wide
    "hips",  # narrow .. wide
    "muscle",  # thin limbs .. thick limbs
    "belly",  # flat .. round
    "legs",  # short .. long, at equal height
    "slouch",  # upright .. round back, head forward
    "lean",  # leaning back .. leaning forward
)
"""What a body is made of, each 0..1."""

SKIN = ((245, 208, 178), (226, 176, 136), (198, 136, 84), (141, 88, 48), (92, 60, 40))
HAIR = ((40, 30, 26), (84, 54, 34), (150, 104, 58), (205, 170, 110), (120, 120, 124))


@dataclass(frozen=True, slots=True)
class _Look:
    """What taste is not about."""

    skin: Colour
    hair: Colour
    shirt: Colour
    shorts: Colour
    wall: Colour
    long_hair: bool
    head: float
    stance: float
    size: float


def draw_body(parameters: NDArray[np.float64], rng: np.random.Generator) -> Image.Image:
    """One person in sports clothes, from the front and from the side.

    Args:
        parameters: [8], 0..1, in the order of `PARAMETERS`.
        rng: Chooses skin, hair, clothes, wall, stance, size, sides and place: what taste is not about.

    Returns:
        RGB picture of SIZE x SIZE pixels.
    """
    p = dict(zip(PARAMETERS, np.clip(parameters, 0, 1).tolist(), strict=True))
    look = _Look(
        skin=SKIN[rng.integers(len(SKIN))],
        hair=HAIR[rng.integers(len(HAIR))],
        shirt=_hsv(rng.random(), rng.uniform(0.25, 0.75), rng.uniform(0.35, 0.9)),
        shorts=_hsv(rng.random(), rng.uniform(0.1, 0.6), rng.uniform(0.2, 0.6)),
        wall=_hsv(rng.random(), rng.uniform(0.02, 0.14), rng.uniform(0.86, 0.98)),
        long_hair=bool(rng.random() < 0.5),
        head=rng.uniform(0.94, 1.06),
        stance=rng.uniform(0.0, 1.0),
        size=rng.uniform(0.95, 1.0),
    )
    image = Image.new("RGB", (SIZE * SCALE, SIZE * SCALE), look.wall)
    draw = ImageDraw.Draw(image)
    floor = round((FEET - 5) * SIZE * SCALE / 100)
    draw.rectangle((0, floor, SIZE * SCALE, SIZE * SCALE), fill=shade(look.wall, 0.88))
    front_left, facing = rng.random() < 0.5, 1.0 if rng.random() < 0.5 else -1.0
    middle, gap = 50 + rng.uniform(-1.5, 1.5), 21.0
    left, right = (middle - gap, middle + gap) if front_left else (middle + gap, middle - gap)
    _front(Pen(draw, left, 1.0, 0.0, look.size), p, look)
    for x, breadth in ((left, 13), (right, 9)):
        shadow = shade(look.wall, 0.75)
        Pen(draw, x, 1.0, 0.0, look.size).disc(0, -0.3, breadth, 1.6, shadow)
    # A lean of the whole body turns it about its feet.
    _side(Pen(draw, right, facing, math.radians(-6.5 + 15 * p["lean"]), look.size), p, look)
    return image.reduce(SCALE)


def _heights(p: dict[str, float], look: _Look) -> tuple[float, float, float, float]:
    """Crotch, shoulder, middle and radius of the head, at 80 of full height."""
    crotch, radius = 33 + 9 * p["legs"], 5.0 * look.head
    return crotch, 80 - 2.35 * radius - 3.2, 80 - radius * 1.15, radius


def _front(pen: Pen, p: dict[str, float], look: _Look) -> None:
    crotch, top, head, radius = _heights(p, look)
    drop = 2.6 * p["slouch"]
    top, head = top - 0.5 * drop, head - drop
    trunk = top - crotch
    shoulder, waist = 6.6 + 4.6 * p["shoulders"], 4.2 + 4.2 * p["waist"] + 1.2 * p["belly"]
    hip, thigh = 5.4 + 3.8 * p["hips"], 2.3 + 1.5 * p["muscle"] + 0.6 * p["hips"]
    arm, foot = 1.3 + 1.5 * p["muscle"], 2.4 + 0.45 * hip + 2.2 * look.stance
    if look.long_hair:
        pen.disc(0, head - 2, radius * 1.12, radius * 1.5, look.hair)
    for side in (-1.0, 1.0):
        start = side * (hip - thigh)
        knee, ankle = (0.5 * (start + side * foot), crotch * 0.52), (side * foot, 2.2)
        calf = (0.3 * knee[0] + 0.7 * ankle[0] + side * 0.2, crotch * 0.36)
        pen.limb(
            [(start, crotch), knee, calf, ankle],
            [thigh, thigh * 0.66, thigh * 0.7, thigh * 0.4],
            look.skin,
        )
        pen.disc(side * (foot + 0.7), 0.9, 2.3, 1.3, (52, 56, 64))
        pen.limb(
            [(start, crotch + 3), (0.35 * start + 0.65 * knee[0], crotch * 0.66)],
            [thigh * 1.15, thigh * 1.02],
            look.shorts,
        )
        out = shoulder + 1.2 + 1.2 * look.stance
        hand = (side * (out + 0.6), crotch + 0.5)
        elbow = (side * (out + 0.9), top - 0.52 * (top - crotch) - 1)
        joint = (side * (shoulder - arm * 0.6), top - arm)
        pen.limb([joint, elbow, hand], [arm * 1.2, arm, arm * 0.7], look.skin)
        pen.disc(hand[0], hand[1] - 0.8, arm * 0.75, 1.7, look.skin)
    seat = crotch + trunk * 0.22
    pen.rows(
        [(crotch - 1, -hip, hip), (seat, -hip, hip), (seat + 3, -0.7 * waist, 0.7 * waist)],
        look.shorts,
    )
    pen.limb([(0, top - 1), (0, head)], [2.0 + 0.9 * p["muscle"]] * 2, look.skin)
    chest = shoulder * 0.84 + 0.8 * p["muscle"]
    for side in (-1.0, 1.0):
        joint = (side * (shoulder - arm * 0.9), top - arm * 1.05)
        sleeve = (side * (shoulder + 0.5), top - trunk * 0.3)
        pen.limb([joint, sleeve], [arm * 1.35, arm * 1.2], look.shirt)
    pen.rows(
        [
            (seat - 1.5, -hip * 0.94, hip * 0.94),
            (crotch + trunk * 0.42, -waist, waist),
            (crotch + trunk * 0.74, -chest, chest),
            (top - 1.2, -shoulder + 0.6, shoulder - 0.6),
            (top + 0.9, -2.4, 2.4),
        ],
        look.shirt,
    )
    pen.disc(0, head, radius * 0.86, radius * 1.12, look.skin)
    fringe = np.linspace(0.12 * np.pi, 0.88 * np.pi, 9)
    pen.shape(
        [(radius * 0.95 * math.cos(a), head + radius * 1.2 * math.sin(a)) for a in fringe],
        look.hair,
        smooth=False,
    )
    for side in (-1.0, 1.0):
        pen.disc(side * radius * 0.34, head - 0.1, 0.42, 0.5, (40, 34, 32))


def _side(pen: Pen, p: dict[str, float], look: _Look) -> None:
    crotch, top, head, radius = _heights(p, look)
    bend = p["slouch"]
    trunk = top - crotch
    depth, thigh = 3.3 + 1.2 * p["muscle"], 2.5 + 1.6 * p["muscle"] + 0.6 * p["hips"]
    waist, seat = 2.7 + 1.9 * p["waist"], 3.4 + 2.2 * p["hips"]
    belly, arm = 6.6 * p["belly"], 1.3 + 1.5 * p["muscle"]
    # The back rounds, the neck comes forward, the head further and down.
    back, neck_x, neck_y = 2.6 * bend, 0.6 + 3.6 * bend, top - 1.8 * bend
    head_x, head_y = neck_x + 0.9 + 3.4 * bend, head - 3.6 * bend
    if look.long_hair:
        pen.disc(head_x - radius * 0.5, head_y - 2, radius * 0.75, radius * 1.45, look.hair)
    pen.limb(
        [(0.2, crotch), (0.9, crotch * 0.52), (-0.7, crotch * 0.34), (-0.4, 2.0)],
        [thigh, thigh * 0.68, thigh * 0.74, thigh * 0.42],
        look.skin,
    )
    pen.shape([(-2.2, 0), (-1.8, 2.2), (1.6, 2.0), (5.0, 0.9), (5.2, 0)], (52, 56, 64))
    pen.limb([(0.1, crotch + 2), (0.6, crotch * 0.66)], [thigh * 1.15, thigh], look.shorts)
    hip = crotch + trunk * 0.2
    pen.rows(
        [
            (crotch - 1, -seat * 0.9, thigh),
            (hip - 2, -seat, thigh + 0.5),
            (hip + 3, -0.7 * waist, 0.7 * waist),
        ],
        look.shorts,
    )
    pen.limb([(neck_x - 1.2, neck_y - 2), (head_x - 0.8, head_y)], [2.6, 2.2], look.skin)
    pen.rows(
        [
            (hip - 1.5, -seat * 0.92, thigh + 0.4 + belly * 0.35),
            (crotch + trunk * 0.38, -waist - 0.3 * back, waist + belly),
            (crotch + trunk * 0.55, -waist - 0.6 - 0.8 * back, waist + 0.3 + belly * 0.6),
            (crotch + trunk * 0.76, -depth - back, depth + 0.4 - 0.5 * bend),
            (neck_y - 2.0, -depth * 0.75 - back * 0.4 + 0.3 * neck_x, depth * 0.45 + 0.6 * neck_x),
            (neck_y + 0.8, neck_x - 2.4, neck_x + 1.0),
        ],
        look.shirt,
    )
    shoulder = (0.55 * neck_x - 0.6 - 0.3 * back, top - 3.2 - bend)
    elbow = (shoulder[0] - 0.6 + bend, shoulder[1] - trunk * 0.45)
    hand = (elbow[0] + 2.2 + bend, crotch - 0.5)
    pen.limb([shoulder, elbow, hand], [arm * 1.15, arm, arm * 0.7], look.skin)
    pen.disc(hand[0], hand[1] - 0.8, arm * 0.75, 1.7, look.skin)
    middle = (0.45 * shoulder[0] + 0.55 * elbow[0], 0.45 * shoulder[1] + 0.55 * elbow[1])
    breadth = arm * (1.2 + 0.25 * p["shoulders"])
    pen.limb(
        [(shoulder[0], shoulder[1] + 1.2), middle], [breadth, arm * 1.2], shade(look.shirt, 0.9)
    )
    pen.disc(head_x, head_y, radius * 0.98, radius * 1.12, look.skin)
    pen.shape(
        [
            (head_x + radius * 0.85, head_y + 0.9),
            (head_x + radius * 1.25, head_y - 0.7),
            (head_x + radius * 0.85, head_y - 1.1),
        ],
        look.skin,
        smooth=False,
    )
    cap = np.linspace(0.2 * np.pi, 1.12 * np.pi, 10)
    pen.shape(
        [(head_x + radius * 1.06 * math.cos(a), head_y + radius * 1.2 * math.sin(a)) for a in cap],
        look.hair,
        smooth=False,
    )
    pen.disc(head_x + radius * 0.58, head_y - 0.1, 0.42, 0.5, (40, 34, 32))


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    r, g, b = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(r * 255), round(g * 255), round(b * 255)
