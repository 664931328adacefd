"""Fits what other feedback than ratings is worth, once head, items and prior of a population are there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paaplus.events import ATTRIBUTES
from paaplus.heads import information_posterior
from paaplus.observations import SURVEY
from paaplus.population.channels import Channels, Latents, fit_channels, latent_rows
from paaplus.population.model import Population
from paaplus.population.prior import Array
from paaplus.population.survey import SurveyModel, fit_survey
from paaplus.population.tempering import Weighted, best_power

MOST_USERS = 5000
"""Users that are looked at: more would not make a channel's worth any surer."""

FEWEST_RATINGS = 5
"""Ratings of a user whose taste is taken to be known at all."""


@dataclass(frozen=True, slots=True)
class Taught:
    """Observations that are no ratings, N in all.

    Attributes:
        user_ids: object [N] of str.
        item_ids: object [N] of str or None.
        channels: object [N] of str.
        signals: float64 [N, A].
        details: object [N] of str or None.
    """

    user_ids: NDArray[np.object_]
    item_ids: NDArray[np.object_]
    channels: NDArray[np.object_]
    signals: Array
    details: NDArray[np.object_]


def fit_teaching(
    population: Population,
    taught: Taught,
    user_ids: NDArray[np.object_],
    items: NDArray[np.intp],
    scores: Array,
    rows: dict[str, Array],
    table: Array,
) -> Population:
    """The population with its channels and survey.

    Args:
        population: As fitted on the ratings.
        taught: The other observations.
        user_ids: [N'] of the ratings.
        items: [N'], places of the rated items in `table`.
        scores: [N', A] on 0..10, NaN = not rated.
        rows: Item id -> [A, m], design rows.
        table: [I, A, m], the same by place.
    """
    teachers = _teachers(taught, user_ids)
    if not len(teachers):
        return population
    posteriors = [
        _posterior(population, a, teachers, user_ids, items, scores, table)
        for a in range(len(ATTRIBUTES))
    ]
    channels = _channels(
        population, taught, teachers, posteriors, user_ids, items, scores, rows, table
    )
    survey = _survey(population, taught, teachers, posteriors)
    fitted = replace(population, channels=channels, survey=survey)
    return _tempered(fitted, taught, teachers, user_ids, items, scores, rows, table)


Posterior = tuple[Array, Array]
"""Means [U, m] and covariances [U, m, m] of the teachers' weights in one attribute."""


