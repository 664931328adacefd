"""Coordinates in which the prior is round: w = mean + L v with L L' its covariance and v ~ N(0, 1).

Of the many such L it is the one whose axes are also orthogonal where people rate: L' S L is diagonal, with S
the mean of psi psi' over ratings. Then prior and expected information are both diagonal, and little is lost
by keeping no more. Axes are sorted, the one that ratings tell most about first.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paaplus.heads import Heads
from paaplus.population.prior import Prior
from strategies.state import to_numpy
from streams.experiences import CohortExperience, RowBlock


class Coordinates:
    """Turns rows into round coordinates, and heads back.

    Args:
        prior: Over A attributes with m regressors.
        dtype: Of the turned rows.
        device: Where they lie.
    """

    def __init__(self, prior: Prior, dtype: torch.dtype, device: torch.device) -> None:
        width = prior.mean.shape[1]
        spread = np.eye(width)[None] if prior.spread is None else prior.spread
        spread = np.broadcast_to(spread, prior.covariance.shape)
        self.root = np.stack([_root(*pair) for pair in zip(prior.covariance, spread, strict=True)])
        self.mean = prior.mean
        self.shape = prior.mean.shape
        self._root = torch.tensor(self.root, dtype=dtype, device=device)
        self._mean = torch.tensor(prior.mean, dtype=dtype, device=device)

    def turn(self, rows: RowBlock) -> RowBlock:
        """Rows x L, targets less the population's score; U users of A attributes."""
        users, n = rows.seq.shape
        attributes, width = self.shape
        x = rows.x.reshape(users, attributes, n, width)
        score = torch.einsum("uanm,am->uan", x, self._mean).reshape(rows.y.shape)
        x = torch.einsum("uanm,amk->uank", x, self._root).reshape(rows.x.shape)
        return RowBlock(x, rows.y - score, rows.w, rows.seq)

    def turn_experience(self, experience: CohortExperience) -> CohortExperience:
        """The experience with new rows and memory turned."""
        return CohortExperience(
            experience.user_ids,
            self.turn(experience.rows),
            self.turn(experience.memory),
            experience.memory_key,
            experience.step,
        )

    def mean_of(self, v: Tensor) -> NDArray[np.float64]:
        """Weights [U, A, m] of round weights v [U, A, m]."""
        turned: NDArray[np.float64] = np.einsum("amk,uak->uam", self.root, to_numpy(v))
        return self.mean + turned

    def heads(
        self, v: Tensor, covariance: NDArray[np.float64], noise: NDArray[np.float64]
    ) -> Heads:
        """Heads of v with covariance [U, A, m, m], or its diagonal [U, A, m], and noise [U, A]."""
        form = "amk,uak,ajk->uamj" if covariance.ndim == 3 else "amk,uakl,ajl->uamj"
        spread = np.einsum(form, self.root, covariance, self.root, optimize=True)
        return Heads(self.mean_of(v), spread, noise)


def _root(covariance: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    values, axes = np.linalg.eigh(covariance)
    half = axes * np.sqrt(np.maximum(values, 0.0))
    _, turn = np.linalg.eigh(half.T @ spread @ half)
    root = half @ turn[:, ::-1]
    largest = np.abs(root).argmax(axis=0)
    signs = np.where(root[largest, np.arange(len(values))] < 0, -1.0, 1.0)
    turned: NDArray[np.float64] = root * signs
    return turned
