"""What every strategy promises, checked on all of them (after river's `checks`)."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paaplus.errors import ConfigError, PluginRefusedError
from paaplus.population.prior import Prior
from strategies import build_strategy, check_plugins
from strategies.base import Strategy
from strategies.plugins import REFUSED
from strategies.state import MEMORY, CohortState, flatten, gather, scatter, unflatten

USERS = ["ann", "bob", "cy"]
PLAN = [{"ann": 10, "bob": 4, "cy": 10}, {"ann": 10, "cy": 3}, {"bob": 12, "ann": 1, "cy": 10}]


def learn(
    strategy: Strategy, feed: Any, plan: list[dict[str, int]], at_rest: bool = False
) -> CohortState:
    """Train all users through a plan; `at_rest` writes every state down and reads it again between."""
    state = strategy.initial_state(len(USERS))
    for counts in plan:
        index = torch.tensor([USERS.index(u) for u in counts])
        part = gather(state, index)
        if at_rest:
            memory = {name: part[name] for name in MEMORY if name in part}
            part = unflatten(flatten(part, strategy.layout), strategy.layout, dtype=strategy.dtype)
            part |= memory
        scatter(state, index, strategy.train(feed.step(counts, memory=part), part))
    return state


def same(a: CohortState, b: CohortState) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_training_changes_nothing_that_went_in(
    name: str, build: Callable[..., Strategy], make_feed: Callable[..., Any]
) -> None:
    strategy, feed = build(name), make_feed(USERS)
    state = learn(strategy, feed, PLAN[:1])
    before = {key: tensor.clone() for key, tensor in state.items()}
    experience = feed.step(dict.fromkeys(USERS, 5), memory=state)
    after = strategy.train(experience, state)
    assert same(state, before)
    assert not same(state, after)


def test_the_same_again_gives_the_same(
    name: str, build: Callable[..., Strategy], make_feed: Callable[..., Any]
) -> None:
    torch.manual_seed(1)
    first = learn(build(name), make_feed(USERS), PLAN)
    torch.manual_seed(2)  # no strategy may look at the global generator
    assert same(first, learn(build(name), make_feed(USERS), PLAN))


def test_states_survive_being_written_down(
    name: str, build: Callable[..., Strategy], make_feed: Callable[..., Any]
) -> None:
    strategy = build(name)
    whole = strategy.heads(learn(strategy, make_feed(USERS), PLAN))
    resumed = strategy.heads(learn(strategy, make_feed(USERS), PLAN, at_rest=True))
    np.testing.assert_allclose(resumed.mean, whole.mean, atol=2e-4)
    np.testing.assert_allclose(resumed.covariance, whole.covariance, atol=2e-4)


def test_a_new_user_is_the_population(
    name: str, build: Callable[..., Strategy], prior: Prior, calibration: Prior
) -> None:
    strategy = build(name)
    state = strategy.initial_state(2)
    heads, base = strategy.heads(state), strategy.calibration(state)
    for u in range(2):
        np.testing.assert_allclose(heads.mean[u], prior.mean, atol=1e-9)
        np.testing.assert_allclose(heads.covariance[u], prior.covariance, atol=1e-9)
        np.testing.assert_allclose(base.mean[u], calibration.mean, atol=1e-9)


def test_a_user_without_rows_stays_as_they_were(
    name: str, build: Callable[..., Strategy], make_feed: Callable[..., Any]
) -> None:
    strategy, feed = build(name), make_feed(USERS)
    state = learn(strategy, feed, PLAN[:1])
    after = strategy.train(feed.step({"ann": 3, "bob": 0, "cy": 2}, memory=state), state)
    for key in strategy.layout:
        assert torch.equal(after[key][1], state[key][1]), key
    empty = strategy.train(feed.step(dict.fromkeys(USERS, 0), memory=state), state)
    assert all(torch.equal(empty[key], state[key]) for key in strategy.layout)


def test_an_unrated_attribute_teaches_nothing(
    name: str, build: Callable[..., Strategy], make_feed: Callable[..., Any]
) -> None:
    strategy = build(name)
    feed = make_feed(USERS)
    for user in USERS:
        feed.scores[user][:, 1] = np.nan
    other = copy.deepcopy(feed)
    for user in USERS:
        other.psi[user][:, 1] = 99.0  # what stands where nothing was rated does not matter
    state = learn(strategy, feed, PLAN)
    # Adam's loss is a mean over observed scores: the unrated attribute has no gradient at all.
    np.testing.assert_array_equal(
        strategy.heads(state).mean, strategy.heads(learn(strategy, other, PLAN)).mean
    )
    np.testing.assert_allclose(
        strategy.heads(state).mean[:, 1],
        strategy.heads(strategy.initial_state(3)).mean[:, 1],
        atol=1e-12,
    )


def test_learning_helps(
    name: str, build: Callable[..., Strategy], make_feed: Callable[..., Any]
) -> None:
    strategy, feed = build(name), make_feed(USERS)
    state = strategy.initial_state(3)
    for _ in range(12):
        state = strategy.train(feed.step(dict.fromkeys(USERS, 10), memory=state), state)

    def error(mean: Any) -> float:
        late = slice(200, 300)
        return float(
            np.mean(
                [
                    np.abs(
                        np.einsum("nam,am->na", feed.psi[u][late], mean[n]) - feed.scores[u][late]
                    )
                    for n, u in enumerate(USERS)
                ]
            )
        )

    # The noise alone leaves an error of .4; the prior's mean one of about 1.
    assert error(strategy.heads(state).mean) < 0.75 * error(
        strategy.heads(strategy.initial_state(3)).mean
    )


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    company=st.lists(st.tuples(st.integers(0, 25), st.integers(0, 25)), min_size=0, max_size=5),
    place=st.integers(0, 5),
)
def test_a_user_is_the_same_in_any_company(
    name: str,
    company: list[tuple[int, int]],
    place: int,
    build: Callable[..., Strategy],
    make_feed: Callable[..., Any],
) -> None:
    """To the bit in closed form, on the state as it is at rest; Adam's to rounding."""
    strategy = build(name)
    others = [f"other{n}" for n in range(len(company))]
    order = [*others[:place], "ann", *others[place:]]
    feed = make_feed(["ann", *others])

    def train(users: list[str], counts: list[tuple[int, int]]) -> CohortState:
        state = strategy.initial_state(len(users))
        for step in range(2):
            now = {u: c[step] for u, c in zip(users, counts, strict=True)}
            state = strategy.train(feed.step(now, memory=state), state)
        feed.done = {u: [] for u in feed.done}
        return state

    sizes = dict(zip(others, company, strict=True)) | {"ann": (10, 10)}
    alone = train(["ann"], [(10, 10)])
    together = gather(train(order, [sizes[u] for u in order]), torch.tensor([order.index("ann")]))
    one, two = flatten(alone, strategy.layout), flatten(together, strategy.layout)
    if name == "exact_ewc":
        assert one.tobytes() == two.tobytes()
        mean_one, mean_two = strategy.heads(alone).mean, strategy.heads(together).mean
        np.testing.assert_allclose(mean_one, mean_two, rtol=1e-12)
    else:
        np.testing.assert_allclose(one, two, atol=1e-6)


def test_unknown_names_and_refused_plugins(prior: Prior, calibration: Prior) -> None:
    with pytest.raises(ConfigError, match="exact_ewc"):
        build_strategy("bayes", prior, calibration)
    check_plugins([])
    for plugin in [*REFUSED, "SomethingElsePlugin"]:
        with pytest.raises(PluginRefusedError, match=plugin):
            check_plugins([plugin])


def test_the_mean_is_that_of_the_heads(
    name: str, build: Callable[..., Strategy], make_feed: Callable[..., Any]
) -> None:
    strategy = build(name)
    state = learn(strategy, make_feed(USERS), PLAN[:1])
    assert np.array_equal(strategy.mean(state), strategy.heads(state).mean)
