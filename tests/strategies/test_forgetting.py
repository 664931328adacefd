"""Forgetting: the power prior against least squares, the drift test against River itself."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from paaplus.errors import ConfigError
from paaplus.population.prior import Prior
from strategies import StrategyConfig, build_strategy
from strategies.forgetting import (
    FEWEST,
    GRID,
    STATISTICS,
    STAYS,
    WINDOW,
    HalfLife,
    WhenDrifting,
    alarms,
    page_hinkley,
    suspicious,
)
from strategies.state import CohortState, flatten, gather, unflatten
from workers.strategy_config import StrategySection

USERS = [f"u{n}" for n in range(12)]
DRIFT = StrategyConfig(forgetting="drift")
NONE = StrategyConfig()


def weighted_least_squares(
    prior: Prior, a: int, x: NDArray[Any], y: NDArray[Any], weight: NDArray[Any]
) -> NDArray[Any]:
    """By numpy alone: rows and prior stacked, each row times the root of its weight."""
    scale = np.sqrt(weight / prior.noise[a])
    root = np.linalg.cholesky(np.linalg.inv(prior.covariance[a])).T
    rows = np.concatenate([x * scale[:, None], root])
    target = np.concatenate([y * scale, root @ prior.mean[a]])
    result: NDArray[Any] = np.linalg.lstsq(rows, target, rcond=None)[0]
    return result


def change(feed: Any, after: int, *, turn: float = -1.0, level: float = 0.0) -> None:
    """Every user's taste from row `after` on: deviations from 5 times `turn`, plus `level`."""
    for user in feed.scores:
        late = feed.scores[user][after:]
        feed.scores[user][after:] = 5 + turn * (late - 5) + level


def weight(state: CohortState) -> torch.Tensor:
    """How many rows count, [U, A]: the first regressor is 1."""
    return state["gram"][:, :, 0]


def follow(
    config: StrategyConfig, prior: Prior, calibration: Prior, feed: Any, rounds: int
) -> list[CohortState]:
    """The states after each round of ten rows."""
    strategy = build_strategy("exact_ewc", prior, calibration, config)
    states = [strategy.initial_state(len(feed.done))]
    for _ in range(rounds):
        states.append(strategy.train(feed.step(dict.fromkeys(feed.done, 10)), states[-1]))
    return states


