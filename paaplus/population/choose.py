"""Which form of the prior: the one that predicts held-out users best, on items treated as unseen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paaplus.population.density import unseen_density
from paaplus.population.em import (
    Gaussian,
    Moments,
    calibration_only,
    fit_calibration,
    fit_power_law,
    fit_shrunk,
)
from paaplus.population.prior import HEAD, Array
from paaplus.population.ratings import UserRatings
from paaplus.population.rotation import cut, leading_axes, turned

STRENGTHS = (8.0, 2.0, 0.5, 0.15)
"""Shrinkage of the full forms in units of the number of regressors, each warm-started by the last."""

COUNTS = (3, 10, 30, 100)
"""Ratings that a held-out user is conditioned on; the mean over these decides."""

SCALES = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.3)
"""Factors on the noise that are tried."""

FURTHER, FEWEST_FURTHER = 60, 5
"""Ratings predicted after each of them, at most and at least."""

ENOUGH_USERS = 120
"""With fewer, forms are compared in five folds and not in halves, which would be too few to fit them on."""

Case = list[tuple[Array, Array, Array, Array]]
"""Of one user, for each count: rows and scores before, rows and scores to predict."""

FEWEST_USERS = 30
"""Below that many users nothing but calibration can be told from noise."""


POWER_LAW = "power law"


@dataclass(frozen=True, slots=True)
class Start:
    """Where the last fit stood: its form, and its prior in the coordinates of this fit."""

    form: str
    prior: Gaussian


@dataclass(frozen=True, slots=True)
class Choice:
    """The prior that was chosen, and why.

    Attributes:
        prior: Refitted on all users.
        head: The calibration prior, refitted on all users.
        form: Name of the form.
        densities: Mean log predictive density of each form on held-out users.
        scale: What the noise under the prior, cut to its leading directions, is to be multiplied by.
    """

    prior: Gaussian
    head: Gaussian
    form: str
    densities: dict[str, float]
    scale: float = 1.0


def choose_prior(
    ratings: UserRatings,
    spectrum: Array,
    unseen: float,
    rng: np.random.Generator,
    start: Start | None = None,
) -> Choice:
    """Fit every form on some users, compare on the others, in halves or five folds; refit the best on all.

    A form must beat calibration by more than one standard error over users; if none does, calibration is
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
    judged = np.diff(ratings.start) >= COUNTS[0] + FEWEST_FURTHER
    if users < FEWEST_USERS or not judged.any():
        head = fit_calibration(ratings.moments)
        return Choice(calibration_only(head, HEAD + len(spectrum)), head, "calibration", {})
    held_out: dict[str, list[tuple[Gaussian, list[Case]]]] = {}
    parts: dict[str, list[Array]] = {}
    folds = np.array_split(rng.permutation(users), 2 if users >= ENOUGH_USERS else 5)
    for outside in folds:
        inside = np.setdiff1d(np.arange(users), outside)
        cases = list(_cases(ratings, outside, rng))
        for name, (prior, _) in _forms(ratings.moments.part(inside), spectrum, start):
            parts.setdefault(name, []).append(_densities(prior, cases, unseen))
            held_out.setdefault(name, []).append((prior, cases))
    scores = {name: np.concatenate(every) for name, every in parts.items()}
    densities = {name: float(np.mean(values)) for name, values in scores.items()}
    surely = [name for name in scores if beats(scores[name], scores["calibration"])]
    best = max(surely, key=lambda name: densities[name], default="calibration")
    scale = _noise_scale(held_out[best], unseen)
    for name, (prior, head) in _forms(ratings.moments, spectrum, start):
        if name == best:
            return Choice(prior, head, name, densities, scale)
    raise AssertionError(best)


def beats(scores: Array, other: Array) -> bool:
    """Whether scores [U] are better than others by a standard error over users; never on none or one."""
    gain = scores - other
    return len(gain) > 1 and bool(gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)))


