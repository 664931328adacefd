"""How likely held-out ratings are: Gaussian log densities, by which forms and powers are compared."""

from __future__ import annotations

import numpy as np

from paaplus.population.prior import Array


def log_density(error: Array, variance: Array) -> Array:
    """Log density of normal errors of mean 0, both [n]."""
    density: Array = -0.5 * (np.log(2 * np.pi * variance) + error**2 / variance)
    return density


def unseen_density(
    rows: Array, scores: Array, mean: Array, covariance: Array, noise: float, unseen: float
) -> Array:
    """Log predictive density of one user's ratings of items that nobody has rated.

    Args:
        rows: [n, m], with delta 0.
        scores: [n].
        mean: [m], the user's head, and its covariance [m, m].
        covariance: See `mean`.
        noise: Variance of one rating.
        unseen: Variance of an unseen item's deviation, in units of delta.

    Returns:
        [n]; what the deviation adds is by the user's own weight of delta.
    """
    item = unseen * (mean[2] ** 2 + covariance[2, 2])
    spread = np.einsum("nm,mk,nk->n", rows, covariance, rows)
    return log_density(scores - rows @ mean, spread + noise + item)
