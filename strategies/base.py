"""What every strategy is, and the statistics that every state carries."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paaplus.heads import Heads, unpack_lower
from paaplus.population.noise import user_noise
from paaplus.population.prior import Prior
from strategies.state import CohortState, Layout, to_numpy
from streams.experiences import CohortExperience, RowBlock

HEAD = 3
"""Regressors of calibration: 1, p, delta."""


class Strategy(Protocol):
    """Learns the heads of a cohort, experience by experience. Stateless: states go in and come out."""

    name: str
    layout: Layout
    dtype: torch.dtype
    device: torch.device
    """Where states and experiences lie."""

    def initial_state(self, users: int) -> CohortState:
        """The state before any feedback: the population's."""

    def train(self, experience: CohortExperience, state: CohortState) -> CohortState:
        """The state after the experience; the one that went in is unchanged."""

    def heads(self, state: CohortState) -> Heads:
        """The heads to serve: mean [U, A, m], covariance [U, A, m, m], noise [U, A]."""

    def mean(self, state: CohortState) -> NDArray[np.float64]:
        """The mean of `heads` alone, [U, A, m]: what predicts the next experience."""

    def calibration(self, state: CohortState) -> Heads:
        """The users' mean and slope alone, on the same rows: mean [U, A, 3], covariance [U, A, 3, 3]."""


class Calibration:
    """Sufficient statistics of [1, p, delta] over ratings, carried in every state: the baseline of the gate.

    They begin at zero. Ratings are told by their intercept of 1: other feedback says nothing of a user's own
    mean.

    They also tell how much the user's ratings scatter.

    Args:
        prior: The calibration prior, m = 3.
        noise: [A], variance of everybody's ratings around the own heads.
    """

    def __init__(self, prior: Prior, noise: NDArray[np.float64]) -> None:
        self._prior, self._noise = prior, noise
        attributes = len(prior.mean)
        self.layout: Layout = {
            "calibration_gram": (attributes, HEAD * (HEAD + 1) // 2),
            "calibration_moment": (attributes, HEAD),
            "calibration_tally": (attributes, 2),  # sum of squares, count
        }

    def update(self, rows: RowBlock, state: CohortState) -> CohortState:
        """The statistics with the rows added."""
        w = rows.w * (rows.x[:, :, :1] == 1.0)
        gram, moment = accumulate(
            rows.x[:, :, :HEAD], rows.y, w, state["calibration_gram"], state["calibration_moment"]
        )
        tally = state["calibration_tally"].clone()
        flat = tally.view(-1, 2)
        for n in range(w.shape[1]):
            flat += torch.cat([w[:, n] * rows.y[:, n].square(), w[:, n]], dim=1)
        return {"calibration_gram": gram, "calibration_moment": moment, "calibration_tally": tally}

    def heads(self, state: CohortState) -> Heads:
        """Posterior of mean and slope."""
        return statistics_heads(self._prior, state["calibration_gram"], state["calibration_moment"])

    def noise(self, state: CohortState) -> NDArray[np.float64]:
        """Variance of one rating of each user around the own head, [U, A]."""
        gram, moment, tally = (
            to_numpy(state[f"calibration_{part}"]) for part in ("gram", "moment", "tally")
        )
        return user_noise(self._prior, self._noise, unpack_lower(gram), moment, tally)


def accumulate(
    x: Tensor, y: Tensor, w: Tensor, gram: Tensor, moment: Tensor
) -> tuple[Tensor, Tensor]:
    """Add rows to packed statistics, one row after the other.

    Row by row and element by element, so that a user's numbers are the same to the bit whoever else is in
    the cohort and however long it was padded: a matrix product would block its sums by shape.

    Args:
        x: [U * A, n, m], y and w [U * A, n, 1].
        y: See `x`.
        w: See `x`.
        gram: [U, A, m(m+1)/2], lower triangle of sum of w x x'.
        moment: [U, A, m], sum of w x y.

    Returns:
        New `gram` and `moment`.
    """
    width = moment.shape[-1]
    row, column = torch.tril_indices(width, width, device=x.device)
    gram, moment = gram.clone(), moment.clone()
    flat_gram, flat_moment = gram.view(-1, gram.shape[-1]), moment.view(-1, width)
    for n in range(x.shape[1]):
        weighted = x[:, n] * w[:, n]
        flat_gram += weighted[:, row] * x[:, n][:, column]
        flat_moment += weighted * y[:, n]
    return gram, moment


def statistics_heads(prior: Prior, gram: Tensor, moment: Tensor) -> Heads:
    """Posterior heads of packed statistics."""
    return Heads(
        *prior.posterior(
            unpack_lower(to_numpy(gram)).astype(np.float64, copy=False), to_numpy(moment)
        )
    )


def statistics_mean(prior: Prior, gram: Tensor, moment: Tensor) -> NDArray[np.float64]:
    """Their mean alone."""
    return prior.posterior_mean(
        unpack_lower(to_numpy(gram)).astype(np.float64, copy=False), to_numpy(moment)
    )


def unpacked(packed: Tensor) -> Tensor:
    """`unpack_lower` where the tensor lies: [.., m(m+1)/2] -> [.., m, m]."""
    width = math.isqrt(2 * packed.shape[-1])
    row, column = torch.tril_indices(width, width, device=packed.device)
    matrix = packed.new_empty(*packed.shape[:-1], width, width)
    matrix[..., row, column] = packed
    matrix[..., column, row] = packed
    return matrix


def stack(
    array: NDArray[np.float64], users: int, *, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The same array for every user: [U, …]."""
    return torch.tensor(array, dtype=dtype, device=device).expand(users, *array.shape).clone()
