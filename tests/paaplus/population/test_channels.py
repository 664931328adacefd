"""What other feedback is worth: recovered from simulated users whose taste is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from paaplus.heads import information_posterior
from paaplus.observations import CHANNELS
from paaplus.population.channels import Channels, Latents, fit_channels, latent_rows
from paaplus.population.prior import Prior
from paaplus.population.survey import fit_survey
from paaplus.population.tempering import POWERS, Weighted, best_power

Array = NDArray[np.float64]
D, RELIABILITY = 2.0, 0.6
USERS, EACH = 60, 50


def world(
    act: Callable[[Array, np.random.Generator], NDArray[np.object_]],
    seed: int = 0,
    chosen: bool = False,
) -> tuple[NDArray[np.object_], Array, Latents, Latents, Array]:
    """Users' acts on latent scores d ~ N(0, D), of which the estimates have RELIABILITY * D.

    `chosen`: what is estimated high is shown more often.
    """
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(USERS), EACH)
    mean = np.sqrt(D * RELIABILITY) * rng.normal(size=len(owner))
    truth = mean + np.sqrt(D * (1 - RELIABILITY)) * rng.normal(size=len(owner))
    latents = Latents(owner, mean, np.full(len(owner), D * (1 - RELIABILITY)))
    acted = act(truth, rng)
    if chosen:
        acted[rng.random(len(mean)) > 1 / (1 + np.exp(2 - 2 * mean))] = ""
    did = np.flatnonzero(acted != "")
    return acted[did], np.ones((len(did), 1)), latents.part(did), latents, truth[did]


def fitted(seed: int = 0, *, chosen: bool = False) -> tuple[Channels, Array, NDArray[np.object_]]:
    def act(d: Array, rng: np.random.Generator) -> NDArray[np.object_]:
        likes = d + 0.5 * rng.normal(size=len(d)) > 0.8
        acted = np.where(likes, "interaction.like", "interaction.skip")
        return np.where(rng.random(len(d)) < 0.3, "interaction.view", acted).astype(object)

    channels, signals, events, rated, truth = world(act, seed, chosen)
    return fit_channels(channels, signals, [events], [rated], np.array([1.0])), truth, channels


def test_an_act_carries_what_is_usual_to_the_mean_of_what_it_was_done_to() -> None:
    made, truth, channels = fitted()
    for name in ("interaction.like", "interaction.skip"):
        target, noise = made.read(np.array([name], dtype=object), np.ones((1, 1)))
        after = D / (D + noise[0, 0]) * target[0, 0]  # N(0, D) after one such act
        assert after == pytest.approx(truth[channels == name].mean(), abs=0.12)
    assert made.count[made.names == "interaction.like"][0, 0] > 100


def test_what_has_nothing_to_do_with_taste_teaches_nothing() -> None:
    silent = 0
    for seed in range(10):
        made, _, _ = fitted(seed)
        silent += bool(np.isinf(made.noise[made.names == "interaction.view"]).all())
    assert silent >= 8  # at two standard errors one in twenty is a chance find


def test_an_act_is_read_against_what_was_shown() -> None:
    made, truth, channels = fitted(chosen=True)
    assert truth.mean() > 0.8  # so skipped, too, is what is above the user's own mean
    assert truth[channels == "interaction.skip"].mean() > 0
    names = np.array([f"interaction.{act}" for act in ("like", "skip", "view")], dtype=object)
    target, noise = made.read(names, np.ones((3, 1)))
    spread = truth.var()
    after = truth.mean() + spread / (spread + noise[:, 0]) * (target[:, 0] - truth.mean())
    assert np.isinf(noise[2, 0])
    for act in (0, 1):  # carries what is shown to the mean of what it was done to
        wanted = truth[channels == names[act]].mean()
        assert after[act] == pytest.approx(wanted, abs=0.15)


def test_a_channel_nobody_uses_teaches_nothing() -> None:
    made, _, _ = fitted()
    assert np.isinf(made.noise[made.names == "interaction.share"]).all()
    target, noise = made.read(np.array(["interaction.share"], dtype=object), np.ones((1, 1)))
    assert np.isinf(noise).all()
    assert (target == 0).all()


def test_comparisons_are_the_same_from_both_sides_and_ties_say_near() -> None:
    rng = np.random.default_rng(1)
    owner = np.repeat(np.arange(USERS), EACH)
    mean = np.sqrt(D * RELIABILITY) * rng.normal(size=len(owner))
    truth = mean + np.sqrt(D * (1 - RELIABILITY)) * rng.normal(size=len(owner))
    events = Latents(owner, mean, np.full(len(owner), D * (1 - RELIABILITY)))
    signals = np.where(np.abs(truth) < 0.4, 0.0, np.sign(truth))[:, None]
    channels = np.full(len(owner), "comparison", dtype=object)
    made = fit_channels(channels, signals, [events], [events], np.array([1.0]))
    said = np.array([[1.0], [0.0], [-1.0]])
    target, noise = made.read(channels[:3], said)
    assert target[0] == -target[2]
    assert noise[0] == noise[2]
    assert target[1] == 0
    assert D / (D + noise[0, 0]) * target[0, 0] == pytest.approx(
        truth[signals[:, 0] > 0].mean(), rel=0.15
    )
    left = D * noise[1, 0] / (D + noise[1, 0])  # variance after a tie
    assert left < 0.6 * D


def test_a_comparison_is_the_difference_and_all_are_relative_to_the_own_mean() -> None:
    rng = np.random.default_rng(2)
    rows, others = rng.normal(size=(3, 2, 5)), rng.normal(size=(3, 2, 5))
    channels = np.array(["comparison", "comment", "comparison.overall"], dtype=object)
    made = latent_rows(channels, rows, others)
    assert (made[:, :, 0] == 0).all()
    assert np.array_equal(made[0, :, 1:], (rows - others)[0, :, 1:])
    assert np.array_equal(made[1, :, 1:], rows[1, :, 1:])
    assert np.array_equal(made[2, :, 1:], (rows - others)[2, :, 1:])


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(CHANNELS), st.floats(-1, 1), st.booleans())
def test_reading_is_total(name: str, signal: float, missing: bool) -> None:
    made, _, _ = fitted()
    value = np.nan if missing else signal
    target, noise = made.read(np.array([name], dtype=object), np.array([[value]]))
    assert np.isfinite(target).all()
    assert (noise > 0).all()
    if missing:
        assert np.isinf(noise).all()


def survey_world(users: int, strength: float) -> tuple[list[str], Array, Array, Array]:
    """Answers that shift taste along a known direction; estimates as ratings would give them."""
    rng = np.random.default_rng(3)
    m = 4
    root = np.linalg.cholesky(np.diag([1.0, 0.5, 2.0, 1.0]))
    answer = rng.integers(0, 2, users)
    v = rng.normal(size=(users, m))
    v[:, 2] += strength * (2 * answer - 1)
    covariance = np.diag([0.3] * m)  # of the estimates, whitened
    kept = np.eye(m) - covariance
    estimate = v @ kept.T + rng.normal(size=(users, m)) @ np.linalg.cholesky(kept @ covariance).T
    details = [
        f'{{"answers": {{"sport": "{"yes" if a else "no"}", "n": {n % 7}}}, "preference": null}}'
        for n, a in enumerate(answer)
    ]
    return (
        details,
        estimate @ root.T,
        np.tile(root @ covariance @ root.T, (users, 1, 1)),
        root[None],
    )


def test_an_answer_moves_the_prior_by_what_it_tells_and_no_further() -> None:
    details, means, covariances, root = survey_world(800, 0.8)
    model = fit_survey(details, [means], [covariances], root)
    assert model is not None
    covariance = (root[0] @ root[0].T)[None]
    prior = Prior(np.zeros((1, 4)), covariance, np.ones(1))
    x, y, noise = model.rows(details[:2], prior.mean, covariance)
    for n, detail in enumerate(details[:2]):
        moved, left = information_posterior(
            prior.mean[0], covariance[0], noise[n, 0], np.outer(x[n, 0], x[n, 0]), x[n, 0] * y[n, 0]
        )
        expected = root[0] @ np.array([0, 0, 0.8, 0]) * (1 if '"yes"' in detail else -1)
        assert moved == pytest.approx(expected, abs=0.25)
        assert left[2, 2] < covariance[0, 2, 2]
    loud = {
        column
        for column, slope in zip(model.columns, model.slopes[0].T, strict=True)
        if slope.any()
    }
    assert ("n", None) not in loud  # a number that tells nothing


def test_answers_without_meaning_are_dropped() -> None:
    details, means, covariances, root = survey_world(300, 0.0)
    assert fit_survey(details, [means], [covariances], root) is None


@pytest.mark.parametrize(("honest", "powers"), [(True, {1.0, 0.5}), (False, {0.0})])
def test_the_power_is_what_predicts_ratings(honest: bool, powers: set[float]) -> None:
    rng = np.random.default_rng(4)
    users, m = 120, 5
    prior = Prior(np.zeros((1, m)), np.eye(m)[None], np.ones(1))
    w = rng.normal(size=(users, m))

    def rows(count: int, of: Array, noise: float) -> Weighted:
        owner = np.repeat(np.arange(users), count)
        x = rng.normal(size=(len(owner), m))
        y = np.einsum("nm,nm->n", x, of[owner]) + noise * rng.normal(size=len(owner))
        return Weighted(owner, x, y, np.full(len(owner), 1 / noise**2))

    ratings = rows(40, w, 1.0)
    other = rows(10, w if honest else rng.normal(size=w.shape), 1.4)
    found = best_power(prior, 0, ratings, other, users, np.random.default_rng(0))
    assert found in powers
    assert found in POWERS
