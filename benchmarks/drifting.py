"""Simulated users whose taste changes in a known way, and the population that they come from.

Tastes are the demo's (`workers.simulate`). What is a user's own in them is what is left of the truth after
the user's mean and slope on the crowd's mean; only that changes, so a user who changed stays a member of the
population:

- `benign`: it stays as it is;
- `reversal`: it turns to its opposite after half of the ratings;
- `recurring`: it is A, B, A, B, a quarter of the ratings each, B another user's;
- `gradual`: it turns to another user's, by a right angle between the first and the third quarter.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paaplus.events import ATTRIBUTES
from paaplus.population.fit import ItemFeatures, Ratings, fit_population
from paaplus.population.prior import Prior
from workers.simulate import NOISE, SimulatedWorld

Array = NDArray[np.float64]

STREAMS = ("benign", "reversal", "recurring", "gradual")

ROWS = 400
"""Ratings of a user, each of another item."""

CHANGES = {"benign": (), "reversal": (200,), "recurring": (100, 200, 300), "gradual": (100,)}
"""Rows at which the taste changes, or begins to."""

CROWD, CROWD_RATINGS, ITEMS = 200, 100, 500
"""Users behind the population model, ratings of each, and items."""

ATTRIBUTE = 0
"""Appearance alone: a change in several attributes is easier to see."""


@dataclass(frozen=True)
class DriftWorld:
    """A population model and judged users who had no part in it.

    Attributes:
        user_ids: U ids.
        prior: Of one attribute.
        calibration: Of one attribute.
        psi: [U, ROWS, m], what each user is asked to rate, in order.
        unseen: [U, ROWS], variance of the error of delta.
        base: [U, ROWS], the part of the true score that does not change.
        own: [U, ROWS], the part that does; `other` is that of another user on the same items.
        other: See `own`.
        seed: Of the ratings' noise.
    """

    user_ids: list[str]
    prior: Prior
    calibration: Prior
    psi: Array
    unseen: Array
    base: Array
    own: Array
    other: Array
    seed: int

    def ratings(self, stream: str) -> Array:
        """What the users of a stream rate, [U, ROWS]: halves within 0..10; the same noise in all streams."""
        row = np.arange(ROWS)
        if stream == "reversal":
            felt = np.where(row < CHANGES[stream][0], 1.0, -1.0) * self.own
        elif stream == "recurring":
            second = np.searchsorted(CHANGES[stream], row, side="right") % 2 == 1
            felt = np.where(second, self.other, self.own)
        elif stream == "gradual":
            angle = np.clip((row - ROWS // 4) / (ROWS // 2), 0, 1) * np.pi / 2
            felt = np.cos(angle) * self.own + np.sin(angle) * self.other
        else:
            felt = self.own
        noise = NOISE * np.random.default_rng((self.seed, 2)).normal(size=felt.shape)
        rated: Array = np.clip(np.round((self.base + felt + noise) * 2) / 2, 0, 10)
        return rated


def drift_world(users: int, seed: int) -> DriftWorld:
    """The crowd's population model and `users` judged users; everything follows from the seed."""
    world = SimulatedWorld(users=CROWD + users, items=ITEMS, seed=seed)
    rng = np.random.default_rng((seed, 1))
    ids = np.array(world.item_ids, dtype=object)
    features = [json.loads(value)["features"] for _, value in world.given_items()]
    vectors = np.array(features, dtype=np.float32)
    true = world.true[:, :, ATTRIBUTE]

    rated = np.stack([rng.permutation(ITEMS)[:CROWD_RATINGS] for _ in range(CROWD)])
    felt = np.take_along_axis(true[:CROWD], rated, axis=1)
    scores = np.full((rated.size, len(ATTRIBUTES)), np.nan)
    given = np.round((felt + NOISE * rng.normal(size=felt.shape)) * 2) / 2
    scores[:, ATTRIBUTE] = np.clip(given, 0, 10).reshape(-1)
    names = np.repeat(np.array(world.user_ids[:CROWD], dtype=object), CROWD_RATINGS)
    population = fit_population(
        Ratings(names, ids[rated.reshape(-1)], scores),
        ItemFeatures(ids, vectors),
        trunk="given",
        seed=seed,
    )

    judged = true[CROWD:]
    design = np.stack([np.ones(ITEMS), true[:CROWD].mean(axis=0)], axis=1)
    base = (design @ np.linalg.lstsq(design, judged.T, rcond=None)[0]).T
    own = judged - base
    shown = np.stack([rng.permutation(ITEMS)[:ROWS] for _ in range(users)])
    psi = population.rows(list(ids), vectors)[:, ATTRIBUTE]
    unseen = population.unseen_variance(list(ids))[:, ATTRIBUTE]
    of_rows = [np.take_along_axis(part, shown, axis=1) for part in (base, own, np.roll(own, 1, 0))]
    return DriftWorld(
        user_ids=world.user_ids[CROWD:],
        prior=_one(population.prior),
        calibration=_one(population.calibration),
        psi=psi[shown],
        unseen=unseen[shown],
        base=of_rows[0],
        own=of_rows[1],
        other=of_rows[2],
        seed=seed,
    )


def _one(prior: Prior) -> Prior:
    part = slice(ATTRIBUTE, ATTRIBUTE + 1)
    return Prior(prior.mean[part], prior.covariance[part], prior.noise[part])
