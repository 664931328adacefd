"""Users' ratings of one attribute as rows of the regression, and the statistics that priors are fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paaplus.population.em import Moments
from paaplus.population.prior import Array


@dataclass(frozen=True, slots=True)
class UserRatings:
    """Design rows and ratings, ragged over users; user u owns start[u]:start[u+1].

    Attributes:
        start: int [U + 1].
        rows: [N, m], with the user's own rating left out of delta.
        scores: [N], minus the mean of all.
        numbers: int [N], rising in the order in which each user gave them; None: it is not known.
        moments: Of the same rows.
    """

    start: NDArray[np.int64]
    rows: Array
    scores: Array
    numbers: NDArray[np.int64] | None
    moments: Moments


def by_user(
    users: NDArray[np.intp],
    rows: Array,
    scores: Array,
    share: Array,
    numbers: NDArray[np.int64] | None = None,
) -> UserRatings:
    """Group rows that are sorted by user; each counts by its share in the moments."""
    first = np.flatnonzero(np.concatenate([[True], users[1:] != users[:-1]]))
    start = np.append(first, len(users)).astype(np.int64)
    width = rows.shape[1]
    gram = np.empty((len(first), width, width))
    root = np.sqrt(share)
    psi, y = rows * root[:, None], scores * root
    for u in range(len(first)):
        mine = psi[start[u] : start[u + 1]]
        gram[u] = mine.T @ mine
    moments = Moments(
        gram=gram,
        cross=np.add.reduceat(psi * y[:, None], first, axis=0),
        square=np.add.reduceat(y**2, first),
        count=np.add.reduceat(share, first),
    )
    return UserRatings(start, rows, scores, numbers, moments)
