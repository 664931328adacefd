"""How much a user's ratings scatter around what the user thinks, next to everybody's.

Each user's noise is everybody's times a factor. Over the users of the population the factors have a
distribution, found by EM on the evidence of their ratings (empirical Bayes); a user's own noise is the
posterior mean under it. It is read from the statistics of mean and slope, which every state carries. What
a user departs from these more than others is noise or taste: both vary alike from user to user, next to
their means, so by least squares the noise gets its share s^4 / (s^4 + t^2) of the departure, with s^2 the
noise and t what tastes explain. It says how wide an interval is and leaves the head alone: heads under noise
of their own, and mixtures over how individual a user is, predicted real ratings no better.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from paaplus.population.em import Gaussian, Moments
from paaplus.population.prior import HEAD, Array, Prior

FACTORS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
"""A user's noise next to everybody's."""

LEAST = 0.05
"""Of everybody's noise: nobody is surer than that."""


def log_evidence(prior: Gaussian, moments: Moments, noises: Array) -> Array:
    """Log marginal likelihood [U, F] of each user's ratings under F variances of one rating.

    In coordinates in which prior and information are both diagonal every variance costs one sum.
    """
    root = np.linalg.cholesky(prior.covariance)
    information, axes = np.linalg.eigh(root.T @ moments.gram @ root)
    information = np.maximum(information, 0.0)[:, None, :]  # [U, 1, m]
    pull = moments.cross - moments.gram @ prior.mean
    along = np.einsum("umk,um->uk", axes, pull @ root)[:, None, :]
    left = (
        moments.square
        - 2 * moments.cross @ prior.mean
        + np.einsum("m,umk,k->u", prior.mean, moments.gram, prior.mean)
    )
    variance = np.asarray(noises)[:, None]
    explained = (along**2 / (variance * (variance + information))).sum(axis=2)
    volume = np.log1p(information / variance).sum(axis=2)
    flat = variance[:, 0]
    scattered = moments.count[:, None] * np.log(2 * np.pi * flat) + left[:, None] / flat
    evidence: Array = -0.5 * (scattered + volume - explained)
    return evidence


def fit_factors(calibration: Gaussian, moments: Moments, iterations: int = 60) -> Array:
    """Share of users at each of `FACTORS`, [F]; a Dirichlet prior of one half a user in all.

    Args:
        calibration: The prior on [1, p, delta].
        moments: Of ratings, of which these regressors are used.
        iterations: EM steps.
    """
    evidence = log_evidence(
        calibration, moments.part(slice(None), HEAD), np.array(FACTORS) * calibration.noise
    )
    shares = np.full(len(FACTORS), 1 / len(FACTORS))
    for _ in range(iterations):
        counts = _responsibilities(evidence, shares).sum(axis=0) + 0.5 / len(FACTORS)
        shares = counts / counts.sum()
    return shares


def user_noise(
    calibration: Prior, noise: Array, gram: NDArray[np.floating], moment: Array, tally: Array
) -> Array:
    """Variance of one rating of each user around the own head, [U, A].

    Args:
        calibration: Of A attributes, with or without `factors`.
        noise: [A], everybody's around the own head: lower than around mean and slope, since taste explains
            some.
        gram: [U, A, 3, 3] and `moment` [U, A, 3], statistics of the user's ratings on [1, p, delta].
        moment: See `gram`.
        tally: [U, A, 2], the ratings' sum of squares and count.
    """
    result = np.tile(noise, (len(gram), 1))
    if calibration.factors is None:
        return result
    for a, shares in enumerate(calibration.factors):
        usual = float(calibration.noise[a])
        prior = Gaussian(calibration.mean[a], calibration.covariance[a], usual)
        moments = Moments(
            gram[:, a].astype(np.float64), moment[:, a], tally[:, a, 0], tally[:, a, 1]
        )
        evidence = log_evidence(prior, moments, np.array(FACTORS) * usual)
        factor = (_responsibilities(evidence, shares) * FACTORS).sum(axis=1)
        taste = max(usual - float(noise[a]), 0.0)
        share = noise[a] ** 2 / (noise[a] ** 2 + taste**2)
        result[:, a] = np.maximum(noise[a] + share * (factor - 1) * usual, LEAST * noise[a])
    return result


def _responsibilities(evidence: Array, shares: Array) -> Array:
    with np.errstate(divide="ignore"):
        odds = evidence + np.log(shares)
    weights = np.exp(odds - odds.max(axis=1, keepdims=True))
    normed: Array = weights / weights.sum(axis=1, keepdims=True)
    return normed
