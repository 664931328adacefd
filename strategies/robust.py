"""A robust loss: one event that is far off what the head expects counts for less.

Weights of a Student distribution of the error (Lange, Little & Taylor 1989), w = (nu + 1) / (nu + z^2), at
most 1, with z the error of the head in its own predictive standard deviations. A rating's pull on the
head, w z, is bounded by about (nu + 1) / (2 sqrt(nu)) and falls for errors beyond sqrt(nu) deviations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from paaplus.heads import Heads
from paaplus.store.rows import Rows
from strategies.base import Strategy
from strategies.state import CohortState
from streams.experiences import CohortExperience

Array = NDArray[np.float64]
Weigh = Callable[[Rows, Array], Rows]
"""(rows, their design rows [N, A, m]) -> rows with weights."""

PASSES = 2
"""The first weighs rows under the live head, the second under what came of it: else ratings that agree with
each other, all of them far from the prior, would all be doubted, and a new user's mean learned too slowly."""


def train_robust(
    strategy: Strategy,
    state: CohortState,
    make: Callable[[Weigh], CohortExperience],
    noise: Array,
    freedom: float | None,
) -> CohortState:
    """The state after an experience.

    Args:
        strategy: Learns.
        state: Before; every pass begins at it.
        make: The experience, with rows as weighed.
        noise: [A], variance of one rating.
        freedom: Of the Student distribution; None: every row counts in full.
    """
    if freedom is None:
        return strategy.train(make(lambda rows, psi: rows), state)
    after = state
    for _ in range(PASSES):
        heads = strategy.heads(after)
        weigh = partial(bounded, heads=heads, noise=noise, freedom=freedom)
        after = strategy.train(make(weigh), state)
    return after


def robust_weights(
    psi: Array, target: Array, weight: Array, heads: Heads, owner: NDArray[np.intp], noise: Array,
    freedom: float,
) -> Array:  # fmt: skip
    """Weights [N, A] of rows, each times its trust under a head.

    Args:
        psi: [N, A, m].
        target: [N, A]; NaN where there is none.
        weight: [N, A], before; 1 = a rating.
        heads: Of U users.
        owner: int [N], whose each row is.
        noise: [A], variance of one rating.
        freedom: nu, > 0; the larger, the nearer to a Gaussian.
    """
    mean, covariance = heads.mean[owner], heads.covariance[owner]
    spread = np.einsum("nam,namk,nak->na", psi, covariance, psi, optimize=True)
    error = target - np.einsum("nam,nam->na", psi, mean)
    own = np.divide(noise, weight, out=np.full(weight.shape, np.inf), where=weight > 0)
    z_squared = np.nan_to_num(error) ** 2 / (spread + own)
    bounded: Array = weight * np.minimum(1.0, (freedom + 1) / (freedom + z_squared))
    return bounded


def bounded(rows: Rows, psi: Array, heads: Heads, noise: Array, freedom: float) -> Rows:
    """Rows with such weights; arguments as in `robust_weights`, the heads those of the rows' users."""
    weight = rows.weights if rows.weights is not None else (~np.isnan(rows.scores)).astype(float)
    owner = np.repeat(np.arange(len(rows.user_ids)), np.diff(rows.start))
    weights = robust_weights(psi, rows.scores, weight, heads, owner, noise, freedom)
    return replace(rows, weights=weights)
