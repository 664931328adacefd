"""Joint training: all of a user's ratings again at every experience, solved by least squares.

The upper bound that continual strategies are measured against (Chaudhry et al. 2018 call it the oracle). It
shares no arithmetic with `exact_ewc`: rows and the prior's square root are stacked and solved by QR, one user
after the other and on the CPU, wherever the state lies.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paaplus.devices import open_device
from paaplus.heads import Heads, unpack_lower
from paaplus.population.prior import Prior, block_diagonal
from strategies.base import Calibration, Strategy, stack
from strategies.config import StrategyConfig
from strategies.state import CohortState, Layout, empty_memory, to_numpy, zero_state
from streams.experiences import EMPTY, CohortExperience


class Joint:
    """Least squares on everything so far; the memory holds every rating's number.

    Args:
        prior: Of the heads.
        calibration: For the baseline.
        config: Of it, `dtype` and `device` matter.
    """

    name = "joint"

    def __init__(self, prior: Prior, calibration: Prior, config: StrategyConfig) -> None:
        self.dtype = torch.float32 if config.dtype == "float32" else torch.float64
        self.device = open_device(config.device, "strategy")
        self._prior = prior
        self._calibration = Calibration(calibration, prior.noise)
        attributes, width = prior.mean.shape
        lower = np.tril_indices(width)
        self._lower = lower
        self._start = prior.covariance[:, lower[0], lower[1]]
        whole = block_diagonal(prior.covariance) if prior.cross is None else prior.cross
        self._root = np.linalg.inv(np.linalg.cholesky(whole))
        self.layout: Layout = {
            "mean": (attributes, width),
            "covariance": (attributes, len(lower[0])),
            **self._calibration.layout,
        }

    def initial_state(self, users: int) -> CohortState:
        """The prior, and an empty memory."""
        dtype, device = self.dtype, self.device
        state = zero_state(self._calibration.layout, users, dtype=dtype, device=device)
        state["mean"] = stack(self._prior.mean, users, dtype=dtype, device=device)
        state["covariance"] = stack(self._start, users, dtype=dtype, device=device)
        return state | empty_memory(users, device=self.device)

    def train(self, experience: CohortExperience, state: CohortState) -> CohortState:
        """Solve on all rows of each user who has new ones."""
        mean, covariance = (to_numpy(state[part]).copy() for part in ("mean", "covariance"))
        x, y, w = (
            to_numpy(
                torch.cat([getattr(experience.memory, part), getattr(experience.rows, part)], 1)
            )
            for part in ("x", "y", "w")
        )
        attributes = len(self._prior.mean)
        for user in torch.nonzero(experience.rows.counts()).reshape(-1).tolist():
            mine = slice(user * attributes, (user + 1) * attributes)
            mean[user], whole = self._solve(x[mine], y[mine], w[mine])
            covariance[user] = whole[:, *self._lower]
        result = self._calibration.update(experience.rows, state)
        result["mean"] = torch.from_numpy(mean).to(state["mean"])
        result["covariance"] = torch.from_numpy(covariance).to(state["covariance"])
        result["memory_seq"] = _together(experience.memory.seq, experience.rows.seq)
        result["memory_key"] = torch.zeros_like(result["memory_seq"], dtype=torch.float64)
        return result

    def heads(self, state: CohortState) -> Heads:
        """The solution."""
        mean, packed = to_numpy(state["mean"]), to_numpy(state["covariance"])
        return Heads(mean, unpack_lower(packed), self._calibration.noise(state))

    def mean(self, state: CohortState) -> NDArray[np.float64]:
        """The mean of `heads`."""
        return to_numpy(state["mean"])

    def calibration(self, state: CohortState) -> Heads:
        """The users' mean and slope alone."""
        return self._calibration.heads(state)

    def _solve(
        self, x: NDArray[np.float64], y: NDArray[np.float64], w: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean [A, m] and covariances [A, m, m] of one user's rows [A, n, ..], all attributes at once."""
        attributes, _, width = x.shape
        rows, target = [self._root], [self._root @ self._prior.mean.reshape(-1)]
        for a in range(attributes):
            scale = np.sqrt(w[a] / self._prior.noise[a])
            wide = np.zeros((len(x[a]), attributes, width))
            wide[:, a] = x[a] * scale
            rows.append(wide.reshape(len(wide), -1))
            target.append((y[a] * scale)[:, 0])
        q, r = np.linalg.qr(np.concatenate(rows))
        inverse = np.linalg.inv(r)
        mean = inverse @ (q.T @ np.concatenate(target))
        whole = (inverse @ inverse.T).reshape(attributes, width, attributes, width)
        blocks = np.stack([whole[a, :, a] for a in range(attributes)])
        return mean.reshape(attributes, width), blocks


def _together(old: Tensor, new: Tensor) -> Tensor:
    """Numbers of both, per user without gaps: int64 [U, M]."""
    every = torch.cat([old, new], dim=1)
    order = (every == EMPTY).to(torch.int8).sort(dim=1, stable=True).indices
    packed = every.gather(1, order)
    most = int((packed != EMPTY).sum(dim=1).max()) if len(packed) else 0
    return packed[:, :most]


def build(prior: Prior, calibration: Prior, config: StrategyConfig) -> Strategy:
    """Least squares on everything."""
    return Joint(prior, calibration, config)
