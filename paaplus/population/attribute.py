"""Fits one attribute: item means, head, trust and the prior over users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paaplus.population.choose import Choice, Start, choose_prior
from paaplus.population.em import fit_calibration, fit_power_law
from paaplus.population.items import Components, ItemHead, ItemMeans, fit_item_head, item_means
from paaplus.population.noise import fit_factors
from paaplus.population.prior import Array
from paaplus.population.ratings import UserRatings, by_user
from paaplus.population.trust import LEAST, fit_trust, leading
from paaplus.population.weights import DailyCaps, rating_weights

MOST_USERS = 1500
"""Users that the prior is fitted on, evenly picked: more would not make it any surer, and each costs 100 KB.
All count in the item means."""

CONSTANT = 0.05
"""Variance of a user's ratings, next to the usual one, below which they are all the same."""


@dataclass(frozen=True, slots=True)
class AttributeFit:
    """The fit of one attribute.

    Attributes:
        mean: Of all ratings.
        means: Of the items.
        head: Of the population.
        choice: The prior over users.
        spread: [m, m], mean of psi psi' over ratings.
        trust: [U], of the users who rated.
        factors: [F], how differently users' ratings scatter, see `noise`.
        ratings: That the prior was fitted on, `raters` [U'] whose they are, and `events` [N'] which rows of
            the input.
        raters: See `ratings`.
        events: See `ratings`.
    """

    mean: float
    means: ItemMeans
    head: ItemHead
    choice: Choice
    spread: Array
    trust: Array
    factors: Array
    ratings: UserRatings
    raters: NDArray[np.intp]
    events: NDArray[np.intp]


def fit_attribute(
    users: NDArray[np.intp],
    items: NDArray[np.intp],
    scores: Array,
    components: Components,
    vectors: NDArray[np.float32],
    unit: Array,
    spectrum: Array,
    rng: np.random.Generator,
    *,
    numbers: NDArray[np.int64] | None = None,
    days: NDArray[np.int64] | None = None,
    caps: DailyCaps | None = None,
    start: Start | None = None,
) -> AttributeFit:
    """Fit one attribute.

    Args:
        users: int [N], sorted, and `items` int [N], who rated what.
        items: See `users`.
        scores: [N] on 0..10.
        components: Of all items' features.
        vectors: [I, F], the features.
        unit: [I, k], the first components at unit variance.
        spectrum: [k], their variance relative to the first.
        rng: Splits items and users.
        numbers: int [N], rising in the order in which each user gave them.
        days: int [N], days of the ratings, and `caps` on each, see `rating_weights`.
        caps: See `days`.
        start: Where the last fit's prior stood.
    """
    mean = float(scores.mean())
    folds, halves = rng.integers(2**63, size=2)
    says = np.flatnonzero(_says_something(users, scores))
    every = np.unique(users[says])
    some = says[np.isin(users[says], every[:: -(-len(every) // MOST_USERS)])]
    trust: Array | None = None

    def ratings_of(which: NDArray[np.intp], regressors: int | None = None) -> UserRatings:
        rows = _rows(items, which, means, head, unit)[:, :regressors]
        own = None if numbers is None else numbers[which]
        return by_user(users[which], rows, scores[which] - mean, weights.share[which], own)

    for _ in range(2):  # all alike at first; then by how consistent they are
        weights = rating_weights(users, items, trust, days, caps)
        means = item_means(users, items, scores, weights)
        head = fit_item_head(components, vectors[means.items], means, np.random.default_rng(folds))
        ratings = ratings_of(some)
        if trust is None:
            first = leading(
                fit_power_law(ratings.moments, fit_calibration(ratings.moments), spectrum)
            )
            trust = np.full(int(users.max()) + 1, LEAST)
            for begin in range(0, len(every), MOST_USERS):
                chunk = every[begin : begin + MOST_USERS]
                mine = says[np.isin(users[says], chunk)]
                trust[chunk] = fit_trust(first, ratings_of(mine, len(first.mean)).moments)
    choice = choose_prior(
        ratings, spectrum, head.between / head.scale**2, np.random.default_rng(halves), start
    )
    spread = ratings.rows.T @ ratings.rows / len(ratings.rows)
    assert trust is not None
    factors = fit_factors(choice.head, ratings.moments)
    return AttributeFit(
        mean, means, head, choice, spread, trust[np.unique(users)], factors, ratings,
        np.unique(users[some]), some,
    )  # fmt: skip


def _rows(
    items: NDArray[np.intp], which: NDArray[np.intp], means: ItemMeans, head: ItemHead, unit: Array
) -> Array:
    """Design rows [N', 3 + k] of some ratings."""
    place = np.searchsorted(means.items, items[which])
    # The rater's own rating is left out of delta: at training time it would predict itself.
    left_out, others = means.others(place, which)
    shrunk = head.between * others / (head.between * others + means.within)
    delta = shrunk * (left_out - head.fitted[place])
    fixed = np.stack([np.ones(len(which)), head.fitted[place], delta], axis=1)
    fixed[:, 1:] /= head.scale
    return np.concatenate([fixed, unit[items[which]]], axis=1)


def _says_something(users: NDArray[np.intp], scores: Array) -> NDArray[np.bool_]:
    """Ratings [N] of users who tell items apart: who gives all the same score has no taste to learn of."""
    count = np.maximum(np.bincount(users), 1)
    mean = np.bincount(users, scores) / count
    variance = np.bincount(users, (scores - mean[users]) ** 2) / count
    usual = float(np.median(variance[np.unique(users)]))
    silent = (variance < CONSTANT * usual) & (count >= 5)
    return ~silent[users] if not silent[users].all() else np.ones(len(users), bool)
