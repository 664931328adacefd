"""A robust loss: what is expected counts in full, what is far off pulls less and less."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from paaplus.heads import Heads, information_posterior
from paaplus.population.prior import Prior
from paaplus.store.rows import Rows
from strategies.base import Strategy
from strategies.robust import Array, Weigh, robust_weights, train_robust
from streams.experiences import CohortExperience, build_experience

M, NOISE = 3, np.array([0.5])
HEADS = Heads(np.zeros((1, 1, M)), 0.2 * np.eye(M)[None, None])


def weigh(target: float, weight: float = 1.0, freedom: float = 4.0) -> float:
    psi = np.ones((1, 1, M))
    found = robust_weights(
        psi, np.array([[target]]), np.array([[weight]]), HEADS, np.zeros(1, np.intp), NOISE, freedom
    )
    return float(found[0, 0])


def pull(target: float, weight: float) -> float:
    x = np.ones(M)
    mean, _ = information_posterior(
        HEADS.mean[0, 0],
        HEADS.covariance[0, 0],
        NOISE[0],
        weight * np.outer(x, x),
        weight * x * target,
    )
    return float(x @ mean)


def test_what_is_expected_counts_in_full() -> None:
    deviation = np.sqrt(0.2 * M + 0.5)
    assert weigh(0.0) == 1.0
    assert weigh(0.9 * deviation) == 1.0
    assert weigh(3 * deviation) == pytest.approx(5 / (4 + 9))


def test_the_pull_of_one_event_is_bounded_and_falls_far_off() -> None:
    errors = np.linspace(0.1, 100, 400)
    pulls = [pull(error, weigh(error)) for error in errors]
    assert max(pulls) < 3
    assert pulls[-1] < max(pulls) / 2
    assert pull(100.0, 1.0) > 30  # without it there is no bound


def test_nothing_stays_nothing_and_a_weak_event_stays_weak() -> None:
    assert weigh(5.0, weight=0.0) == 0.0
    assert weigh(0.1, weight=0.3) == pytest.approx(0.3)
    assert weigh(8.0, freedom=1e9) == pytest.approx(1.0, abs=1e-6)


def test_ratings_that_agree_with_each_other_are_believed(
    prior: Prior, build: Callable[..., Strategy]
) -> None:
    strategy, rng = build("exact_ewc"), np.random.default_rng(0)
    psi = 0.3 * rng.normal(size=(10, *prior.mean.shape))
    psi[:, :, 0] = 1.0
    level = prior.mean[:, 0] + 4 * np.sqrt(prior.covariance[:, 0, 0] + prior.noise)
    agreed = level + np.sqrt(prior.noise) * rng.normal(size=(10, len(level)))
    absurd, without = agreed.copy(), agreed.copy()
    absurd[3], without[3] = level - 40, np.nan

    def mean(scores: Array, freedom: float | None) -> float:
        items = np.array(["i"] * 10, dtype=object)
        rows = Rows(("ann",), np.array([0, 10]), np.arange(1, 11), items, scores)

        def experience(weigh: Weigh) -> CohortExperience:
            return build_experience(weigh(rows, psi), psi, step=np.array([0]))

        state = train_robust(strategy, strategy.initial_state(1), experience, prior.noise, freedom)
        return float(np.einsum("nam,am->na", psi, strategy.mean(state)[0]).mean())

    wanted = mean(without, None)
    assert mean(absurd, None) < wanted - 2
    assert mean(without, 4.0) == pytest.approx(wanted, abs=0.3)
    assert mean(absurd, 4.0) == pytest.approx(wanted, abs=0.5)
