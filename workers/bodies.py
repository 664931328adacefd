"""Drawings of stylised bodies from a vector of parameters: pictures whose taste can be known."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

PARAMETERS = (
    "shoulders",  # narrow .. broad
    "waist",  # slim .. wide
    "hips",  # narrow .. wide
    "muscle",  # thin limbs .. thick limbs
    "belly",  # flat .. round
    "legs",  # short .. long
    "slouch",  # upright .. bent
    "lean",  # leaning back .. leaning forward
)
"""What a body is made of, each 0..1."""

SIZE, SCALE = 192, 2
"""Side of a picture in pixels, and how much larger it is drawn before it is scaled down."""

SKIN = ("#f1c9a5", "#e0ac80", "#c68642", "#8d5524", "#5c3a21")
CLOTH = ("#2a6f97", "#9b2226", "#386641", "#6a4c93", "#e09f3e", "#343a40")
GROUND = ("#edf2f4", "#e9edc9", "#fefae0", "#dee2e6", "#cdb4db", "#bde0fe")

Point = tuple[float, float]


def draw_body(parameters: NDArray[np.float64], rng: np.random.Generator) -> Image.Image:
    """A standing person, half turned, in sports clothes.

    Args:
        parameters: [8], 0..1, in the order of `PARAMETERS`.
        rng: Chooses skin, clothes, background, side and place: what taste is not about.

    Returns:
        RGB picture of SIZE x SIZE pixels.
    """
    p = dict(zip(PARAMETERS, np.clip(parameters, 0, 1).tolist(), strict=True))
    skin, shirt, trousers = rng.choice(SKIN), rng.choice(CLOTH), rng.choice(CLOTH)
    side = 1.0 if rng.random() < 0.5 else -1.0
    image = Image.new("RGB", (SIZE * SCALE, SIZE * SCALE), str(rng.choice(GROUND)))
    draw = ImageDraw.Draw(image)
    unit = SIZE * SCALE / 100
    shift = 50 + rng.uniform(-4, 4)

    def at(x: float, y: float) -> Point:
        return ((shift + side * x) * unit, y * unit)

    leg = 34 + 12 * p["legs"]
    hip_y, torso = 95 - leg, 28.0
    tilt = math.radians(-8 + 20 * p["lean"])
    chest_x, chest_y = torso * math.sin(tilt), hip_y - torso * math.cos(tilt)
    bend = math.radians(4 + 46 * p["slouch"])
    neck_x, neck_y = chest_x + 5.5 * math.sin(tilt + bend), chest_y - 5.5 * math.cos(tilt + bend)
    head_x, head_y = neck_x + 6 * math.sin(tilt + bend), neck_y - 6 * math.cos(tilt + bend)
    shoulder, hip = 6.5 + 7.5 * p["shoulders"], 5.5 + 5.5 * p["hips"]
    waist, limb = 4.2 + 6 * p["waist"], 2.0 + 2.6 * p["muscle"]
    draw.ellipse(
        [*at(-18, 93), *at(18, 97)] if side > 0 else [*at(18, 93), *at(-18, 97)], fill="#adb5bd"
    )

    def limbs(points: list[Point], width: float, colour: str) -> None:
        draw.line(
            [at(*q) for q in points], fill=colour, width=round(2 * width * unit), joint="curve"
        )
        for q in points:
            x, y = at(*q)
            r = width * unit
            draw.ellipse([x - r, y - r, x + r, y + r], fill=colour)

    foot = 95 - 1.2
    for offset in (-0.55, 0.55):
        knee = (offset * hip + 1.0, hip_y + leg * 0.5)
        limbs([(offset * hip, hip_y + 2), knee], limb * 1.35, str(trousers))
        limbs([knee, (offset * hip * 1.1, foot)], limb * 1.0, str(skin))
        limbs([(offset * hip * 1.1, foot), (offset * hip * 1.1 + 4.5, foot + 0.4)], 1.5, "#212529")
    hang = 4 * p["slouch"]
    far = [(chest_x - shoulder, chest_y + 2), (chest_x - shoulder - 2, chest_y + 14)]
    limbs([*far, (chest_x - shoulder + hang, chest_y + 26)], limb, str(skin))
    waist_x, waist_y = chest_x * 0.42, hip_y - torso * 0.36
    outline = [
        (chest_x - shoulder, chest_y),
        (chest_x + shoulder, chest_y),
        (chest_x * 0.75 + shoulder * 0.82, chest_y + torso * 0.3),
        (waist_x + waist + 5.5 * p["belly"], waist_y),
        (hip, hip_y + 2),
        (-hip, hip_y + 2),
        (waist_x - waist, waist_y),
        (chest_x * 0.75 - shoulder * 0.82, chest_y + torso * 0.3),
    ]
    draw.polygon([at(*q) for q in outline], fill=str(shirt))
    round_x, round_y = at(waist_x + waist * 0.45, waist_y + 1)
    radius = (waist * 0.6 + 5.0 * p["belly"]) * unit
    draw.ellipse(
        [round_x - radius, round_y - radius, round_x + radius, round_y + radius], fill=str(shirt)
    )
    draw.polygon(
        [at(-hip, hip_y - 1), at(hip, hip_y - 1), at(hip, hip_y + 5), at(-hip, hip_y + 5)],
        fill=str(trousers),
    )
    limbs(
        [(chest_x - shoulder + 2, chest_y + 1), (chest_x + shoulder - 2, chest_y + 1)],
        2.4,
        str(shirt),
    )
    near = [(chest_x + shoulder, chest_y + 2), (chest_x + shoulder + 2.5, chest_y + 14)]
    limbs([*near, (chest_x + shoulder + 1 + hang, chest_y + 26)], limb, str(skin))
    limbs([(chest_x, chest_y), (neck_x, neck_y)], 2.2, str(skin))
    head = at(head_x, head_y)
    draw.ellipse(
        [head[0] - 4.6 * unit, head[1] - 5.8 * unit, head[0] + 4.6 * unit, head[1] + 5.8 * unit],
        fill=str(skin),
    )
    hair = [head[0] - 4.8 * unit, head[1] - 6.2 * unit, head[0] + 4.8 * unit, head[1] + 4.2 * unit]
    draw.pieslice(hair, 180, 360, fill="#3d2b1f")
    return image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
