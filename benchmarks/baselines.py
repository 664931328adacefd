"""What a personal head must beat: calibration, ridge regressions of the user's own, the item's consensus."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paaplus.heads import information_posterior
from paaplus.population.prior import HEAD, Prior

Array = NDArray[np.float64]
PENALTIES = np.geomspace(1e-1, 1e6, 15)
SPLITS = 5
DIRECTIONS = 128


def calibrate(prior: Prior, a: int, rows: Array, scores: Array) -> Array:
    """The user's own mean and slopes under the calibration prior: weights [3] of rows [n, >= 3]."""
    x = rows[:, :HEAD]
    mean, _ = information_posterior(
        prior.mean[a], prior.covariance[a], prior.noise[a], x.T @ x, x.T @ scores
    )
    return mean


def ridge(rows: Array, scores: Array, wanted: list[Array]) -> list[Array]:
    """Ridge regression without intercept, its penalty by 5-fold cross-validation.

    Args:
        rows: [n, k], centred by the caller.
        scores: [n].
        wanted: Rows [., k] to predict.
    """
    folds = np.arange(len(scores)) % SPLITS
    gram = rows @ rows.T
    errors = np.zeros(len(PENALTIES))
    for fold in range(SPLITS):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        values, axes = np.linalg.eigh(gram[np.ix_(inside, inside)])
        turned = axes.T @ scores[inside]
        cross = gram[np.ix_(outside, inside)] @ axes
        for n, penalty in enumerate(PENALTIES):
            guess = cross @ (turned / (np.maximum(values, 0) + penalty))
            errors[n] += ((scores[outside] - guess) ** 2).sum()
    penalty = PENALTIES[int(np.argmin(errors))]
    dual = np.linalg.solve(gram + penalty * np.eye(len(scores)), scores)
    return [part @ (rows.T @ dual) for part in wanted]


def own_ridge(rows: Array, scores: Array, wanted: list[Array], fallback: float) -> list[Array]:
    """The user's ratings and nothing else; below ten of them their mean."""
    mean = float(scores.mean()) if len(scores) else fallback
    if len(scores) < 2 * SPLITS:
        return [np.full(len(part), mean) for part in wanted]
    return [guess + mean for guess in ridge(rows, scores - mean, wanted)]


def residual_ridge(
    base: Array, rows: Array, scores: Array, wanted_base: list[Array], wanted: list[Array]
) -> list[Array]:
    """Ridge on what `base` [n] leaves of the scores; below ten of them the base alone."""
    if len(scores) < 2 * SPLITS:
        return wanted_base
    found = ridge(rows, scores - base, wanted)
    return [b + guess for b, guess in zip(wanted_base, found, strict=True)]


def consensus(
    user: NDArray[np.intp], item: NDArray[np.intp], score: Array, items: int
) -> tuple[Array, NDArray[np.int64]]:
    """Mean of the others' ratings of each item around the rater's own mean, and how many there are."""
    count = np.bincount(item, minlength=items)
    of_user = np.bincount(user, score) / np.maximum(np.bincount(user), 1)
    total = np.bincount(item, score - of_user[user], items)
    return np.divide(total, count, out=np.zeros(items), where=count > 0), count
