"""Whom to believe about items: raters whose ratings a taste explains better than chance.

Two stories are told of each user's ratings: a personal head under the prior (mean, slope, taste, noise) and
no taste at all (a mean and noise), each with the noise scaled by a factor that is summed over. The posterior
probability of the first is the user's trust (Raykar et al. 2010, "Learning from crowds", ask the same of
labels). It asks for consistency, not for agreement: a user of an unusual taste is believed, one who rates at
random or gives all the same is not. It weighs what a user says of items; heads are everybody's own.
"""

from __future__ import annotations

import numpy as np

from paaplus.population.em import Gaussian, Moments
from paaplus.population.noise import log_evidence
from paaplus.population.prior import HEAD, Array

FACTORS = (0.02, 0.1, 0.35, 0.6, 1.0, 1.6, 2.6)
"""A user's noise next to everybody's; the least are for those who give all the same."""

HONEST = 0.95
"""Share of users who are taken to be honest, before they rate."""

LEAST = 0.02
"""Trust of nobody is 0: an item that only they have rated still has a mean."""


DIRECTIONS = 16
"""Directions that a taste is looked for in: the first hold most of it, and everybody's trust is asked."""


def leading(prior: Gaussian) -> Gaussian:
    """The prior on the first directions; what users think along the others is noise."""
    width = min(HEAD + DIRECTIONS, len(prior.mean))
    rest = float(np.trace(prior.covariance[width:, width:]))
    return Gaussian(prior.mean[:width], prior.covariance[:width, :width], prior.noise + rest)


def fit_trust(prior: Gaussian, moments: Moments) -> Array:
    """Trust of U users, LEAST..1.

    Args:
        prior: Of heads, fitted on all of them.
        moments: Of their ratings, with the own rating left out of delta.
    """
    taste = _evidence(prior, moments, len(prior.mean))
    chance = _evidence(_no_taste(prior, moments), moments, 1)
    odds = np.log(HONEST / (1 - HONEST)) + taste - chance
    trust: Array = np.maximum(1 / (1 + np.exp(-np.clip(odds, -30, 30))), LEAST)
    return trust


def _no_taste(prior: Gaussian, moments: Moments) -> Gaussian:
    """A mean of the user's own and noise: what all the rest of the ratings' variance is then."""
    own = moments.cross[:, 0] / moments.count
    within = float((moments.square - moments.count * own**2).sum() / moments.count.sum())
    return Gaussian(prior.mean[:1], prior.covariance[:1, :1], max(within, 1e-3))


def _evidence(prior: Gaussian, moments: Moments, width: int) -> Array:
    """Log marginal likelihood of each user's ratings, [U], by the first `width` regressors."""
    part = moments.part(slice(None), width)
    table = log_evidence(prior, part, np.array(FACTORS) * prior.noise)
    most = table.max(axis=1)
    total: Array = most + np.log(np.exp(table - most[:, None]).mean(axis=1))
    return total
