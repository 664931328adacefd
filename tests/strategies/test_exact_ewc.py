"""Closed-form EWC: equal to ridge regression, to joint training, and order-free."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from paaplus.population.prior import Prior
from strategies import StrategyConfig, build_strategy

USERS = ["ann", "bob"]


def test_sequential_equals_joint_equals_least_squares(
    prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    exact = build_strategy("exact_ewc", prior, calibration)
    joint = build_strategy("joint", prior, calibration)
    feed, twin = make_feed(USERS, masked=True), make_feed(USERS, masked=True)
    state, other = exact.initial_state(2), joint.initial_state(2)
    for counts in ({"ann": 10, "bob": 3}, {"ann": 1, "bob": 17}, {"ann": 30, "bob": 10}):
        state = exact.train(feed.step(counts), state)
        other = joint.train(twin.step(counts, memory=other), other)
        ours, theirs = exact.heads(state), joint.heads(other)
        np.testing.assert_allclose(ours.mean, theirs.mean, atol=1e-8)
        np.testing.assert_allclose(ours.covariance, theirs.covariance, atol=1e-8)

    # And by numpy alone: whitened ridge regression on all rows at once.
    for n, user in enumerate(USERS):
        rows = sum(feed.done[user])
        for a in range(3):
            x, y = feed.psi[user][:rows, a], feed.scores[user][:rows, a]
            x, y = x[~np.isnan(y)], y[~np.isnan(y)]
            root = np.linalg.cholesky(np.linalg.inv(prior.covariance[a])).T
            stacked = np.concatenate([x / np.sqrt(prior.noise[a]), root])
            target = np.concatenate([y / np.sqrt(prior.noise[a]), root @ prior.mean[a]])
            expected = np.linalg.lstsq(stacked, target, rcond=None)[0]
            np.testing.assert_allclose(exact.heads(state).mean[n, a], expected, atol=1e-8)


def test_it_is_the_minimum_of_the_ewc_objective(
    prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    """Second experience: squared error on the new rows + full-Fisher penalty around the old optimum."""
    exact = build_strategy("exact_ewc", prior, calibration)
    feed = make_feed(USERS)
    before = exact.train(feed.step(dict.fromkeys(USERS, 12)), exact.initial_state(2))
    after = exact.train(feed.step(dict.fromkeys(USERS, 9)), before)
    old = exact.heads(before)
    x, y = feed.psi["ann"][12:21, 0], feed.scores["ann"][12:21, 0]
    precision = np.linalg.inv(old.covariance[0, 0])

    def objective(w: Any) -> float:
        away = w - old.mean[0, 0]
        return float(np.sum((y - x @ w) ** 2) / prior.noise[0] + away @ precision @ away)

    found = minimize(objective, old.mean[0, 0], method="BFGS", options={"gtol": 1e-9}).x
    np.testing.assert_allclose(exact.heads(after).mean[0, 0], found, atol=1e-5)


def test_float32_states_stay_close_to_joint_over_many_experiences(
    prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    from strategies.state import flatten, unflatten

    exact = build_strategy("exact_ewc", prior, calibration, StrategyConfig())
    feed = make_feed(USERS)
    whole = exact.initial_state(2)
    rested = exact.initial_state(2)
    for _ in range(25):
        experience = feed.step(dict.fromkeys(USERS, 10))
        whole = exact.train(experience, whole)
        rested = exact.train(experience, rested)
        rested = unflatten(flatten(rested, exact.layout), exact.layout, dtype=torch.float64)
    np.testing.assert_allclose(exact.heads(rested).mean, exact.heads(whole).mean, atol=1e-4)


@pytest.mark.parametrize("form", ["diagonal", "low_rank"])
def test_the_first_experience_is_exact_in_every_form(
    form: Any, prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    full = build_strategy("exact_ewc", prior, calibration)
    small = build_strategy("exact_ewc", prior, calibration, StrategyConfig(form=form, rank=2))
    experience = make_feed(USERS, masked=True).step({"ann": 9, "bob": 4})
    expected = full.heads(full.train(experience, full.initial_state(2)))
    found = small.heads(small.train(experience, small.initial_state(2)))
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-9)


def test_low_rank_with_all_axes_is_full_through_all_experiences(
    prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    full = build_strategy("exact_ewc", prior, calibration)
    config = StrategyConfig(form="low_rank", rank=prior.mean.shape[1])
    small = build_strategy("exact_ewc", prior, calibration, config)
    feed, state, other = make_feed(USERS, masked=True), full.initial_state(2), None
    other = small.initial_state(2)
    for counts in ({"ann": 10, "bob": 3}, {"ann": 1, "bob": 17}, {"ann": 30, "bob": 10}):
        experience = feed.step(counts)
        state, other = full.train(experience, state), small.train(experience, other)
    np.testing.assert_allclose(small.heads(other).mean, full.heads(state).mean, atol=1e-8)
    np.testing.assert_allclose(
        small.heads(other).covariance, full.heads(state).covariance, atol=1e-8
    )


def test_diagonal_information_is_the_sum_of_squares_in_round_coordinates(
    prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    config = StrategyConfig(form="low_rank", rank=0)
    small = build_strategy("exact_ewc", prior, calibration, config)
    feed, state = make_feed(["ann"]), small.initial_state(1)
    for _ in range(3):
        state = small.train(feed.step({"ann": 7}), state)
    for a in range(3):
        values, axes = np.linalg.eigh(prior.covariance[a])
        root = axes * np.sqrt(values)
        squares = ((feed.psi["ann"][:21, a] @ root) ** 2).sum(axis=0) / prior.noise[a]
        # Without a known spread the axes are the covariance's own, sorted by what each can explain.
        np.testing.assert_allclose(state["diagonal"][0, a].numpy(), squares[::-1], rtol=1e-9)


def test_cumulative_ends_where_joint_does(
    prior: Prior, calibration: Prior, make_feed: Callable[..., Any]
) -> None:
    joint = build_strategy("joint", prior, calibration)
    config = StrategyConfig(epochs=2000, learning_rate=0.02, batch_size=1000, dtype="float64")
    adam = build_strategy("cumulative", prior, calibration, config)
    feed, twin = make_feed(USERS), make_feed(USERS)
    state, other = joint.initial_state(2), adam.initial_state(2)
    for counts in ({"ann": 10, "bob": 3}, {"ann": 5, "bob": 17}):
        state = joint.train(feed.step(counts, memory=state), state)
        other = adam.train(twin.step(counts, memory=other), other)
    np.testing.assert_allclose(adam.heads(other).mean, joint.heads(state).mean, atol=1e-3)
