"""The fit of the prior by expectation maximisation (empirical Bayes), one attribute at a time.

A user's weights w ~ N(mean, covariance), ratings y = psi . w + noise. The E-step is the posterior of each
user's weights (Bishop 2006, section 3.3), the M-step depends on the form of the covariance:

- *power law*: free 3 x 3 block of [1, p, delta], directions diag(a * lambda^q) with lambda the variance
  of the direction over items;
- *shrunk full*: (U * S + nu * T) / (U + nu), S the mean second moment of the E-step and T its power law;
- *calibration only*: the 3 x 3 block, nothing on the directions.

The mean is zero on the directions: a user without feedback is ranked exactly as the population.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paaplus.population.prior import HEAD, Array

SILENT = 1e-4
"""Variance on directions that carry no taste: nearly none, and the covariance stays invertible."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Sufficient statistics of U users' ratings of one attribute.

    Attributes:
        gram: [U, m, m], sum of psi psi'.
        cross: [U, m], sum of psi y.
        square: [U], sum of y^2.
        count: [U], ratings.
    """

    gram: Array
    cross: Array
    square: Array
    count: Array

    def part(self, users: NDArray[np.intp] | slice, regressors: int | None = None) -> Moments:
        """Some users, and the first regressors only."""
        m = slice(regressors)
        return Moments(
            self.gram[users][:, m, m],
            self.cross[users][:, m],
            self.square[users],
            self.count[users],
        )


@dataclass(frozen=True, slots=True)
class Gaussian:
    """A prior of one attribute while it is being fitted: mean [m], covariance [m, m], noise."""

    mean: Array
    covariance: Array
    noise: float


def posterior(prior: Gaussian, moments: Moments) -> tuple[Array, Array]:
    """Mean [U, m] and covariance [U, m, m] of each user's weights."""
    precision = np.linalg.inv(prior.covariance)
    covariance: Array = np.linalg.inv(precision + moments.gram / prior.noise).astype(np.float64)
    pull = precision @ prior.mean + moments.cross / prior.noise
    return np.einsum("umk,uk->um", covariance, pull), covariance


def fit_calibration(moments: Moments, iterations: int = 30) -> Gaussian:
    """The prior on [1, p, delta] alone: free mean, full covariance, inverse-Wishart weight 3."""
    head = moments.part(slice(None), HEAD)
    prior = Gaussian(np.array([0.0, 1.0, 1.0]) * _scale(head), np.diag([1.0, 0.3, 0.3]), 1.0)
    users, weight = len(head.count), 3.0
    for _ in range(iterations):
        mean, covariance = posterior(prior, head)
        centre = mean.mean(axis=0)
        second = _second_moment(mean - centre, covariance)
        target = np.diag(np.diag(second))
        full = (users * second + weight * target) / (users + weight)
        prior = Gaussian(centre, full + 1e-8 * np.eye(HEAD), _noise(mean, covariance, head))
    return prior


def calibration_only(head: Gaussian, regressors: int) -> Gaussian:
    """The calibration prior over all regressors, silent on the directions."""
    covariance = np.eye(regressors) * SILENT
    covariance[:HEAD, :HEAD] = head.covariance
    return Gaussian(np.pad(head.mean, (0, regressors - HEAD)), covariance, head.noise)


def fit_power_law(
    moments: Moments, head: Gaussian, spectrum: Array, start: Gaussian | None = None
) -> Gaussian:
    """Power-law form; the mean stays fixed.

    Args:
        moments: Of the users to fit on.
        head: The calibration prior; its mean is kept.
        spectrum: [k], variance of each direction over items, relative to the first.
        start: Whose covariance and noise to go on from in 5 EM steps; None: 20 steps from head variances
            (1, .3, .3) and .03 per direction.
    """
    mean = np.pad(head.mean, (0, len(spectrum)))
    if start is None:
        variances = np.concatenate([[1.0, 0.3, 0.3], np.full(len(spectrum), 0.03)])
        prior = Gaussian(mean, np.diag(variances), head.noise)
    else:
        prior = Gaussian(mean, power_law(start.covariance, spectrum), start.noise)
    for _ in range(20 if start is None else 5):
        weights, covariance = posterior(prior, moments)
        second = _second_moment(weights - mean, covariance)
        prior = Gaussian(mean, power_law(second, spectrum), _noise(weights, covariance, moments))
    return prior


def fit_shrunk(
    moments: Moments, start: Gaussian, spectrum: Array, strength: float, iterations: int = 8
) -> Gaussian:
    """Shrunk full form, warm-started; `strength` is nu, in users."""
    prior, users = start, len(moments.count)
    for _ in range(iterations):
        weights, covariance = posterior(prior, moments)
        second = _second_moment(weights - prior.mean, covariance)
        target = power_law(second, spectrum)
        full = (users * second + strength * target) / (users + strength)
        prior = Gaussian(prior.mean, full, _noise(weights, covariance, moments))
    return prior


def power_law(second: Array, spectrum: Array) -> Array:
    """The power-law covariance closest to a second moment [m, m] in likelihood; q by grid 0..2."""
    variances = np.maximum(np.diag(second)[HEAD:], 1e-12)
    result = np.zeros_like(second)
    result[:HEAD, :HEAD] = second[:HEAD, :HEAD] + 1e-8 * np.eye(HEAD)
    if len(spectrum):
        shapes = np.maximum(spectrum, 1e-12)[None, :] ** np.linspace(0, 2, 21)[:, None]
        scales = (variances / shapes).mean(axis=1)
        costs = np.log(scales[:, None] * shapes).sum(axis=1)
        best = int(np.argmin(costs))
        directions = np.maximum(scales[best] * shapes[best], 1e-10)
        result[HEAD:, HEAD:] = np.diag(directions)
    return result


def _second_moment(deviation: Array, covariance: Array) -> Array:
    total: Array = np.einsum("um,uk->mk", deviation, deviation) + covariance.sum(axis=0)
    return total / len(deviation)


def _noise(mean: Array, covariance: Array, moments: Moments) -> float:
    """Mean expected squared residual."""
    spread = np.einsum("umk,umk->", moments.gram, covariance)
    fitted = np.einsum("um,umk,uk->", mean, moments.gram, mean)
    crossed = np.einsum("um,um->", mean, moments.cross)
    total = moments.square.sum() - 2 * crossed + fitted + spread
    return float(max(total / moments.count.sum(), 1e-3))


def _scale(head: Moments) -> Array:
    """Least squares of everybody's ratings on [1, p, delta]: where the mean starts."""
    gram = head.gram.sum(axis=0) + 1e-6 * np.eye(HEAD)
    pooled: Array = np.linalg.solve(gram, head.cross.sum(axis=0))
    return np.where(np.arange(HEAD) == 0, 0.0, pooled)