def _noise_scale(held_out: list[tuple[Gaussian, list[Case]]], unseen: float) -> float:
    """The factor of SCALES on the noise under which held-out users are predicted best.

    EM takes for taste what is noise of the users whom it saw, the cut takes for noise what it leaves out, and
    what people say later may differ from what they said at first: none of these is in the noise of EM.

    Args:
        held_out: Priors, each with cases of users that it was not fitted on.
        unseen: Variance of an unseen item's deviation.
    """
    totals = np.zeros(len(SCALES))
    for prior, cases in held_out:
        rotation = leading_axes(prior.covariance[HEAD:, HEAD:])
        small, turn = cut(prior, rotation), turned(rotation)
        turned_cases = [
            [(past @ turn, before, rows @ turn, scores) for past, before, rows, scores in case]
            for case in cases
        ]
        for n, scale in enumerate(SCALES):
            tried = Gaussian(small.mean, small.covariance, scale * small.noise)
            totals[n] += _densities(tried, turned_cases, unseen).sum()
    return SCALES[int(np.argmax(totals))]


def _forms(
    moments: Moments, spectrum: Array, start: Start | None
) -> Iterator[tuple[str, tuple[Gaussian, Gaussian]]]:
    """Every form with its calibration prior, each as soon as it is fitted."""
    head = fit_calibration(moments)
    yield "calibration", (calibration_only(head, HEAD + len(spectrum)), head)
    strengths: tuple[float, ...] = STRENGTHS
    steps = 8 if start is None else 3
    if start is None or start.form == POWER_LAW:
        prior = fit_power_law(moments, head, spectrum, None if start is None else start.prior)
        yield POWER_LAW, (prior, head)
        strengths = strengths if start is None else strengths[:1]
    else:
        mean = np.pad(head.mean, (0, len(spectrum)))
        prior = Gaussian(mean, start.prior.covariance, start.prior.noise)
        place = [_shrunk(strength) for strength in strengths].index(start.form)
        strengths = strengths[max(place - 1, 0) : place + 2]
    for strength in strengths:
        prior = fit_shrunk(moments, prior, spectrum, strength * (HEAD + len(spectrum)), steps)
        yield _shrunk(strength), (prior, head)


def _shrunk(strength: float) -> str:
    return f"shrunk full {strength:g}"


def _cases(
    ratings: UserRatings, users: NDArray[np.intp], rng: np.random.Generator
) -> Iterator[Case]:
    """For each user, for each count: rows and scores before, rows and scores of later ones to predict."""
    for user in users:
        order = rng.permutation(np.arange(ratings.start[user], ratings.start[user + 1]))
        if ratings.numbers is not None:
            order = order[np.argsort(ratings.numbers[order], kind="stable")]
        case: Case = []
        for count in COUNTS:
            past, later = order[:count], order[count:]
            if len(later) >= FEWEST_FURTHER:
                future = rng.permutation(later)[:FURTHER]
                rows = ratings.rows[future].copy()
                rows[:, 2] = 0.0  # as if nobody had rated these items
                case.append(
                    (ratings.rows[past], ratings.scores[past], rows, ratings.scores[future])
                )
        if case:
            yield case


def _densities(prior: Gaussian, cases: list[Case], unseen: float) -> Array:
    """Mean log predictive density of a rating, per user."""
    precision = np.linalg.inv(prior.covariance)
    pull = precision @ prior.mean
    result = []
    for case in cases:
        values = []
        for past, past_scores, rows, scores in case:
            covariance = np.asarray(np.linalg.inv(precision + past.T @ past / prior.noise), float)
            mean = covariance @ (pull + past.T @ past_scores / prior.noise)
            values.append(
                unseen_density(rows, scores, mean, covariance, prior.noise, unseen).mean()
            )
        result.append(np.mean(values))
    return np.array(result)


Progress = Callable[[str, float], None]
"""Told the step and the share done, 0..1."""
