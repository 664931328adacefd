"""The joint prior over attributes: against dense conditioning, and on users whose correlations are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paaplus.population import ItemFeatures, Population, Ratings, fit_population, load_population
from paaplus.population.joined import Joined
from paaplus.population.prior import Prior, block_diagonal
from strategies import StrategyConfig, build_strategy

A, M = 3, 4


def draw_prior(seed: int, cross: bool = True) -> Prior:
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(A * M, A * M)) / 3
    whole = half @ half.T + 0.1 * np.eye(A * M)
    blocks = np.stack([whole.reshape(A, M, A, M)[a, :, a] for a in range(A)])
    mean, noise = rng.normal(size=(A, M)), rng.uniform(0.5, 2.0, A)
    return Prior(mean, blocks, noise, cross=whole if cross else None)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), counts=st.lists(st.integers(0, 6), min_size=A, max_size=A))
def test_the_posterior_is_that_of_conditioning_the_joint_normal(
    seed: int, counts: list[int]
) -> None:
    prior, rng = draw_prior(seed), np.random.default_rng(seed)
    assert prior.cross is not None
    rows = [rng.normal(size=(count, M)) for count in counts]
    scores = [rng.normal(size=count) for count in counts]
    gram = np.stack([x.T @ x for x in rows])
    moment = np.stack([x.T @ y for x, y in zip(rows, scores, strict=True)])
    wide = [np.pad(x, ((0, 0), (a * M, (A - 1 - a) * M))) for a, x in enumerate(rows)]
    x, y = np.concatenate(wide), np.concatenate(scores)
    noise = np.diag(np.repeat(prior.noise, counts))
    gain = prior.cross @ x.T @ np.linalg.inv(x @ prior.cross @ x.T + noise)
    wanted = prior.mean.reshape(-1) + gain @ (y - x @ prior.mean.reshape(-1))
    left = (prior.cross - gain @ x @ prior.cross).reshape(A, M, A, M)
    mean, covariance = prior.posterior(gram[None], moment[None])
    np.testing.assert_allclose(mean[0], wanted.reshape(A, M), atol=1e-8)
    np.testing.assert_allclose(prior.posterior_mean(gram, moment), mean[0], atol=1e-10)
    for a in range(A):
        np.testing.assert_allclose(covariance[0, a], left[a, :, a], atol=1e-8)


def test_without_correlations_it_is_the_attributes_one_by_one() -> None:
    alone = draw_prior(3, cross=False)
    together = replace(alone, cross=block_diagonal(alone.covariance))
    rng = np.random.default_rng(0)
    half, moment = rng.normal(size=(5, A, M, 2)), rng.normal(size=(5, A, M))
    gram = half @ half.swapaxes(-1, -2)
    for found, wanted in zip(
        together.posterior(gram, moment), alone.posterior(gram, moment), strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-10)


def test_heads_learn_across_attributes() -> None:
    prior = draw_prior(5)
    calibration = Prior(prior.mean[:, :3], prior.covariance[:, :3, :3], prior.noise)
    exact = build_strategy("exact_ewc", prior, calibration, StrategyConfig(dtype="float64"))
    rng, gram, moment = np.random.default_rng(1), np.zeros((1, A, M, M)), np.zeros((1, A, M))
    state = exact.initial_state(1)
    lower = np.tril_indices(M)
    for _ in range(2):
        x, y = rng.normal(size=(4, M)), rng.normal(size=4)
        gram[0, 0] += x.T @ x
        moment[0, 0] += x.T @ y
    state["gram"][:] = exact.initial_state(1)["gram"].new_tensor(gram[:, :, lower[0], lower[1]])
    state["moment"][:] = state["moment"].new_tensor(moment)
    heads = exact.heads(state)
    np.testing.assert_allclose(heads.mean, prior.posterior(gram, moment)[0], atol=1e-12)
    assert not np.allclose(heads.mean[0, 1:], prior.mean[1:])  # what was not rated has learned too


def test_held_out_users_are_known_by_what_they_said_first() -> None:
    rng, events, users = np.random.default_rng(0), 20, 2
    numbers = rng.permutation(users * events)  # later events of the table were not given later
    rows, scores = rng.normal(size=(users * events, M)), rng.normal(size=users * events)
    start, place = np.array([0, events, 2 * events]), np.arange(users * events)
    joined = Joined(
        users=np.arange(users), start=[start], rows=[rows], scores=[scores], events=[place],
        numbers=numbers, unseen=np.zeros(1), gram=np.zeros((users, 1, M, M)),
        moment=np.zeros((users, 1, M)),
    )  # fmt: skip
    (case,) = joined.cases(np.array([1]), rng)
    mine = events + np.argsort(numbers[events:])
    for count, (known, wanted) in zip((1, 3, 10), case, strict=True):
        first, later = rows[mine[:count]], rows[mine[count:]]
        np.testing.assert_allclose(known[0][0], first.T @ first)
        ((_, asked, _),) = wanted
        assert {tuple(row[3:]) for row in asked} == {tuple(row[3:]) for row in later}
        assert not asked[:, 2].any()


def world(correlation: float, seed: int = 0) -> tuple[Ratings, ItemFeatures]:
    """Users whose weights for the second attribute go with those for the first; nobody rates the third."""
    rng = np.random.default_rng(seed)
    users, items, width, count = 90, 120, 6, 40
    vectors = rng.normal(size=(items, width)).astype(np.float32)
    first = rng.normal(size=(users, width + 1))
    second = correlation * first + np.sqrt(1 - correlation**2) * rng.normal(size=first.shape)
    shared = rng.normal(size=(2, width))
    asked = np.concatenate([rng.permutation(items)[:count] for _ in range(users)])
    owner = np.repeat(np.arange(users), count)
    scores = np.full((len(owner), A), np.nan)
    for a, own in enumerate((first, second)):
        felt = np.einsum("nf,nf->n", vectors[asked], 0.3 * shared[a] + 0.5 * own[owner, 1:])
        scores[:, a] = np.clip(5 + own[owner, 0] + felt + 0.7 * rng.normal(size=len(owner)), 0, 10)
    ids = np.array([f"i{n:03d}" for n in range(items)], dtype=object)
    names = np.array([f"u{n:03d}" for n in range(users)], dtype=object)
    return Ratings(names[owner], ids[asked], scores), ItemFeatures(ids, vectors)


@pytest.fixture(scope="module")
def together() -> Population:
    return fit_population(*world(0.9), trunk="given", seed=0)


def test_correlated_tastes_are_found(together: Population) -> None:
    report = together.report["together"]
    assert report["strength"] is not None
    assert report["gain"] > 2 * report["gain_se"]
    pair = report["correlations"]["appearance-health"]
    assert 0.6 < pair["means"] < 1.0
    assert 0.4 < pair["tastes"] < 1.0
    cross, prior = together.prior.cross, together.prior
    assert cross is not None
    np.testing.assert_allclose(cross, cross.T, atol=1e-12)
    assert np.linalg.eigvalsh(cross).min() > 0
    width = prior.mean.shape[1]
    table = cross.reshape(A, width, A, width)
    for a in range(A):
        np.testing.assert_allclose(table[a, :, a], prior.covariance[a], atol=1e-12)
    np.testing.assert_allclose(table[2, :, :2], 0.0, atol=0.15)  # nothing was said of posture


def test_what_is_not_there_is_not_found() -> None:
    apart = fit_population(*world(0.0), trunk="given", seed=0)
    assert apart.prior.cross is None
    assert apart.report["together"]["strength"] is None


def test_nothing_is_taken_where_nobody_can_be_judged() -> None:
    ratings, items = world(0.9)
    # Four ratings of each user: none is left to predict.
    few = np.arange(len(ratings.scores)) % 40 < 4
    part = Ratings(ratings.user_ids[few], ratings.item_ids[few], ratings.scores[few])
    assert fit_population(part, items, trunk="given", seed=0).prior.cross is None


def test_it_survives_the_file_and_the_order_of_the_rows(
    together: Population, tmp_path: Path
) -> None:
    together.save(tmp_path / "p.safetensors")
    again = load_population(tmp_path / "p.safetensors", together.version)
    assert again.prior.cross is not None
    assert together.prior.cross is not None
    np.testing.assert_array_equal(again.prior.cross, together.prior.cross)
    assert again.calibration.factors is not None
    ratings, items = world(0.9)
    order = np.random.default_rng(1).permutation(len(ratings.scores))
    mixed = Ratings(ratings.user_ids[order], ratings.item_ids[order], ratings.scores[order])
    assert fit_population(mixed, items, trunk="given", seed=0).version == together.version
