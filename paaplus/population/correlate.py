"""How tastes for one attribute go with those for another: the joint prior over attributes.

Each attribute has its prior. Between two of them stands L_a K L_b', with L the roots of their covariances
and K the correlations of users' whitened weights (a multi-task Gaussian prior: Bonilla, Chai & Williams 2008,
with every correlation free). K comes from EM over users under the joint prior, shrunk towards none; how far
is chosen by predicting held-out users on items treated as unseen, and unless that is a standard error better
than none, attributes stay independent. The attributes' own priors are not touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from paaplus.events import ATTRIBUTES
from paaplus.population.attribute import AttributeFit
from paaplus.population.choose import FEWEST_USERS, beats
from paaplus.population.joined import Joined, join_attributes
from paaplus.population.prior import Array, Prior

STRENGTHS = (4.0, 1.0, 0.25, 0.06)
"""Shrinkage in units of the number of weights, each warm-started by the last."""

ITERATIONS = 5


def correlate(
    prior: Prior, fits: Mapping[int, AttributeFit], rotation: Array, rng: np.random.Generator
) -> tuple[Prior, dict[str, Any]]:
    """The prior with `cross`, if correlations predict held-out users better, and a report.

    Args:
        prior: Of all attributes, in the rotated basis.
        fits: Of the attributes with ratings, and the ratings.
        rotation: [k, r].
        rng: Splits the users and orders their ratings.
    """
    joined = join_attributes(prior, fits, rotation)
    users = len(joined.users)
    if len(fits) < 2 or users < FEWEST_USERS:
        return prior, {}
    shuffled = rng.permutation(users)
    halves = shuffled[: users // 2], shuffled[users // 2 :]
    parts: dict[float, list[Array]] = {}
    for inside, outside in (halves, halves[::-1]):
        cases = list(joined.cases(outside, rng))
        for strength, tried in _candidates(prior, joined.part(inside)):
            parts.setdefault(strength, []).append(joined.densities(tried, cases))
    scores = {strength: np.concatenate(both) for strength, both in parts.items()}
    alone = scores.pop(np.inf)
    if len(alone) < 2:  # hardly anybody has rated enough to be judged by
        return prior, {}
    best = max(scores, key=lambda strength: float(scores[strength].mean()))
    gain = scores[best] - alone
    better, error = float(gain.mean()), float(gain.std(ddof=1) / np.sqrt(len(gain)))
    report: dict[str, Any] = {"gain": round(better, 5), "gain_se": round(error, 5)}
    if not beats(scores[best], alone):
        return prior, report | {"strength": None}
    chosen = next(tried for strength, tried in _candidates(prior, joined) if strength == best)
    return chosen, report | {"strength": best, "correlations": _summary(chosen)}


def _candidates(prior: Prior, joined: Joined) -> Iterator[tuple[float, Prior]]:
    """Priors by strength, none at all (infinite) first."""
    yield np.inf, prior
    tried = prior
    weights = prior.mean.size
    for strength in STRENGTHS:
        share = len(joined.users) / (len(joined.users) + strength * weights)
        for _ in range(ITERATIONS):
            tried = replace(prior, cross=_maximised(prior, joined.second_moment(tried), share))
        yield strength, tried


def _maximised(prior: Prior, second: Array, share: float) -> Array:
    """The attributes' own covariances, with `share` of the correlations of a second moment between them."""
    attributes, width = prior.mean.shape
    table = second.reshape(attributes, width, attributes, width)
    roots = np.linalg.cholesky(prior.covariance)
    whiten = [np.linalg.inv(np.linalg.cholesky(table[a, :, a, :])) for a in range(attributes)]
    cross = np.zeros_like(table)
    for a in range(attributes):
        cross[a, :, a, :] = prior.covariance[a]
        for b in range(a):
            correlation = share * whiten[a] @ table[a, :, b, :] @ whiten[b].T
            cross[a, :, b, :] = roots[a] @ correlation @ roots[b].T
            cross[b, :, a, :] = cross[a, :, b, :].T
    return cross.reshape(second.shape)


def _summary(prior: Prior) -> dict[str, dict[str, float]]:
    """Correlation of the users' means, and of their tastes (over directions), for each pair of attributes."""
    assert prior.cross is not None
    attributes, width = prior.mean.shape
    table = prior.cross.reshape(attributes, width, attributes, width)
    found: dict[str, dict[str, float]] = {}
    for a in range(attributes):
        for b in range(a):
            own = np.sqrt(prior.covariance[a, 0, 0] * prior.covariance[b, 0, 0])
            spread = [np.trace(prior.covariance[c, 3:, 3:]) for c in (a, b)]
            tastes = np.trace(table[a, 3:, b, 3:]) / np.sqrt(spread[0] * spread[1])
            found[f"{ATTRIBUTES[b]}-{ATTRIBUTES[a]}"] = {
                "means": round(float(table[a, 0, b, 0] / own), 3),
                "tastes": round(float(tastes), 3),
            }
    return found
