"""Heads and metrics against numpy, scipy and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from paaplus.heads import information_posterior, pack_lower, predict, unpack_lower
from paaplus.metrics import grouped_srcc, mae, plcc, srcc

scores = st.floats(0, 10, allow_nan=False).map(lambda v: round(v, 1))
pairs = st.integers(3, 40).flatmap(
    lambda n: st.tuples(
        arrays(np.float64, n, elements=scores), arrays(np.float64, n, elements=scores)
    )
)


@settings(max_examples=300, deadline=None)
@given(pairs)
def test_correlations_are_scipys(pair: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = pair
    assume(np.ptp(x) > 0.05)
    assume(np.ptp(y) > 0.05)
    assert srcc(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-9)
    assert plcc(x, y) == pytest.approx(scipy.stats.pearsonr(x, y).statistic, abs=1e-9)
    assert mae(x, y) == pytest.approx(sum(abs(a - b) for a, b in zip(x, y, strict=True)) / len(x))


def test_a_constant_side_has_no_correlation() -> None:
    assert np.isnan(srcc(np.ones(4), np.arange(4.0)))
    assert np.isnan(plcc(np.arange(4.0), np.ones(4)))


def random_head(rng: np.random.Generator, m: int) -> tuple[np.ndarray, ...]:
    root = rng.normal(size=(3, m, m))
    return (
        rng.normal(size=(3, m)),
        root @ root.transpose(0, 2, 1) + 0.1 * np.eye(m),
        rng.uniform(0.2, 2, 3),
    )


@pytest.mark.parametrize("m", [1, 4, 9])
def test_posterior_is_the_joint_gaussian_conditioned(m: int) -> None:
    """By conditioning the joint normal of (w, y), without any precision matrix."""
    rng = np.random.default_rng(m)
    mean, covariance, noise = random_head(rng, m)
    x, y = rng.normal(size=(12, m)), rng.normal(size=12)
    gram, moment = np.stack([x.T @ x] * 3), np.stack([x.T @ y] * 3)
    found_mean, found_covariance = information_posterior(mean, covariance, noise, gram, moment)
    for a in range(3):
        cross = covariance[a] @ x.T
        gain = cross @ np.linalg.inv(x @ cross + noise[a] * np.eye(12))
        np.testing.assert_allclose(found_mean[a], mean[a] + gain @ (y - x @ mean[a]), atol=1e-8)
        np.testing.assert_allclose(found_covariance[a], covariance[a] - gain @ cross.T, atol=1e-8)


def test_predictions_by_sampling() -> None:
    rng = np.random.default_rng(3)
    mean, covariance, noise = random_head(rng, 3)
    mean = mean * 0.1 + np.array([5.0, 0, 0])
    rows = rng.normal(size=(2, 3, 3)) * 0.2
    rows[:, :, 0] = 1.0
    unseen = rng.uniform(0, 0.5, (2, 3))
    score, std = predict(mean, covariance * 0.01, rows, noise, unseen)
    for n in range(2):
        for a in range(3):
            w = rng.multivariate_normal(mean[a], covariance[a] * 0.01, 200_000)
            missed = np.sqrt(unseen[n, a]) * rng.normal(size=len(w))  # delta's error
            y = w @ rows[n, a] + w[:, 2] * missed + np.sqrt(noise[a]) * rng.normal(size=len(w))
            assert score[n, a] == pytest.approx(y.mean(), abs=0.02)
            assert std[n, a] == pytest.approx(y.std(), rel=0.02)


def test_scores_stay_on_the_scale() -> None:
    mean = np.array([[33.0] * 3, [-33.0] * 3, [5.0, 0, 0]])
    score, _ = predict(mean, np.ones((3, 3, 3)), np.ones((1, 3, 3)), np.ones(3), np.zeros((1, 3)))
    assert score.tolist() == [[10.0, 0.0, 5.0]]


@given(st.integers(1, 12))
def test_triangles_round_trip(m: int) -> None:
    matrix = np.random.default_rng(m).normal(size=(2, m, m))
    matrix = matrix + matrix.transpose(0, 2, 1)
    np.testing.assert_array_equal(unpack_lower(pack_lower(matrix)), matrix)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(-3, 3)), min_size=0, max_size=40
    )
)
def test_grouped_rank_correlation_is_scipys_in_every_group(
    rows: list[tuple[int, int, int]],
) -> None:
    owner = np.array([row[0] for row in rows], dtype=np.int64)
    x, y = (np.array([row[n] for row in rows], dtype=np.float64) for n in (1, 2))
    found = grouped_srcc(x, y, owner, 6)
    for group in range(6):
        a, b = x[owner == group], y[owner == group]
        if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
            assert np.isnan(found[group])
        else:
            assert found[group] == pytest.approx(scipy.stats.spearmanr(a, b).statistic, abs=1e-12)
