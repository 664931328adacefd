"""Measures of agreement between predicted and given scores, on 1-D arrays without NaN."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Scores = NDArray[np.floating]


def plcc(predicted: Scores, given: Scores) -> float:
    """Pearson's linear correlation, -1..1; NaN if either side is constant."""
    x = np.asarray(predicted, dtype=np.float64) - np.mean(predicted)
    y = np.asarray(given, dtype=np.float64) - np.mean(given)
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0 else float("nan")


def srcc(predicted: Scores, given: Scores) -> float:
    """Spearman's rank correlation, -1..1, ties at their mean rank; NaN if a side is constant."""
    return plcc(rankdata(predicted), rankdata(given))


def mae(predicted: Scores, given: Scores) -> float:
    """Mean absolute error, on the scale of the scores."""
    return float(np.mean(np.abs(np.asarray(predicted) - np.asarray(given))))


def grouped_srcc(
    predicted: NDArray[np.float64],
    actual: NDArray[np.float64],
    owner: NDArray[np.int64],
    groups: int,
) -> NDArray[np.float64]:
    """Spearman's rank correlation within each group, all groups at once.

    Args:
        predicted: [N], and `actual` [N].
        actual: See `predicted`.
        owner: [N], group 0..groups-1 of each.
        groups: G.

    Returns:
        [G]; NaN for a group of fewer than two, or with a constant side.
    """
    count = np.bincount(owner, minlength=groups)
    parts = []
    for values in (predicted, actual):
        ranks = _grouped_ranks(values, owner, count)
        parts.append(ranks - ((count + 1) / 2)[owner])
    cross, first, second = (
        np.bincount(owner, x * y, groups)
        for x, y in ((parts[0], parts[1]), (parts[0], parts[0]), (parts[1], parts[1]))
    )
    spread = np.sqrt(first * second)
    found: NDArray[np.float64] = np.full(groups, np.nan)
    np.divide(cross, spread, out=found, where=spread > 0)
    return found


def _grouped_ranks(
    values: NDArray[np.float64], owner: NDArray[np.int64], count: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Ranks 1.. within each group, ties sharing their mean."""
    if not len(values):
        return np.zeros(0)
    order = np.lexsort((values, owner))
    ordered, of = values[order], owner[order]
    first = np.flatnonzero(
        np.concatenate([[True], (ordered[1:] != ordered[:-1]) | (of[1:] != of[:-1])])
    )
    length = np.diff(np.append(first, len(values)))
    start = (np.cumsum(count) - count)[of[first]]  # of the group
    shared = first - start + (length + 1) / 2
    ranks = np.empty(len(values))
    ranks[order] = np.repeat(shared, length)
    return ranks