def _teachers(taught: Taught, user_ids: NDArray[np.object_]) -> NDArray[np.str_]:
    """Users who rated and gave other feedback: sorted, at most MOST_USERS of them evenly picked."""
    rated, counts = np.unique(user_ids.astype(str), return_counts=True)
    both = np.intersect1d(np.unique(taught.user_ids.astype(str)), rated[counts >= FEWEST_RATINGS])
    step = max(1, -(-len(both) // MOST_USERS))
    return both[::step]


def _places(teachers: NDArray[np.str_], user_ids: NDArray[np.object_]) -> NDArray[np.intp]:
    """Place of each user among the teachers; -1 for others."""
    wanted = user_ids.astype(str)
    place = np.minimum(np.searchsorted(teachers, wanted), len(teachers) - 1)
    return np.where(teachers[place] == wanted, place, -1)


def _posterior(
    population: Population,
    a: int,
    teachers: NDArray[np.str_],
    user_ids: NDArray[np.object_],
    items: NDArray[np.intp],
    scores: Array,
    table: Array,
) -> Posterior:
    prior = population.prior
    owner = _places(teachers, user_ids)
    mine = np.flatnonzero((owner >= 0) & ~np.isnan(scores[:, a]))
    mine = mine[np.argsort(owner[mine], kind="stable")]
    width = prior.mean.shape[1]
    gram, moment = np.zeros((len(teachers), width, width)), np.zeros((len(teachers), width))
    first = np.searchsorted(owner[mine], np.arange(len(teachers) + 1))
    for u in range(len(teachers)):
        one = mine[first[u] : first[u + 1]]
        x = table[items[one], a]
        gram[u], moment[u] = x.T @ x, x.T @ scores[one, a]
    return information_posterior(prior.mean[a], prior.covariance[a], prior.noise[a], gram, moment)


def _channels(
    population: Population,
    taught: Taught,
    teachers: NDArray[np.str_],
    posteriors: list[Posterior],
    user_ids: NDArray[np.object_],
    items: NDArray[np.intp],
    scores: Array,
    rows: dict[str, Array],
    table: Array,
) -> Channels:
    owner = _places(teachers, taught.user_ids)
    kept = [
        n
        for n in np.flatnonzero((owner >= 0) & (taught.channels != SURVEY)).tolist()
        if taught.item_ids[n] in rows
        and (taught.channels[n].split(".")[0] != "comparison" or taught.details[n] in rows)
    ]
    blank = np.zeros(population.prior.mean.shape)
    channels, signals, owner = taught.channels[kept], taught.signals[kept], owner[kept]
    psi = np.array([rows[taught.item_ids[n]] for n in kept]).reshape(-1, *blank.shape)
    others = np.array([rows.get(taught.details[n], blank) for n in kept]).reshape(psi.shape)
    psi = latent_rows(channels, psi, others)
    rater = _places(teachers, user_ids)
    events, rated = [], []
    for a, (mean, covariance) in enumerate(posteriors):
        mine = np.flatnonzero((rater >= 0) & ~np.isnan(scores[:, a]))
        shown = table[items[mine], a].copy()
        shown[:, 0] = 0.0
        events.append(_latents(owner, psi[:, a], mean, covariance))
        rated.append(_latents(rater[mine], shown, mean, covariance))
    return fit_channels(channels, signals, events, rated, population.prior.noise)


def _tempered(
    population: Population,
    taught: Taught,
    teachers: NDArray[np.str_],
    user_ids: NDArray[np.object_],
    items: NDArray[np.intp],
    scores: Array,
    rows: dict[str, Array],
    table: Array,
) -> Population:
    """The population with each kind's weights at the power that predicts ratings best."""
    prior, rng = population.prior, np.random.default_rng(len(teachers))
    rater, owner = _places(teachers, user_ids), _places(teachers, taught.user_ids)
    kinds = np.array([channel.split(".")[0] for channel in taught.channels])
    powers: dict[str, Array] = {}
    for kind in sorted(set(kinds.tolist())):
        mine = np.flatnonzero((kinds == kind) & (owner >= 0))
        mine = mine[np.argsort(owner[mine], kind="stable")]
        blank = np.zeros(prior.mean.shape)
        psi = np.array([rows.get(taught.item_ids[n], blank) for n in mine]).reshape(
            -1, *blank.shape
        )
        against = np.array([rows.get(taught.details[n], blank) for n in mine]).reshape(psi.shape)
        psi, target, weight = population.observe(
            taught.channels[mine], taught.signals[mine], psi, against, taught.details[mine]
        )
        powers[kind] = np.ones(len(ATTRIBUTES))
        for a in range(len(ATTRIBUTES)):
            said = Weighted(owner[mine], psi[:, a], target[:, a], weight[:, a])
            given = np.flatnonzero((rater >= 0) & ~np.isnan(scores[:, a]))
            given = given[np.argsort(rater[given], kind="stable")]
            rated = Weighted(
                rater[given], table[items[given], a], scores[given, a], np.ones(len(given))
            )
            powers[kind][a] = best_power(prior, a, rated, said, len(teachers), rng)
    channels, survey = population.channels, population.survey
    if survey is not None:
        survey = replace(survey, power=powers.get(SURVEY, survey.power))
    factor = np.array([powers.get(name.split(".")[0], np.ones(3)) for name in channels.names])
    with np.errstate(divide="ignore"):
        noise = channels.noise / factor.reshape(channels.noise.shape)
    return replace(population, channels=replace(channels, noise=noise), survey=survey)


def _latents(owner: NDArray[np.intp], rows: Array, mean: Array, covariance: Array) -> Latents:
    variance = np.empty(len(rows))
    for first in range(0, len(rows), 10_000):  # a covariance per row would fill the memory
        some = slice(first, first + 10_000)
        variance[some] = np.einsum("nm,nmk,nk->n", rows[some], covariance[owner[some]], rows[some])
    return Latents(owner, np.einsum("nm,nm->n", rows, mean[owner]), variance)


def _survey(
    population: Population,
    taught: Taught,
    teachers: NDArray[np.str_],
    posteriors: list[Posterior],
) -> SurveyModel | None:
    owner = _places(teachers, taught.user_ids)
    mine = np.flatnonzero((owner >= 0) & (taught.channels == SURVEY))
    if not len(mine):
        return None
    prior, users = population.prior, owner[mine]
    return fit_survey(
        [str(taught.details[n]) for n in mine],
        [mean[users] - prior.mean[a] for a, (mean, _) in enumerate(posteriors)],
        [covariance[users] for _, covariance in posteriors],
        np.linalg.cholesky(prior.covariance).astype(np.float64),
    )


def teaching_report(population: Population) -> dict[str, Any]:
    """For every channel that teaches: events, worth in ratings and the most that one event can move.

    The most is for a user without feedback: the variance of the latent score over users and items, D,
    against the noise.
    """
    found: dict[str, Any] = {}
    channels, prior = population.channels, population.prior
    for k, name in enumerate(channels.names.tolist()):
        for a, attribute in enumerate(ATTRIBUTES):
            noise = float(channels.noise[k, a])
            if channels.count[k, a]:
                found.setdefault(f"{name} {channels.level[k]:g}", {})[attribute] = {
                    "events": int(channels.count[k, a]),
                    "worth": round(float(prior.noise[a] / noise), 3),
                    "target": round(float(channels.target[k, a]), 2),
                }
    if population.survey is not None:
        share = (population.survey.slopes**2).sum(axis=1)
        for f, (question, answer) in enumerate(population.survey.columns):
            name = f"preference {question}" if isinstance(question, int) else question
            label = f"survey {name}" + ("" if answer is None else f" = {answer}")
            explained = {at: round(float(share[a, f]), 4) for a, at in enumerate(ATTRIBUTES)}
            if any(explained.values()):
                found[label] = {"explains": explained}
    return found
