"""How far each kind of feedback may be trusted: the power of its likelihood that predicts ratings best.

Pseudo-observations are Gaussian and independent, what people do is neither: a taste that was shown ten times
by likes is not ten times as sure. So the weight of each kind is multiplied by the factor of POWERS under
which users' further ratings are predicted best, given some of their ratings and all of that kind (a tempered
likelihood: Grünwald 2012).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paaplus.heads import information_posterior
from paaplus.population.density import log_density
from paaplus.population.prior import Array, Prior

POWERS = (1.0, 0.5, 0.25, 0.1, 0.0)
COUNTS = (3, 10, 30)
"""Ratings that a user is known by, when the next are predicted."""

FURTHER, FEWEST_FURTHER = 40, 5
MOST_USERS = 600


@dataclass(frozen=True, slots=True)
class Weighted:
    """Rows of one attribute, sorted by owner.

    Attributes:
        owner: int [N], 0..U-1.
        rows: [N, m], and `target` [N], `weight` [N] next to a rating.
        target: See `rows`.
        weight: See `rows`.
    """

    owner: NDArray[np.intp]
    rows: Array
    target: Array
    weight: Array

    def statistics(self, users: int) -> tuple[Array, Array]:
        """Sums of w x x' [U, m, m] and w x y [U, m]."""
        width = self.rows.shape[1]
        gram, moment = np.zeros((users, width, width)), np.zeros((users, width))
        start = np.searchsorted(self.owner, np.arange(users + 1))
        for u in range(users):
            mine = slice(start[u], start[u + 1])
            weighed = self.rows[mine] * self.weight[mine, None]
            gram[u], moment[u] = weighed.T @ self.rows[mine], weighed.T @ self.target[mine]
        return gram, moment


def best_power(
    prior: Prior, a: int, ratings: Weighted, other: Weighted, users: int, rng: np.random.Generator
) -> float:
    """The power for one kind in one attribute.

    Args:
        prior: Of the heads.
        a: The attribute.
        ratings: Of U users, in any order within a user.
        other: The kind's observations by the same users.
        users: U.
        rng: Orders the ratings.
    """
    gram, moment = other.statistics(users)
    spoke = np.flatnonzero(np.abs(gram).sum(axis=(1, 2)) > 0)[:MOST_USERS]
    totals, cases = np.zeros(len(POWERS)), 0
    start = np.searchsorted(ratings.owner, np.arange(users + 1))
    orders = {int(u): rng.permutation(np.arange(start[u], start[u + 1])) for u in spoke}
    for count in COUNTS:
        able = [u for u, order in orders.items() if len(order) >= count + FEWEST_FURTHER]
        if not able:
            continue
        past = np.concatenate([np.sort(orders[u][:count]) for u in able])
        future = [np.sort(orders[u][count : count + FURTHER]) for u in able]
        known_gram, known_moment = _part(ratings, past).statistics(users)
        owner = np.repeat(np.arange(len(able)), [len(f) for f in future])
        wanted = np.concatenate(future)
        for n, power in enumerate(POWERS):
            mean, covariance = information_posterior(
                prior.mean[a],
                prior.covariance[a],
                prior.noise[a],
                known_gram[able] + power * gram[able],
                known_moment[able] + power * moment[able],
            )
            density = _density(
                ratings.rows[wanted], ratings.target[wanted], mean[owner], covariance[owner],
                float(prior.noise[a]),
            )  # fmt: skip
            per_user = np.bincount(owner, density) / np.bincount(owner)
            totals[n] += per_user.sum()
        cases += len(able)
    return POWERS[int(np.argmax(totals))] if cases else 1.0


def _part(rows: Weighted, which: NDArray[np.intp]) -> Weighted:
    return Weighted(rows.owner[which], rows.rows[which], rows.target[which], rows.weight[which])


def _density(rows: Array, target: Array, mean: Array, covariance: Array, noise: float) -> Array:
    spread = np.einsum("nm,nmk,nk->n", rows, covariance, rows, optimize=True) + noise
    return log_density(target - np.einsum("nm,nm->n", rows, mean), spread)
