"""What simulated users truly think: a taste that all share, and how each departs from it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paaplus.events import ATTRIBUTES
from workers.bodies import PARAMETERS

SHARED: dict[str, dict[str, float]] = {
    "appearance": {
        "shoulders": 0.5, "waist": -0.35, "muscle": 0.35, "belly": -0.5, "legs": 0.3, "slouch": -0.35,
        "middle waist": 0.45, "middle muscle": 0.3, "middle hips": 0.3,
    },
    "health": {
        "muscle": 0.55, "belly": -0.75, "waist": -0.3, "slouch": -0.35,
        "middle waist": 0.35, "middle muscle": 0.25,
    },
    "posture": {"slouch": -1.1, "lean": -0.25, "belly": -0.2, "middle lean": 0.7},
}  # fmt: skip
"""Points of score per standard deviation of a trait; "middle" = the nearer to the middle the better."""

OWN = {"appearance": 1.5, "health": 1.4, "posture": 1.4}
"""Standard deviation, in points, over items, of what is a user's own in that attribute."""

GROUPS, FACTORS = 4, 3
GROUP_SHARE, FACTOR_SHARE = 0.4, 0.5
"""The own part comes from the user's group, from a few tendencies that vary smoothly, and the rest of its
variance from each trait alone."""

CHARM = 0.3
"""Standard deviation of what all see in an item that its body does not explain."""


def traits(bodies: NDArray[np.float64]) -> NDArray[np.float64]:
    """What tastes weigh: every parameter, and how near the middle it is.

    Args:
        bodies: [I, P] in 0..1.

    Returns:
        [I, 2 P], each column with mean 0 and variance 1 over a uniform 0..1.
    """
    x = (bodies - 0.5) * np.sqrt(12)
    return np.concatenate([x, (1 - x**2) / np.sqrt(0.8)], axis=1)


def true_scores(
    bodies: NDArray[np.float64], users: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """What every user thinks of every item, before noise and rounding.

    Args:
        bodies: [I, P] in 0..1.
        users: How many users.
        rng: Draws the users.

    Returns:
        [users, I, A], mostly within 0..10.
    """
    names = [*PARAMETERS, *(f"middle {name}" for name in PARAMETERS)]
    shared = np.array([[SHARED[a].get(name, 0.0) for name in names] for a in ATTRIBUTES])
    own = np.array([OWN[a] for a in ATTRIBUTES])[:, None] * _deviations(users, len(names), rng)
    table = traits(bodies)
    felt = np.einsum("it,uat->uia", table, shared[None] + own)
    felt += CHARM * rng.normal(size=(len(bodies), len(ATTRIBUTES)))
    # Some give high scores, some use a narrow range of them.
    mean = 5.3 + 0.8 * rng.normal(size=(users, 1, 1))
    mean = mean + 0.3 * rng.normal(size=(users, 1, len(ATTRIBUTES)))
    scores: NDArray[np.float64] = mean + np.exp(0.2 * rng.normal(size=(users, 1, 1))) * felt
    return scores


def _deviations(users: int, width: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Departures from the shared weights, [users, A, width]; their squares sum to about 1 per attribute."""
    count = len(ATTRIBUTES)
    groups = _unit(rng.normal(size=(GROUPS, count, width)))
    factors = _unit(rng.normal(size=(FACTORS, count, width)))
    of_group = groups[rng.integers(GROUPS, size=users)]
    of_factors = np.einsum("uf,fat->uat", rng.normal(size=(users, FACTORS)), factors)
    alone = rng.normal(size=(users, count, width))
    result: NDArray[np.float64] = (
        np.sqrt(GROUP_SHARE) * of_group
        + np.sqrt(FACTOR_SHARE / FACTORS) * of_factors
        + np.sqrt((1 - GROUP_SHARE - FACTOR_SHARE) / width) * alone
    )
    return result


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    # People differ more about ends than about middles.
    weight = np.repeat([1.0, 0.4], len(PARAMETERS))
    rows = rows * weight
    length: NDArray[np.float64] = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / length
