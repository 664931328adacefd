"""Sequential EWC with less than the full Fisher information: diagonal but for a full leading block.

In round coordinates the posterior is kept as mean and precision; the precision is full among the `rank`
leading axes, those that ratings tell most about, and diagonal beyond. An experience is learned by one exact
step under that posterior (see `strategies.woodbury`); what is then dropped is the information
between axes, which makes the result depend a little on the order. rank 0 is a diagonal throughout; rank m
would be the full information, for which `exact_ewc` has the additive statistics instead.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paaplus.heads import Heads
from paaplus.population.prior import Prior
from strategies.base import Calibration, unpacked
from strategies.coordinates import Coordinates
from strategies.state import CohortState, Layout, to_numpy, zero_state
from strategies.woodbury import CompactTemplate
from streams.experiences import CohortExperience

LEADING = 14
"""Rank of the diagonal form: what ratings tell of these axes is never independent. Where tastes differ in a
few directions a handful would do; where they differ alike in many, it takes most of the prior's 19 axes to
keep 98 % of joint training's gain: docs/learning.md has the figures."""


class CompactEWC:
    """Sequential EWC with a small state.

    Args:
        prior: Of the heads.
        calibration: For the baseline.
        rank: Axes with full information among them, 0..m.
        dtype: Of the arithmetic.
        device: Of the arithmetic.
    """

    name = "exact_ewc"

    def __init__(
        self,
        prior: Prior,
        calibration: Prior,
        rank: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.dtype, self.device = dtype, device
        self._prior = prior
        self._coordinates = Coordinates(prior, dtype, device)
        self._calibration = Calibration(calibration, prior.noise)
        attributes, width = prior.mean.shape
        self._rank = min(rank, width)
        self.layout: Layout = {"weight": (attributes, width)}
        if self._rank:
            self.layout["block"] = (attributes, self._rank * (self._rank + 1) // 2)
        self.layout["diagonal"] = (attributes, width - self._rank)
        self.layout |= self._calibration.layout

    def initial_state(self, users: int) -> CohortState:
        """The prior: weight 0, precision 1. What is kept is the information beyond the prior's."""
        return zero_state(self.layout, users, dtype=self.dtype, device=self.device)

    def train(self, experience: CohortExperience, state: CohortState) -> CohortState:
        """One exact step for every user."""
        users, (attributes, width) = len(experience.user_ids), self._prior.mean.shape
        blocks, rank = users * attributes, self._rank
        result = dict(state) | self._calibration.update(experience.rows, state)
        if not int(experience.rows.counts().sum()):
            return {name: tensor.clone() for name, tensor in result.items()}
        noise = experience.rows.x.new_tensor(self._prior.noise).repeat(users)
        template = CompactTemplate(
            weight=state["weight"].reshape(blocks, 1, width),
            block=self._block(state).reshape(blocks, rank, rank),
            diagonal=1.0 + state["diagonal"].reshape(blocks, width - rank),
            noise=noise,
        )
        template.learn(self._coordinates.turn_experience(experience))
        result["weight"] = template.model.weight.detach().reshape(users, attributes, width)
        result["diagonal"] = (template.diagonal - 1.0).reshape(users, attributes, width - rank)
        if rank:
            beyond = template.block - self._eye(template.block)
            row, column = torch.tril_indices(rank, rank, device=beyond.device)
            result["block"] = beyond[:, row, column].reshape(users, attributes, -1)
        return result

    def heads(self, state: CohortState) -> Heads:
        """The posterior as far as it is kept."""
        diagonal = to_numpy(1.0 / (1.0 + state["diagonal"]))
        noise = self._calibration.noise(state)
        if not self._rank:
            return self._coordinates.heads(state["weight"], diagonal, noise)
        users, attributes, width = state["weight"].shape
        covariance = np.zeros((users, attributes, width, width))
        block = to_numpy(self._block(state))
        covariance[:, :, : self._rank, : self._rank] = np.linalg.inv(block)
        beyond = np.arange(self._rank, width)
        covariance[:, :, beyond, beyond] = diagonal
        return self._coordinates.heads(state["weight"], covariance, noise)

    def mean(self, state: CohortState) -> NDArray[np.float64]:
        """The mean of `heads`."""
        return self._coordinates.mean_of(state["weight"])

    def calibration(self, state: CohortState) -> Heads:
        """The users' mean and slope alone."""
        return self._calibration.heads(state)

    def _block(self, state: CohortState) -> Tensor:
        """[U, A, q, q], with the prior's."""
        if self._rank:
            return unpacked(state["block"]) + self._eye(state["block"])
        return state["weight"].new_zeros(*state["weight"].shape[:2], 0, 0)

    def _eye(self, like: Tensor) -> Tensor:
        """The prior's precision among the leading axes, [q, q]."""
        return torch.eye(self._rank, dtype=like.dtype, device=like.device)
