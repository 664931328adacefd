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

    def part(self, which: NDArray[np.intp]) -> Taught:
        """Some of them."""
        return Taught(
            self.user_ids[which], self.item_ids[which], self.channels[which],
            self.signals[which], self.details[which],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Teachers:
    """U users who rated and gave other feedback.

    Attributes:
        population: As fitted on the ratings.
        count: U.
        rated: Per attribute, their ratings; sorted by user.
        posteriors: Per attribute, means [U, m] and covariances [U, m, m] of their weights by these.
        taught: Their other observations, sorted by user.
        owner: int [N], whose each of those is.
        rows: [N, A, m], design rows of the items that those speak of, zeros where there are none.
        against: [N, A, m], of the items that they are compared with.
        known: bool [N], whether the items of those have features.
    """

    population: Population
    count: int
    rated: list[Weighted]
    posteriors: list[tuple[Array, Array]]
    taught: Taught
    owner: NDArray[np.intp]
    rows: Array
    against: Array
    known: NDArray[np.bool_]


def fit_teaching(
    population: Population,
    taught: Taught,
    user_ids: NDArray[np.object_],
    items: NDArray[np.intp],
    scores: Array,
    table: dict[str, Array],
) -> Population:
    """The population with its channels and survey.

    Args:
        population: As fitted on the ratings.
        taught: The other observations.
        user_ids: [N'] of the ratings, sorted.
        items: [N'], places of the rated items in `table`.
        scores: [N', A] on 0..10, NaN = not rated.
        table: Item id -> [A, m], design rows of all items in the order of their ids.
    """
    teachers = _find_teachers(population, taught, user_ids, items, scores, table)
    if teachers is None:
        return population
    fitted = replace(population, channels=_channels(teachers), survey=_survey(teachers))
    return _tempered(replace(teachers, population=fitted))


def _find_teachers(
    population: Population,
    taught: Taught,
    user_ids: NDArray[np.object_],
    items: NDArray[np.intp],
    scores: Array,
    table: dict[str, Array],
) -> _Teachers | None:
    rated, counts = np.unique(user_ids.astype(str), return_counts=True)
    both = np.intersect1d(np.unique(taught.user_ids.astype(str)), rated[counts >= FEWEST_RATINGS])
    names = both[:: max(1, -(-len(both) // MOST_USERS))]  # evenly picked
    if not len(names):
        return None
    rater, owner = _places(names, user_ids), _places(names, taught.user_ids)
    matrix, prior = np.stack(list(table.values())), population.prior
    ratings, posteriors = [], []
    for a in range(len(ATTRIBUTES)):
        given = np.flatnonzero((rater >= 0) & ~np.isnan(scores[:, a]))
        mine = Weighted(
            rater[given], matrix[items[given], a], scores[given, a], np.ones(len(given))
        )
        known = prior.mean[a], prior.covariance[a], prior.noise[a]
        ratings.append(mine)
        posteriors.append(information_posterior(*known, *mine.statistics(len(names))))
    order = np.argsort(owner, kind="stable")
    order = order[owner[order] >= 0]
    taught, owner = taught.part(order), owner[order]
    blank = np.zeros(prior.mean.shape)
    shape = (len(order), *blank.shape)
    compared = np.char.startswith(taught.channels.astype(str), "comparison")
    known_items = np.array([item in table for item in taught.item_ids], dtype=bool)
    known_items &= ~compared | np.array([d in table for d in taught.details], dtype=bool)
    return _Teachers(
        population, len(names), ratings, posteriors, taught, owner,
        np.array([table.get(item, blank) for item in taught.item_ids]).reshape(shape),
        np.array([table.get(detail, blank) for detail in taught.details]).reshape(shape),
        known_items,
    )  # fmt: skip


def _places(names: NDArray[np.str_], user_ids: NDArray[np.object_]) -> NDArray[np.intp]:
    """Place of each user among the names; -1 for others."""
    wanted = user_ids.astype(str)
    place = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    return np.where(names[place] == wanted, place, -1)


def _channels(teachers: _Teachers) -> Channels:
    taught, asked = teachers.taught, teachers.taught.channels == SURVEY
    kept = np.flatnonzero(teachers.known & ~asked)
    channels = taught.channels[kept]
    psi = latent_rows(channels, teachers.rows[kept], teachers.against[kept])
    events, rated = [], []
    for a, (ratings, posterior) in enumerate(zip(teachers.rated, teachers.posteriors, strict=True)):
        shown = ratings.rows.copy()
        shown[:, 0] = 0.0
        events.append(_latents(teachers.owner[kept], psi[:, a], *posterior))
        rated.append(_latents(ratings.owner, shown, *posterior))
    noise = teachers.population.prior.noise
    return fit_channels(channels, taught.signals[kept], events, rated, noise)


def _latents(owner: NDArray[np.intp], rows: Array, mean: Array, covariance: Array) -> Latents:
    variance = np.empty(len(rows))
    for first in range(0, len(rows), 10_000):  # a covariance per row would fill the memory
        some = slice(first, first + 10_000)
        variance[some] = np.einsum("nm,nmk,nk->n", rows[some], covariance[owner[some]], rows[some])
    return Latents(owner, np.einsum("nm,nm->n", rows, mean[owner]), variance)


def _survey(teachers: _Teachers) -> SurveyModel | None:
    asked = np.flatnonzero(teachers.taught.channels == SURVEY)
    if not len(asked):
        return None
    prior, users = teachers.population.prior, teachers.owner[asked]
    return fit_survey(
        [str(detail) for detail in teachers.taught.details[asked]],
        [mean[users] - prior.mean[a] for a, (mean, _) in enumerate(teachers.posteriors)],
        [covariance[users] for _, covariance in teachers.posteriors],
        np.linalg.cholesky(prior.covariance).astype(np.float64),
    )


def _tempered(teachers: _Teachers) -> Population:
    """The population with each kind's weights at the power that predicts ratings best."""
    population, taught, rng = teachers.population, teachers.taught, np.random.default_rng(0)
    psi, target, weight = population.observe(
        taught.channels, taught.signals, teachers.rows, teachers.against, taught.details
    )
    usable = teachers.known | (taught.channels == SURVEY)
    weight = np.where(usable[:, None], weight, 0.0)
    kinds = np.array([channel.split(".")[0] for channel in taught.channels])
    powers: dict[str, Array] = {}
    for kind in sorted(set(kinds.tolist())):
        mine = np.flatnonzero(kinds == kind)
        powers[kind] = np.array(
            [
                best_power(
                    population.prior, a, rated,
                    Weighted(teachers.owner[mine], psi[mine, a], target[mine, a], weight[mine, a]),
                    teachers.count, rng,
                )
                for a, rated in enumerate(teachers.rated)
            ]
        )  # fmt: skip
    channels, survey = population.channels, population.survey
    if survey is not None:
        survey = replace(survey, power=powers.get(SURVEY, survey.power))
    whole = np.ones(len(ATTRIBUTES))
    factor = np.array([powers.get(name.split(".")[0], whole) for name in channels.names])
    with np.errstate(divide="ignore"):
        noise = channels.noise / factor.reshape(channels.noise.shape)
    return replace(population, channels=replace(channels, noise=noise), survey=survey)


def teaching_report(population: Population) -> dict[str, Any]:
    """For every channel: events, worth in ratings and what it says the score is, next to the own mean."""
    found: dict[str, Any] = {}
    channels, prior = population.channels, population.prior
    for k, name in enumerate(channels.names.tolist()):
        for a, attribute in enumerate(ATTRIBUTES):
            if channels.count[k, a]:
                found.setdefault(f"{name} {channels.level[k]:g}", {})[attribute] = {
                    "events": int(channels.count[k, a]),
                    "worth": round(float(prior.noise[a] / channels.noise[k, a]), 3),
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
