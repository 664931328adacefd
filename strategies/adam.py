"""The strategies that train by Adam: one engine, with replay and EWC as plugins of the template."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paaplus.devices import open_device
from paaplus.heads import Heads
from paaplus.population.prior import Prior
from strategies.base import Calibration, stack
from strategies.config import StrategyConfig
from strategies.coordinates import Coordinates
from strategies.penalties import EmpiricalEWC, GaussianEWC
from strategies.reservoir import CohortReplay
from strategies.state import (
    CohortState,
    Layout,
    empty_memory,
    gather,
    scatter,
    to_numpy,
    zero_state,
)
from strategies.template import CohortTemplate
from streams.experiences import CohortExperience


class AdamStrategy:
    """Per-user heads by Adam from the population's mean, in coordinates in which the prior is round.

    With w = mean + L v and L L' the prior's covariance, users begin at v = 0, every direction is as likely as
    any other, and one learning rate fits all; the prior itself is the first of EWC's importances.

    Users are trained together with those that need as many steps (ceil(n / batch_size)), so that padding
    never becomes a step; then a ragged cohort is exactly its users one by one.

    Args:
        name: Of the strategy.
        prior: Where heads start, and what their uncertainty is read from.
        calibration: For the baseline.
        config: Settings.
        replay: With reservoir replay.
        penalty: The kind of EWC, if any.
    """

    def __init__(
        self,
        name: str,
        prior: Prior,
        calibration: Prior,
        config: StrategyConfig,
        *,
        replay: bool,
        penalty: type[GaussianEWC] | None,
    ) -> None:
        self.name = name
        self.dtype = torch.float64 if config.dtype == "float64" else torch.float32
        self.device = open_device(config.device, "strategy")
        self._prior, self._config = prior, config
        self._coordinates = Coordinates(prior, self.dtype, self.device)
        self._replay, self._penalty = replay, penalty
        self._calibration = Calibration(calibration, prior.noise)
        shape = prior.mean.shape
        self.layout: Layout = {"weight": shape, "fisher": shape}
        if penalty is not None:
            self.layout["importance"] = shape
        self.layout |= self._calibration.layout

    def initial_state(self, users: int) -> CohortState:
        """The population's mean, the prior's importance, an empty memory."""
        state = zero_state(self.layout, users, dtype=self.dtype, device=self.device)
        if self._penalty is not None:
            # The prior is what an experience before the first would have left: its precision, 1, times the
            # noise, in rows; empirical importances are of means over rows.
            rows = self._config.prior_rows if self._penalty is EmpiricalEWC else 1.0
            weighed = np.broadcast_to(self._prior.noise[:, None] / rows, self._prior.mean.shape)
            state["importance"] = stack(weighed, users, dtype=self.dtype, device=self.device)
        if self._replay:
            state |= empty_memory(users, device=self.device)
        return state

    def train(self, experience: CohortExperience, state: CohortState) -> CohortState:
        """Train every user who has new rows."""
        result = {name: tensor.clone() for name, tensor in state.items()}
        counts = experience.rows.counts()
        size = self._config.batch_size
        steps = (counts + size - 1) // size
        for number in sorted(set(steps.tolist()) - {0}):
            users = torch.nonzero(steps == number).reshape(-1)
            some = experience.take(users)
            part = self._train(self._coordinates.turn_experience(some), gather(state, users))
            part |= self._calibration.update(some.rows, gather(state, users))
            scatter(result, users, part)
        return result

    def heads(self, state: CohortState) -> Heads:
        """Trained weights; covariance by Laplace with the diagonal Fisher: L (1 + F)^-1 L'."""
        spread, noise = 1 / (1 + to_numpy(state["fisher"])), self._calibration.noise(state)
        return self._coordinates.heads(state["weight"], spread, noise)

    def mean(self, state: CohortState) -> NDArray[np.float64]:
        """The mean of `heads`."""
        return self._coordinates.mean_of(state["weight"])

    def calibration(self, state: CohortState) -> Heads:
        """The users' mean and slope alone."""
        return self._calibration.heads(state)

    def _train(self, experience: CohortExperience, state: CohortState) -> CohortState:
        config, shape = self._config, state["weight"].shape
        blocks = (shape[0] * shape[1], 1, shape[2])
        replay = CohortReplay(config.memory_size, config.memory_batch_size, config.seed)
        plugins: list[CohortReplay | GaussianEWC] = [replay] if self._replay else []
        ewc = None
        if self._penalty is not None:
            importance = state["importance"].reshape(blocks)
            ewc = self._penalty([importance], config.ewc_lambda, config.ewc_decay)
            plugins.append(ewc)
        template = CohortTemplate(
            weight=state["weight"].reshape(blocks),
            learning_rate=config.learning_rate,
            epochs=config.epochs,
            batch_size=config.batch_size,
            plugins=plugins,
        )
        result = dict(state)
        result["weight"] = template.learn(experience).reshape(shape)
        result["fisher"] = state["fisher"] + self._fisher(experience).reshape(shape)
        if ewc is not None:
            result["importance"] = ewc.importance[0].reshape(shape)
        if replay.memory is not None:
            result["memory_seq"], result["memory_key"] = replay.memory
        return result

    def _fisher(self, experience: CohortExperience) -> Tensor:
        """Fisher information of the new rows, label-free: sum of w x^2 / noise, [U * A, m]."""
        rows = experience.rows
        noise = rows.x.new_tensor(self._prior.noise).repeat(len(rows.seq))
        return (rows.w * rows.x**2).sum(dim=1) / noise[:, None]
