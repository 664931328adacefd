"""Heads as they are served: a Gaussian over the weights of each attribute's scalar regression.

A head scores an item as `psi . w` (design rows psi, see `paaplus.population`), one weight vector per
attribute. With precision = prior precision + Fisher information it is the exact Bayesian update of a
linear model with Gaussian noise (Bishop 2006, section 3.3); the information form `G = sum w psi psi'`,
`c = sum w psi y` is additive, so two updates in sequence equal one joint update.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = 0.0, 10.0
"""Ends of the scale of scores."""

DELTA = 2
"""The regressor that says how an item departs from what the population model expects of it."""


@dataclass(frozen=True, slots=True)
class Heads:
    """Heads of U users over A attributes with m regressors.

    Attributes:
        mean: float [U, A, m], weights.
        covariance: float [U, A, m, m], their uncertainty.
        noise: float [U, A], variance of one rating around the user's own expectation; None: everybody's.
    """

    mean: NDArray[np.floating]
    covariance: NDArray[np.floating]
    noise: NDArray[np.floating] | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """One user's: mean [A, m], covariance [A, m, m] and noise [A], or None for everybody's."""

    mean: NDArray[np.floating]
    covariance: NDArray[np.floating]
    noise: NDArray[np.floating] | None = None


def predict(
    mean: NDArray[np.floating],
    covariance: NDArray[np.floating],
    rows: NDArray[np.floating],
    noise: NDArray[np.floating],
    unseen: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of one user's head.

    Args:
        mean: [A, m], and `covariance` [A, m, m], the head.
        covariance: See `mean`.
        rows: [N, A, m], design rows of N items.
        noise: [A], variance of one rating.
        unseen: [N, A], variance of the error of delta, the regressor `DELTA`.

    Returns:
        Mean [N, A], clipped to 0..10, and standard deviation [N, A] of a new rating.
    """
    wide = np.asarray(rows, dtype=np.float64)
    score = np.einsum("nam,am->na", wide, np.asarray(mean, dtype=np.float64))
    spread = np.einsum("nam,amk,nak->na", wide, np.asarray(covariance, dtype=np.float64), wide)
    variance = np.maximum(spread, 0.0) + noise + item_variance(mean, covariance, unseen)
    return np.clip(score, LOWEST, HIGHEST), np.sqrt(variance)


def item_variance(
    mean: NDArray[np.floating], covariance: NDArray[np.floating], unseen: NDArray[np.floating]
) -> NDArray[np.float64]:
    """What an item's unknown deviation adds to the variance of one user's scores, [N, A].

    Args:
        mean: [A, m], and `covariance` [A, m, m], the head.
        covariance: See `mean`.
        unseen: [N, A], variance of the error of delta.
    """
    heeded = mean[:, DELTA] ** 2 + covariance[:, DELTA, DELTA]
    return np.asarray(unseen * heeded, dtype=np.float64)


def information_posterior(
    prior_mean: NDArray[np.floating],
    prior_covariance: NDArray[np.floating],
    noise: NDArray[np.floating],
    gram: NDArray[np.floating],
    moment: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Posterior of linear-Gaussian weights; leading dimensions broadcast.

    Args:
        prior_mean: [.., m].
        prior_covariance: [.., m, m], positive definite.
        noise: [..], variance of one observation.
        gram: [.., m, m], sum of w psi psi'.
        moment: [.., m], sum of w psi y.

    Returns:
        Mean [.., m] and covariance [.., m, m].
    """
    posterior, pull = _information(prior_mean, prior_covariance, noise, gram, moment)
    covariance = np.linalg.inv(posterior)
    covariance = 0.5 * (covariance + np.swapaxes(covariance, -1, -2))
    mean = np.linalg.solve(posterior, pull[..., None])[..., 0]
    return mean.astype(np.float64), covariance.astype(np.float64)


def information_mean(
    prior_mean: NDArray[np.floating],
    prior_covariance: NDArray[np.floating],
    noise: NDArray[np.floating],
    gram: NDArray[np.floating],
    moment: NDArray[np.floating],
) -> NDArray[np.float64]:
    """The mean of `information_posterior` alone, [.., m], for those who do not ask how sure it is."""
    posterior, pull = _information(prior_mean, prior_covariance, noise, gram, moment)
    mean = np.linalg.solve(posterior, pull[..., None])[..., 0]
    return mean.astype(np.float64)


def _information(
    prior_mean: NDArray[np.floating],
    prior_covariance: NDArray[np.floating],
    noise: NDArray[np.floating],
    gram: NDArray[np.floating],
    moment: NDArray[np.floating],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Precision [.., m, m] and precision-weighted mean [.., m]."""
    precision = np.linalg.inv(np.asarray(prior_covariance, dtype=np.float64))
    scale = 1.0 / np.asarray(noise, dtype=np.float64)
    posterior = precision + gram * scale[..., None, None]
    posterior = 0.5 * (posterior + np.swapaxes(posterior, -1, -2))
    pull = np.einsum("...mk,...k->...m", precision, prior_mean) + moment * scale[..., None]
    return posterior, pull


def pack_lower(matrix: NDArray[np.floating]) -> NDArray[np.floating]:
    """Lower triangle of symmetric matrices: [.., m, m] -> [.., m(m+1)/2], row by row."""
    row, column = np.tril_indices(matrix.shape[-1])
    packed: NDArray[np.floating] = matrix[..., row, column]
    return packed


def unpack_lower(packed: NDArray[np.floating]) -> NDArray[np.floating]:
    """Symmetric matrices from their lower triangles: [.., m(m+1)/2] -> [.., m, m]."""
    size = int((np.sqrt(8 * packed.shape[-1] + 1) - 1) / 2)
    row, column = np.tril_indices(size)
    matrix = np.zeros((*packed.shape[:-1], size, size), dtype=packed.dtype)
    matrix[..., row, column] = packed
    matrix[..., column, row] = packed
    return matrix
