"""Trust: consistent users are believed whatever their taste, chance and constants are not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from paaplus.population import ItemFeatures, Ratings, fit_population
from paaplus.population.em import Gaussian, Moments
from paaplus.population.items import item_means
from paaplus.population.trust import LEAST, fit_trust
from paaplus.population.weights import rating_weights

Array = NDArray[np.float64]
M, EACH = 8, 40


def moments(weights: Array, noise: float, seed: int, scores: Array | None = None) -> Moments:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(len(weights), EACH, M))
    x[:, :, 0] = 1.0
    y = np.einsum("unm,um->un", x, weights) + noise * rng.normal(size=x.shape[:2])
    y = y if scores is None else scores
    return Moments(
        np.einsum("unm,unk->umk", x, x), np.einsum("unm,un->um", x, y), (y**2).sum(axis=1),
        np.full(len(weights), float(EACH)),
    )  # fmt: skip


def prior() -> Gaussian:
    covariance = np.diag([1.0, 0.3, 0.3, *[0.15] * (M - 3)])
    return Gaussian(np.array([0.0, 1.0, 0.5, *[0.0] * (M - 3)]), covariance, 1.0)


def draw(count: int, seed: int = 0) -> Array:
    made = prior()
    return np.random.default_rng(seed).multivariate_normal(made.mean, made.covariance, count)


def test_tastes_are_believed_even_when_turned_round() -> None:
    weights = draw(200)
    assert np.mean(fit_trust(prior(), moments(weights, 1.0, 1)) > 0.9) > 0.97
    unusual = weights * np.r_[1.0, -1.0, -1.0, np.full(M - 3, 2.0)]
    assert np.mean(fit_trust(prior(), moments(unusual, 1.0, 2)) > 0.9) > 0.9


@pytest.mark.parametrize("spread", [0.0, 1.0, 3.0])
def test_chance_and_constants_are_not(spread: float) -> None:
    rng = np.random.default_rng(3)
    scores = spread * rng.normal(size=(200, EACH))
    trust = fit_trust(prior(), moments(draw(200), 1.0, 4, scores))
    assert np.mean(trust < 0.3) > 0.85
    assert trust.min() >= LEAST


def test_a_user_counts_once_per_item_however_often() -> None:
    for often in (1, 50):
        users = np.r_[0, 1, 2, [3] * often, 0, 1, 2, 3]
        items = np.r_[[0] * (3 + often), [1] * 4]
        scores = np.r_[[0.0, 1, 2], [3.0] * often, 4, 5, 6, 7]
        means = item_means(users, items, scores, rating_weights(users, items))
        assert means.count[0] == pytest.approx(4)


def test_random_raters_hardly_move_what_is_known_of_items() -> None:
    rng = np.random.default_rng(5)
    users, items, features = 120, 150, 6
    vectors = rng.normal(size=(items, features)).astype(np.float32)
    taste = rng.normal(size=features)
    quality = vectors @ taste + 0.5 * rng.normal(size=items)
    own = rng.normal(size=(users, features)) * 0.4
    rated = np.stack([rng.choice(items, 30, replace=False) for _ in range(users)])
    scores = 5 + 0.8 * (quality[rated] + np.einsum("unf,uf->un", vectors[rated], own))
    scores = np.clip(scores + 0.7 * rng.normal(size=scores.shape), 0, 10)
    hostile = np.arange(users) < 36
    spoiled = np.where(hostile[:, None], rng.uniform(0, 10, scores.shape), scores)
    ids = np.array([f"i{n:03d}" for n in range(items)], dtype=object)
    names = np.repeat(np.array([f"u{n:03d}" for n in range(users)], dtype=object), 30)

    def known(given: Array, keep: NDArray[np.bool_]) -> Array:
        table = np.full((given.size, 3), np.nan)
        table[:, 0] = given.reshape(-1)
        mine = np.repeat(keep, 30)
        made = fit_population(
            Ratings(names[mine], ids[rated.reshape(-1)][mine], table[mine]),
            ItemFeatures(ids, vectors), trunk="t", seed=0,
        )  # fmt: skip
        rows = made.rows(list(ids), vectors)[:, 0, 1:3]
        return rows @ made.prior.mean[0, 1:3]

    everybody = np.ones(users, bool)
    clean, attacked = known(scores, ~hostile), known(spoiled, everybody)
    assert np.corrcoef(clean, attacked)[0, 1] > 0.99
