"""How much users' ratings scatter: against scipy, and against users whose noise is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from paaplus.population.em import Gaussian, Moments
from paaplus.population.noise import FACTORS, LEAST, fit_factors, log_evidence, user_noise
from paaplus.population.prior import Prior

MEAN = np.array([0.4, 1.0, 0.5])
COVARIANCE = np.array([[1.0, 0.2, 0.0], [0.2, 0.3, 0.1], [0.0, 0.1, 0.2]])


def moments_of(rows: list[np.ndarray], scores: list[np.ndarray]) -> Moments:
    return Moments(
        np.stack([x.T @ x for x in rows]),
        np.stack([x.T @ y for x, y in zip(rows, scores, strict=True)]),
        np.array([float(y @ y) for y in scores]),
        np.array([float(len(y)) for y in scores]),
    )


def draw(noise: np.ndarray, count: int, seed: int = 0) -> Moments:
    rng = np.random.default_rng(seed)
    rows, scores = [], []
    for variance in noise:
        x = np.column_stack([np.ones(count), rng.normal(size=(count, 2))])
        w = rng.multivariate_normal(MEAN, COVARIANCE)
        rows.append(x)
        scores.append(x @ w + np.sqrt(variance) * rng.normal(size=count))
    return moments_of(rows, scores)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 12), width=st.integers(1, 5))
def test_the_evidence_is_that_of_the_joint_normal(seed: int, count: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    mean, half = rng.normal(size=width), rng.normal(size=(width, width))
    prior = Gaussian(mean, half @ half.T + 0.1 * np.eye(width), 1.0)
    x, y = rng.normal(size=(count, width)), 3 * rng.normal(size=count)
    noises = np.array([0.2, 1.0, 3.0])
    found = log_evidence(prior, moments_of([x], [y]), noises)
    for n, noise in enumerate(noises):
        spread = x @ prior.covariance @ x.T + noise * np.eye(count)
        wanted = multivariate_normal(x @ mean, spread).logpdf(y) if count else 0.0
        assert found[0, n] == pytest.approx(wanted, abs=1e-7)


def test_shares_of_factors_are_found() -> None:
    noise = np.where(np.arange(800) % 4 == 0, 2.0, 0.5) * 1.3
    shares = fit_factors(Gaussian(MEAN, COVARIANCE, 1.3), draw(noise, 60))
    assert shares.sum() == pytest.approx(1.0)
    low = shares[[FACTORS.index(0.35), FACTORS.index(0.5), FACTORS.index(0.7)]].sum()
    high = shares[[FACTORS.index(1.4), FACTORS.index(2.0), FACTORS.index(2.8)]].sum()
    assert low == pytest.approx(0.75, abs=0.03)
    assert high == pytest.approx(0.25, abs=0.03)


def statistics(moments: Moments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    tally = np.stack([moments.square, moments.count], axis=1)
    return moments.gram[:, None], moments.cross[:, None], tally[:, None]


def prior_with(shares: np.ndarray | None, noise: float) -> Prior:
    factors = None if shares is None else shares[None]
    return Prior(MEAN[None], COVARIANCE[None], np.array([noise]), factors=factors)


def test_each_users_noise_is_found_and_unknown_users_have_everybodys() -> None:
    true = np.repeat([0.3, 1.0, 2.5], 50)
    shares = np.full(len(FACTORS), 1 / len(FACTORS))
    calibration = prior_with(shares, 1.0)
    everybody = np.array([1.0])
    found = user_noise(calibration, everybody, *statistics(draw(true, 200)))[:, 0]
    np.testing.assert_allclose(found, true, rtol=0.45)
    np.testing.assert_allclose(
        [found[true == t].mean() for t in (0.3, 1.0, 2.5)], [0.3, 1, 2.5], rtol=0.15
    )
    nothing = Moments(np.zeros((1, 3, 3)), np.zeros((1, 3)), np.zeros(1), np.zeros(1))
    unknown = user_noise(calibration, everybody, *statistics(nothing))
    assert unknown[0, 0] == pytest.approx(float(np.mean(FACTORS)))


def test_taste_is_not_noise() -> None:
    # Mean and slope leave 1.5 unexplained, heads 1.0: half a point is everybody's taste.
    shares = np.full(len(FACTORS), 1 / len(FACTORS))
    usual = draw(np.full(400, 1.5), 150)
    found = user_noise(prior_with(shares, 1.5), np.array([1.0]), *statistics(usual))
    assert found.mean() == pytest.approx(1.0, abs=0.05)


def test_a_strong_taste_is_not_taken_for_noise() -> None:
    # Taste explains nine tenths of what mean and slope leave; it varies between users, the noise does not.
    shares = np.full(len(FACTORS), 1 / len(FACTORS))
    strong = draw(np.repeat([6.0, 10.0, 14.0], 50), 150)
    found = user_noise(prior_with(shares, 10.0), np.array([1.0]), *statistics(strong))
    assert 0.9 < found.min() < found.max() < 1.15


def test_nobody_is_sure_beyond_reason_and_no_factors_mean_no_difference() -> None:
    constant = draw(np.full(3, 1e-9), 40)
    shares = np.full(len(FACTORS), 1 / len(FACTORS))
    least = user_noise(prior_with(shares, 3.0), np.array([2.0]), *statistics(constant))
    np.testing.assert_allclose(least, 2 * LEAST)
    same = user_noise(prior_with(None, 2.0), np.array([1.0]), *statistics(constant))
    np.testing.assert_array_equal(same, np.ones((3, 1)))
