"""Users' ratings of all attributes together, as the joint prior is fitted and judged on them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paaplus.population.attribute import AttributeFit
from paaplus.population.choose import FEWEST_FURTHER, FURTHER
from paaplus.population.density import unseen_density
from paaplus.population.prior import Array, Prior
from paaplus.population.rotation import turned

COUNTS = (1, 3, 10, 30)
"""Ratings that a held-out user is known by; with many, each attribute speaks for itself."""

Case = list[tuple[tuple[Array, Array], list[tuple[int, Array, Array]]]]
"""For each count: statistics of the ratings before, and per attribute rows and scores to predict."""


@dataclass(frozen=True, slots=True)
class Joined:
    """Ratings of U users in A attributes; of attribute a, user u owns rows start[a][u]:start[a][u+1].

    Attributes:
        users: int [U], sorted.
        start: Per attribute int [U + 1].
        rows: Per attribute [N_a, m], in the rotated basis.
        scores: Per attribute [N_a], 0..10.
        events: Per attribute int [N_a]: rows of one event have the same number e < E in all attributes.
        numbers: int [E], rising in the order in which each user gave them; None: it is not known.
        unseen: [A], variance of an unseen item's deviation, in units of delta.
        gram: [U, A, m, m], and `moment` [U, A, m].
        moment: See `gram`.
    """

    users: NDArray[np.intp]
    start: list[NDArray[np.intp]]
    rows: list[Array]
    scores: list[Array]
    events: list[NDArray[np.intp]]
    numbers: NDArray[np.int64] | None
    unseen: Array
    gram: Array
    moment: Array

    def part(self, users: NDArray[np.intp]) -> Joined:
        """Statistics of some users alone; their rows are not cut out."""
        return Joined(
            self.users[users], self.start, self.rows, self.scores, self.events, self.numbers,
            self.unseen, self.gram[users], self.moment[users],
        )  # fmt: skip

    def second_moment(self, prior: Prior) -> Array:
        """Mean over users of what the weights are expected to deviate, squared: [A m, A m] (E-step)."""
        total = np.zeros((prior.mean.size, prior.mean.size))
        for first in range(0, len(self.users), 200):
            some = slice(first, first + 200)
            mean, covariance = prior.joint_posterior(self.gram[some], self.moment[some])
            away = mean - prior.mean.reshape(-1)
            total += away.T @ away + covariance.sum(axis=0)
        return total / len(self.users)

    def cases(self, users: NDArray[np.intp], rng: np.random.Generator) -> Iterator[Case]:
        """Held-out users: their events in their own order, else a random one, cut after each of `COUNTS`."""
        for u in users:
            spans = [np.arange(start[u], start[u + 1]) for start in self.start]
            events = rng.permutation(np.unique(np.concatenate([
                self.events[a][span] for a, span in enumerate(spans)
            ])))  # fmt: skip
            if self.numbers is not None:
                events = events[np.argsort(self.numbers[events], kind="stable")]
            case: Case = []
            for count in COUNTS:
                past, later = events[:count], events[count:]
                if len(later) < FEWEST_FURTHER:
                    break
                future = rng.permutation(later)[:FURTHER]
                case.append((self._known(spans, past), self._wanted(spans, future)))
            if case:
                yield case

    def densities(self, prior: Prior, cases: list[Case]) -> Array:
        """Mean log predictive density of a rating, per user."""
        result = []
        for case in cases:
            gram, moment = (np.stack([known[n] for known, _ in case]) for n in range(2))
            means, covariances = prior.posterior(gram, moment)
            values = []
            for mean, covariance, (_, wanted) in zip(means, covariances, case, strict=True):
                logs = [
                    unseen_density(
                        rows, scores, mean[a], covariance[a], prior.noise[a], self.unseen[a]
                    )
                    for a, rows, scores in wanted
                ]
                values.append(np.concatenate(logs).mean())
            result.append(np.mean(values))
        return np.array(result)

    def _known(
        self, spans: list[NDArray[np.intp]], events: NDArray[np.intp]
    ) -> tuple[Array, Array]:
        gram, moment = np.zeros(self.gram.shape[1:]), np.zeros(self.moment.shape[1:])
        for a, span in enumerate(spans):
            mine = span[np.isin(self.events[a][span], events)]
            gram[a] = self.rows[a][mine].T @ self.rows[a][mine]
            moment[a] = self.rows[a][mine].T @ self.scores[a][mine]
        return gram, moment

    def _wanted(
        self, spans: list[NDArray[np.intp]], events: NDArray[np.intp]
    ) -> list[tuple[int, Array, Array]]:
        found = []
        for a, span in enumerate(spans):
            mine = span[np.isin(self.events[a][span], events)]
            if len(mine):
                rows = self.rows[a][mine].copy()
                rows[:, 2] = 0.0  # as if nobody had rated these items
                found.append((a, rows, self.scores[a][mine]))
        return found


def join_attributes(prior: Prior, fits: Mapping[int, AttributeFit], rotation: Array) -> Joined:
    """The fitted ratings of all attributes, by user; an attribute without a fit has none."""
    attributes, width = prior.mean.shape
    users = np.unique(np.concatenate([fit.raters for fit in fits.values()]))
    gram = np.zeros((len(users), attributes, width, width))
    moment = np.zeros((len(users), attributes, width))
    start = [np.zeros(len(users) + 1, np.intp)] * attributes
    rows: list[Array] = [np.zeros((0, width))] * attributes
    scores: list[Array] = [np.zeros(0)] * attributes
    events = [np.zeros(0, np.intp)] * attributes
    unseen, turn = np.zeros(attributes), turned(rotation)
    for a, fit in fits.items():
        own, place = fit.ratings, np.searchsorted(users, fit.raters)
        counts = np.zeros(len(users), np.intp)
        counts[place] = np.diff(own.start)
        start[a] = np.concatenate([[0], np.cumsum(counts)]).astype(np.intp)
        rows[a] = own.rows @ turn
        scores[a] = own.scores + fit.mean
        events[a] = fit.events
        unseen[a] = fit.head.between / fit.head.scale**2
        gram[place, a] = turn.T @ own.moments.gram @ turn
        moment[place, a] = own.moments.cross @ turn + fit.mean * gram[place, a, 0]
    numbers = _numbers(fits.values())
    return Joined(users, start, rows, scores, events, numbers, unseen, gram, moment)


def _numbers(fits: Collection[AttributeFit]) -> NDArray[np.int64] | None:
    """[E] of the events of all attributes; 0 where there is none."""
    numbers = np.zeros(1 + max(int(fit.events.max(initial=-1)) for fit in fits), np.int64)
    for fit in fits:
        if fit.ratings.numbers is None:
            return None
        numbers[fit.events] = fit.ratings.numbers
    return numbers
