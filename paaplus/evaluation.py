"""How well heads predict: per user, several models on the same ratings, so that they can be paired.

The same function serves held-out ratings (after training) and prequential ones (test-then-train: each new
rating is predicted by the live head before it is learned; Gama, Sebastião & Rodrigues 2013).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paaplus.errors import NotFoundError
from paaplus.metrics import grouped_srcc

FEWEST_FOR_RANKS = 5
"""Ratings of one attribute below which a rank correlation says nothing."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class UserReports:
    """Errors of several models on the same ratings, per user.

    Attributes:
        user_ids: U ids.
        count: int64 [U], scores compared (a rating of three attributes is three).
        absolute: model -> float64 [U], mean absolute error on 0..10; NaN where count is 0.
        squared: model -> float64 [U], mean squared error.
        ranks: model -> float64 [U], SRCC, mean over the attributes with enough ratings; NaN if none.
        errors: model -> float64 [S], absolute error of every score, for paired differences.
        owner: int64 [S], index of the user of every score.
    """

    user_ids: tuple[str, ...]
    count: NDArray[np.int64]
    absolute: dict[str, Array]
    squared: dict[str, Array]
    ranks: dict[str, Array]
    errors: dict[str, Array]
    owner: NDArray[np.int64]

    def difference(self, model: str, other: str) -> tuple[Array, Array]:
        """How much lower the absolute error of `model` is than that of `other`.

        Returns:
            Mean paired difference [U] (positive: `model` is better; NaN without scores) and its
            sampling variance [U] (NaN below two scores).

        Raises:
            NotFoundError: No such model in the report.
        """
        for name in (model, other):
            if name not in self.errors:
                raise NotFoundError(
                    f"no model {name!r} in the report", f"known: {list(self.errors)}"
                )
        gain = self.errors[other] - self.errors[model]
        users = len(self.user_ids)
        total = np.bincount(self.owner, gain, users)
        mean = np.divide(total, self.count, out=np.full(users, np.nan), where=self.count > 0)
        squares = np.bincount(self.owner, (gain - mean[self.owner]) ** 2, users)
        freedom = self.count * (self.count - 1)
        variance = np.divide(squares, freedom, out=np.full(users, np.nan), where=self.count > 1)
        return mean, variance

    def summary(self) -> dict[str, float]:
        """Means over users with ratings: `mae_<model>`, `srcc_<model>`, and `users`, `scores`."""
        result = {"users": float((self.count > 0).sum()), "scores": float(self.count.sum())}
        for name in self.errors:
            for label, values in (("mae", self.absolute[name]), ("srcc", self.ranks[name])):
                present = values[~np.isnan(values)]
                if len(present):
                    result[f"{label}_{name}"] = float(present.mean())
        return result


def evaluate(
    user_ids: tuple[str, ...],
    start: NDArray[np.int64],
    scores: Array,
    predictions: Mapping[str, Array],
) -> UserReports:
    """Compare models on the ratings of U users.

    Args:
        user_ids: U ids.
        start: int64 [U + 1]; user u owns rows start[u]:start[u + 1].
        scores: [N, A] on 0..10; NaN = not rated.
        predictions: model -> [N, A].
    """
    users = len(user_ids)
    row_owner = np.repeat(np.arange(users), np.diff(start))
    given = ~np.isnan(scores)
    owner = np.repeat(row_owner, given.sum(axis=1))
    count = np.bincount(owner, minlength=users)
    absolute, squared, ranks, errors = {}, {}, {}, {}
    for name, predicted in predictions.items():
        error = (predicted - scores)[given]
        errors[name] = np.abs(error)
        absolute[name] = _mean(np.abs(error), owner, count)
        squared[name] = _mean(error**2, owner, count)
        ranks[name] = _ranks(predicted, scores, row_owner, users)
    return UserReports(user_ids, count, absolute, squared, ranks, errors, owner)


def join(reports: Sequence[UserReports], user_ids: tuple[str, ...]) -> UserReports:
    """Reports on several sets of ratings as one; each user's SRCC is the mean of those of the sets.

    Args:
        reports: At least one; of the same models, each on some of the users.
        user_ids: U ids, all that occur.
    """
    place = {user_id: u for u, user_id in enumerate(user_ids)}
    users, models = len(user_ids), list(reports[0].errors)
    owners = [np.array([place[user_id] for user_id in r.user_ids]) for r in reports]
    owner = np.concatenate([own[r.owner] for own, r in zip(owners, reports, strict=True)])
    count = np.bincount(owner, minlength=users)
    errors = {m: np.concatenate([r.errors[m] for r in reports]) for m in models}
    everybody = np.concatenate(owners)
    ranks = {}
    for model in models:
        values = np.concatenate([r.ranks[model] for r in reports])
        seen = ~np.isnan(values)
        ranks[model] = _mean(
            values[seen], everybody[seen], np.bincount(everybody[seen], minlength=users)
        )
    return UserReports(
        user_ids,
        count,
        {m: _mean(errors[m], owner, count) for m in models},
        {m: _mean(errors[m] ** 2, owner, count) for m in models},
        ranks,
        errors,
        owner,
    )


def _mean(values: Array, owner: NDArray[np.int64], count: NDArray[np.int64]) -> Array:
    total = np.bincount(owner, values, len(count))
    mean: Array = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return mean


def _ranks(predicted: Array, scores: Array, owner: NDArray[np.int64], users: int) -> Array:
    """SRCC per user [U]: the mean over the attributes with enough ratings of it."""
    found = np.full((scores.shape[1], users), np.nan)
    for a in range(scores.shape[1]):
        given = ~np.isnan(scores[:, a])
        of = owner[given]
        enough = np.bincount(of, minlength=users) >= FEWEST_FOR_RANKS
        found[a] = grouped_srcc(predicted[given, a], scores[given, a], of, users)
        found[a, ~enough] = np.nan
    present = ~np.isnan(found)
    total, count = np.where(present, found, 0.0).sum(axis=0), present.sum(axis=0)
    mean: Array = np.divide(total, count, out=np.full(users, np.nan), where=count > 0)
    return mean


def forgetting(matrix: Array) -> float:
    """Mean drop of each experience's score from its best to its last (Chaudhry et al. 2018).

    Args:
        matrix: [T, T], entry (i, j) = score on experience j after learning experience i; higher is
            better; entries above the diagonal are not looked at.

    Returns:
        Mean over the first T - 1 experiences; NaN for fewer than two.
    """
    steps = len(matrix)
    if steps < 2:
        return float("nan")
    drops = [matrix[j : steps - 1, j].max() - matrix[-1, j] for j in range(steps - 1)]
    return float(np.mean(drops))


def backward_transfer(matrix: Array) -> float:
    """Mean change of each experience's score by what was learned after it (Lopez-Paz & Ranzato 2017).

    Args:
        matrix: As for `forgetting`.
    """
    steps = len(matrix)
    if steps < 2:
        return float("nan")
    return float(np.mean(matrix[-1, : steps - 1] - np.diag(matrix)[: steps - 1]))
