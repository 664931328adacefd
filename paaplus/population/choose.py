"""Which form of the prior: the one that predicts held-out users best, on items treated as unseen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paaplus.population.prior import (
    HEAD,
    Array,
    Gaussian,
    Moments,
    calibration_only,
    fit_calibration,
    fit_power_law,
    fit_shrunk,
)

STRENGTHS = (8.0, 2.0, 0.5, 0.15)
"""Shrinkage of the full forms in units of the number of regressors, each warm-started by the last."""

COUNTS = (3, 10, 30, 100)
"""Ratings that a held-out user is conditioned on; the mean over these decides."""

FURTHER = 60
"""Ratings predicted after each of them, at most."""

FEWEST_USERS = 30
"""Below that many users nothing but calibration can be told from noise."""


POWER_LAW = "power law"


@dataclass(frozen=True, slots=True)
class Start:
    """Where the last fit stood: its form, and its prior in the coordinates of this fit."""

    form: str
    prior: Gaussian


@dataclass(frozen=True, slots=True)
class UserRatings:
    """Design rows and ratings of one attribute, ragged over users; user u owns start[u]:start[u+1].

    Attributes:
        start: int [U + 1].
        rows: [N, m], with the user's own rating left out of delta.
        scores: [N], minus the mean of all.
        moments: Of the same rows.
    """

    start: NDArray[np.int64]
    rows: Array
    scores: Array
    moments: Moments


@dataclass(frozen=True, slots=True)
class Choice:
    """The prior that was chosen, and why.

    Attributes:
        prior: Refitted on all users.
        head: The calibration prior, refitted on all users.
        form: Name of the form.
        densities: Mean log predictive density of each form on held-out users.
    """

    prior: Gaussian
    head: Gaussian
    form: str
    densities: dict[str, float]


def choose_prior(
    ratings: UserRatings,
    spectrum: Array,
    unseen: float,
    rng: np.random.Generator,
    start: Start | None = None,
) -> Choice:
    """Fit every form on half of the users, compare on the other half, and the reverse; refit the best on all.

    The best form must beat calibration by more than one standard error over users, else calibration is
    taken: with little to see, the head stays the population's.

    Args:
        ratings: Of the training users.
        spectrum: [k], variance of each direction relative to the first.
        unseen: Variance of an unseen item's deviation, in units of delta.
        rng: Splits the users and orders their ratings.
        start: Of the last fit. EM goes on from it in a few steps, and only calibration, its form and those
            next to it are tried.
    """
    users = len(ratings.start) - 1
    if users < FEWEST_USERS:
        head = fit_calibration(ratings.moments)
        return Choice(calibration_only(head, HEAD + len(spectrum)), head, "calibration", {})
    shuffled = rng.permutation(users)
    halves = shuffled[: users // 2], shuffled[users // 2 :]
    parts: dict[str, list[Array]] = {}
    for inside, outside in (halves, halves[::-1]):
        cases = list(_cases(ratings, outside, rng))
        for name, (prior, _) in _forms(ratings.moments.part(inside), spectrum, start):
            parts.setdefault(name, []).append(_densities(prior, cases, unseen))
    scores = {name: np.concatenate(both) for name, both in parts.items()}
    densities = {name: float(np.mean(values)) for name, values in scores.items()}
    best = max(densities, key=lambda name: densities[name])
    gain = scores[best] - scores["calibration"]
    if len(gain) < 2 or gain.mean() <= gain.std(ddof=1) / np.sqrt(len(gain)):
        best = "calibration"
    for name, (prior, head) in _forms(ratings.moments, spectrum, start):
        if name == best:
            return Choice(prior, head, name, densities)
    raise AssertionError(best)


def _forms(
    moments: Moments, spectrum: Array, start: Start | None
) -> Iterator[tuple[str, tuple[Gaussian, Gaussian]]]:
    """Every form with its calibration prior, each as soon as it is fitted."""
    head = fit_calibration(moments)
    yield "calibration", (calibration_only(head, HEAD + len(spectrum)), head)
    strengths: tuple[float, ...] = STRENGTHS
    steps = 8
    if start is None or start.form == POWER_LAW:
        prior = fit_power_law(moments, head, spectrum)
        yield POWER_LAW, (prior, head)
        strengths = strengths if start is None else strengths[:1]
    else:
        mean = np.pad(head.mean, (0, len(spectrum)))
        prior, steps = Gaussian(mean, start.prior.covariance, start.prior.noise), 3
        place = [_shrunk(strength) for strength in strengths].index(start.form)
        strengths = strengths[max(place - 1, 0) : place + 2]
    for strength in strengths:
        prior = fit_shrunk(moments, prior, spectrum, strength * (HEAD + len(spectrum)), steps)
        yield _shrunk(strength), (prior, head)


def _shrunk(strength: float) -> str:
    return f"shrunk full {strength:g}"


def _cases(
    ratings: UserRatings, users: NDArray[np.intp], rng: np.random.Generator
) -> Iterator[list[tuple[Array, Array, Array, Array]]]:
    """For each user: for each count, the rows and scores before, and rows and scores to predict."""
    for user in users:
        order = rng.permutation(np.arange(ratings.start[user], ratings.start[user + 1]))
        case = []
        for count in COUNTS:
            past, future = order[:count], order[count : count + FURTHER]
            if len(future) >= 5:
                rows = ratings.rows[future].copy()
                rows[:, 2] = 0.0  # as if nobody had rated these items
                case.append(
                    (ratings.rows[past], ratings.scores[past], rows, ratings.scores[future])
                )
        if case:
            yield case


def _densities(
    prior: Gaussian, cases: list[list[tuple[Array, Array, Array, Array]]], unseen: float
) -> Array:
    """Mean log predictive density of a rating, per user."""
    precision = np.linalg.inv(prior.covariance)
    pull = precision @ prior.mean
    result = []
    for case in cases:
        values = []
        for past, past_scores, rows, scores in case:
            covariance = np.linalg.inv(precision + past.T @ past / prior.noise)
            mean = covariance @ (pull + past.T @ past_scores / prior.noise)
            item = unseen * (mean[2] ** 2 + covariance[2, 2])
            variance = np.einsum("nm,mk,nk->n", rows, covariance, rows) + prior.noise + item
            error = scores - rows @ mean
            values.append(np.mean(-0.5 * (np.log(2 * np.pi * variance) + error**2 / variance)))
        result.append(np.mean(values))
    return np.array(result)


Progress = Callable[[str, float], None]
"""Told the step and the share done, 0..1."""
