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
