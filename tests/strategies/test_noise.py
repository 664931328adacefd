"""Every strategy counts the same noise: that of the user's ratings, whatever the head learned of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from paaplus.population.noise import FACTORS, user_noise
from paaplus.population.prior import Prior
from strategies import STRATEGIES, StrategyConfig, build_strategy

USERS = ["ann", "bob"]


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_noise_is_that_of_all_ratings(
    name: str, prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    shares = np.linspace(1, 2, len(FACTORS)) / np.linspace(1, 2, len(FACTORS)).sum()
    calibration = replace(calibration, factors=np.tile(shares, (3, 1)))
    config = StrategyConfig(epochs=2, dtype="float64")
    strategy = build_strategy(name, prior, calibration, config)
    feed, state = make_feed(USERS, masked=True), strategy.initial_state(2)
    for counts in ({"ann": 10, "bob": 4}, {"ann": 3, "bob": 12}):
        state = strategy.train(feed.step(counts, memory=state), state)
    found = strategy.heads(state).noise
    assert found is not None
    for u, (user, count) in enumerate((("ann", 13), ("bob", 16))):
        for a in range(3):
            y = feed.scores[user][:count, a]
            x, y = feed.psi[user][:count, a, :3][~np.isnan(y)], y[~np.isnan(y)]
            one = slice(a, a + 1)
            part = Prior(
                calibration.mean[one], calibration.covariance[one], calibration.noise[one],
                factors=shares[None],
            )  # fmt: skip
            wanted = user_noise(
                part, prior.noise[one], (x.T @ x)[None, None], (x.T @ y)[None, None],
                np.array([[[y @ y, len(y)]]]),
            )  # fmt: skip
            assert found[u, a] == pytest.approx(wanted[0, 0], rel=1e-9)