def test_fixed_is_least_squares_with_powers_of_two(
    prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    config = StrategyConfig(forgetting="fixed", half_life=15.0)
    strategy = build_strategy("exact_ewc", prior, calibration, config)
    feed, sizes = make_feed(["ann"], masked=True), [10, 3, 17]
    state = strategy.initial_state(1)
    for size in sizes:
        state = strategy.train(feed.step({"ann": size}), state)
    later = np.repeat([20, 17, 0], sizes)  # rows in later experiences
    for a in range(3):
        x, y = feed.psi["ann"][:30, a], feed.scores["ann"][:30, a]
        seen = ~np.isnan(y)
        found = strategy.heads(state).mean[0, a]
        base = strategy.calibration(state).mean[0, a]
        parts = x[seen], y[seen], 0.5 ** (later[seen] / 15.0)
        np.testing.assert_allclose(found, weighted_least_squares(prior, a, *parts), atol=1e-9)
        three = parts[0][:, :3], *parts[1:]
        np.testing.assert_allclose(base, weighted_least_squares(calibration, a, *three), atol=1e-9)


def test_an_endless_half_life_forgets_nothing(
    prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    endless = StrategyConfig(forgetting="fixed", half_life=float("inf"))
    kept, other = (
        follow(config, prior, calibration, make_feed(USERS[:2], masked=True), 4)[-1]
        for config in (NONE, endless)
    )
    assert kept.keys() == other.keys()
    assert all(torch.equal(kept[name], other[name]) for name in kept)


def test_an_idle_user_keeps_what_was_learned(
    prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    feed = make_feed(["ann", "bob"])
    strategy = build_strategy("exact_ewc", prior, calibration)
    state = strategy.train(feed.step({"ann": 10, "bob": 10}), strategy.initial_state(2))
    after = HalfLife(10.0).forget(feed.step({"ann": 20, "bob": 0}).rows, state)
    for name in STATISTICS:
        assert torch.equal(after[name][1], state[name][1])
        assert torch.equal(after[name][0], state[name][0] / 4)


def test_errors_are_those_of_the_live_head(
    prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    feed = make_feed(USERS[:2], masked=True)
    strategy = build_strategy("exact_ewc", prior, calibration)
    state = strategy.train(feed.step({"u0": 25, "u1": 5}), strategy.initial_state(2))
    rows = feed.step({"u0": 4, "u1": 6}).rows
    found = WhenDrifting(prior, torch.device("cpu")).errors(
        rows, state | {"errors": torch.zeros(2, WINDOW)}
    )
    heads = strategy.heads(state)
    assert found[0, 4:].tolist() == [0.0, 0.0]
    for u, (first, count) in enumerate(((25, 4), (5, 6))):
        for n in range(count):
            x, y = feed.psi[USERS[u]][first + n], feed.scores[USERS[u]][first + n]
            variance = np.einsum("am,amk,ak->a", x, heads.covariance[u], x) + prior.noise
            error = (y - np.einsum("am,am->a", x, heads.mean[u])) ** 2 / variance
            assert float(found[u, n]) == pytest.approx(np.nanmean(np.minimum(error, 10)), rel=1e-5)


def test_the_factor_is_the_one_of_the_largest_marginal_likelihood(
    prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    from scipy.stats import multivariate_normal

    feed, strategy = make_feed(USERS), build_strategy("exact_ewc", prior, calibration, DRIFT)
    for n, user in enumerate(USERS):  # some change much, some a little, some not at all
        feed.scores[user][60:] += 0.25 * n
    state = strategy.train(feed.step(dict.fromkeys(USERS, 60)), strategy.initial_state(12))
    experience = feed.step(dict.fromkeys(USERS, 8))
    found = WhenDrifting(prior, torch.device("cpu")).likeliest(experience.rows, state)
    assert len(np.unique(found)) >= 3
    for u, user in enumerate(USERS):
        for a in range(3):
            x, y = feed.psi[user][60:68, a], feed.scores[user][60:68, a]
            logs = []
            for gamma in GRID:
                old = {name: state[name] * gamma for name in STATISTICS}
                heads = strategy.heads(old)
                spread = x @ heads.covariance[u, a] @ x.T + prior.noise[a] * np.eye(8)
                logs.append(multivariate_normal.logpdf(y, x @ heads.mean[u, a], spread))
            logs[0] += STAYS
            assert float(found[u, a]) == GRID[int(np.argmax(logs))]


def whole_history(errors: NDArray[Any]) -> int | None:
    """The row at which a River detector that saw every row fires first."""
    detector = page_hinkley()
    for n, error in enumerate(errors.tolist()):
        detector.update(error)
        if detector.drift_detected:
            return n
    return None


@given(
    seed=st.integers(0, 10_000),
    quiet=st.integers(0, 50),
    loud=st.integers(0, 40),
    rise=st.floats(0.5, 8.0),
    size=st.integers(1, 20),
)
@settings(deadline=None, max_examples=60)
def test_blocks_from_the_window_fire_where_river_does_on_the_whole_history(
    seed: int, quiet: int, loud: int, rise: float, size: int
) -> None:
    rng = np.random.default_rng(seed)
    errors = rng.chisquare(1, quiet + loud) + 1e-6
    errors[quiet:] *= rise
    errors = np.minimum(errors, 10)[:WINDOW]  # as many as the window holds
    series, first = np.zeros((1, WINDOW)), None
    for start in range(0, len(errors), size):
        new = errors[start : start + size]
        series = np.concatenate([series, new[None]], axis=1)[:, -WINDOW:]
        if alarms(series)[0]:
            first = start + len(new) - 1
            break
    expected = whole_history(errors)
    if expected is None:
        assert first is None
    else:  # in the same block
        assert first is not None
        assert first // size == expected // size


@given(seed=st.integers(0, 10_000), rise=st.floats(1.0, 6.0))
@settings(deadline=None, max_examples=60)
def test_screening_changes_no_alarm(seed: int, rise: float) -> None:
    rng = np.random.default_rng(seed)
    series = np.minimum(rng.chisquare(1, (30, WINDOW + 10)), 10) + 1e-6
    series[:, 40:] *= rise
    for u in range(30):
        series[u, : rng.integers(0, WINDOW + 10)] = 0.0  # no such rows yet
    by_river = [whole_history(row[row > 0]) is not None for row in series]
    assert alarms(series).tolist() == by_river
    # The screen is not merely above the test: it is the test but for rounding.
    assert suspicious(series).tolist() == by_river


def test_a_threshold_met_to_the_last_bit_is_left_to_river() -> None:
    from strategies.forgetting import EXPECTED, SLACK, THRESHOLD

    series = np.full((1, FEWEST + 1), 1.0)
    low, high = 1.0, 1e4
    for _ in range(200):  # the last error that is just no alarm
        series[0, -1] = (low + high) / 2
        low, high = (low, series[0, -1]) if alarms(series)[0] else (series[0, -1], high)
    for error in (low, high):
        series[0, -1] = error
        assert alarms(series)[0] == (whole_history(series[0]) is not None)
    n = EXPECTED + FEWEST + 1
    assert low == pytest.approx(1 + (THRESHOLD + SLACK) * n / (n - 1), rel=1e-6)


@pytest.mark.parametrize(("turn", "level"), [(-1.0, 0.0), (1.0, 1.5), (1.0, -1.5)])
def test_a_changed_taste_is_seen_and_the_old_one_forgotten(
    turn: float, level: float, prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    feed, twin = make_feed(USERS, rows=200), make_feed(USERS, rows=200)
    for one in (feed, twin):
        change(one, 100, turn=turn, level=level)
    drift = follow(DRIFT, prior, calibration, feed, 15)
    none = follow(NONE, prior, calibration, twin, 15)
    assert torch.equal(weight(drift[10]), weight(none[10]))  # nothing happened until then
    seen = (weight(drift[13]) < 60).any(dim=1)
    assert seen.float().mean() > 0.9

    def late_error(state: CohortState) -> float:
        mean = build_strategy("exact_ewc", prior, calibration, NONE).heads(state).mean
        psi = np.stack([feed.psi[u][150:] for u in USERS])
        truth = np.stack([feed.scores[u][150:] for u in USERS])
        return float(np.abs(np.einsum("unam,uam->una", psi, mean) - truth).mean())

    assert late_error(drift[15]) < 0.8 * late_error(none[15])


def test_who_does_not_change_is_hardly_ever_forgotten(
    prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    users = [f"u{n}" for n in range(60)]
    drift = follow(DRIFT, prior, calibration, make_feed(users, masked=True), 30)[-1]
    none = follow(NONE, prior, calibration, make_feed(users, masked=True), 30)[-1]
    untouched = (weight(drift) == weight(none)).all(dim=1)
    assert untouched.float().mean() > 0.95
    for name in STATISTICS:  # and to the bit as if there were no test
        assert torch.equal(drift[name][untouched], none[name][untouched])


def test_after_forgetting_the_window_starts_again(
    prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    feed = make_feed(USERS, rows=200)
    change(feed, 100)
    states = follow(DRIFT, prior, calibration, feed, 14)
    for before, after in pairwise(states[9:]):
        forgot = (weight(after) - 10 < weight(before) - 1e-9).any(dim=1)
        assert bool((after["errors"][forgot] == 0).all())
        # Without it the window moves on by ten.
        assert torch.equal(after["errors"][~forgot][:, :-10], before["errors"][~forgot][:, 10:])


def test_the_window_survives_being_written_down_to_the_bit(
    prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    strategy = build_strategy("exact_ewc", prior, calibration, DRIFT)
    feed = make_feed(USERS, masked=True)
    change(feed, 60)
    for state in follow(DRIFT, prior, calibration, feed, 9):
        at_rest = flatten(state, strategy.layout)
        again = unflatten(at_rest, strategy.layout, dtype=strategy.dtype)
        assert torch.equal(again["errors"], state["errors"])
        assert at_rest.shape[1] == WINDOW + 3 * (28 + 7 + 6 + 3 + 2)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    company=st.lists(st.lists(st.integers(0, 25), min_size=14, max_size=14), max_size=4),
    mine=st.lists(st.integers(5, 12), min_size=14, max_size=14),
    turn=st.sampled_from([-1.0, 1.0]),
    config=st.sampled_from([DRIFT, StrategyConfig(forgetting="fixed", half_life=20.0)]),
)
def test_a_user_forgets_the_same_in_any_company(
    company: list[list[int]],
    mine: list[int],
    turn: float,
    config: StrategyConfig,
    prior: Prior,
    calibration: Prior,
    make_feed: Callable[..., Any],
) -> None:
    strategy = build_strategy("exact_ewc", prior, calibration, config)
    feed = make_feed(["ann", *(f"v{n}" for n in range(len(company)))], rows=400)
    change(feed, 60, turn=turn)

    def train(counts: dict[str, list[int]]) -> CohortState:
        feed.done = {user: [] for user in feed.done}
        state = strategy.initial_state(len(counts))
        for step in range(14):
            now = {user: sizes[step] for user, sizes in counts.items()}
            state = strategy.train(feed.step(now), state)
        return state

    alone = train({"ann": mine})
    others = {f"v{n}": sizes for n, sizes in enumerate(company)}
    together = gather(train(others | {"ann": mine}), torch.tensor([len(company)]))
    one, two = flatten(alone, strategy.layout), flatten(together, strategy.layout)
    np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_forgetting_takes_the_full_form(prior: Prior, calibration: Prior) -> None:
    with pytest.raises(ConfigError, match="full form"):
        config = StrategyConfig(form="diagonal", forgetting="drift")
        build_strategy("exact_ewc", prior, calibration, config)
    assert StrategySection(forgetting="fixed", half_life=50).build().half_life == 50
    for values in ({"form": "diagonal"}, {"name": "replay"}):
        with pytest.raises(ValueError, match="forgetting"):
            StrategySection(forgetting="drift", **values)  # type: ignore[arg-type]
