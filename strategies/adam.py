"""The strategies that train by Adam: one engine, with replay and EWC as plugins of the template."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from paaplus.heads import Heads
from paaplus.population.prior import Prior
from strategies.base import Calibration, stack
from strategies.config import StrategyConfig
from strategies.state import CohortState, Layout, gather, scatter
from strategies.template import CohortTemplate
from streams.experiences import CohortExperience


class AdamStrategy:
    """Per-user residual heads by Adam from the population's mean.

    Users are trained together with those that need as many steps (ceil(n / batch_size)), so that padding
    never becomes a step; then a ragged cohort is exactly its users one by one.

    Args:
        name: Of the strategy.
        prior: Where heads start, and what their uncertainty is read from.
        calibration: For the baseline.
        config: Settings.
        replay: With reservoir replay.
        ewc: With online EWC.
    """

    def __init__(
        self,
        name: str,
        prior: Prior,
        calibration: Prior,
        config: StrategyConfig,
        *,
        replay: bool,
        ewc: bool,
    ) -> None:
        self.name = name
        self.dtype = torch.float64 if config.dtype == "float64" else torch.float32
        self._prior, self._config = prior, config
        self._replay, self._ewc = replay, ewc
        self._calibration = Calibration(calibration)
        shape = prior.mean.shape
        self.layout: Layout = {"weight": shape, "fisher": shape}
        if ewc:
            self.layout["importance"] = shape
        self.layout |= self._calibration.layout

    def initial_state(self, users: int) -> CohortState:
        """The population's mean, no importance, an empty memory."""
        state = self._calibration.initial_state(users, self.dtype)
        state["weight"] = stack(self._prior.mean, users, self.dtype)
        state["fisher"] = torch.zeros_like(state["weight"])
        if self._ewc:
            state["importance"] = torch.zeros_like(state["weight"])
        if self._replay:
            state["memory_seq"] = torch.zeros(users, 0, dtype=torch.int64)
            state["memory_key"] = torch.zeros(users, 0, dtype=torch.float64)
        return state

    def train(self, experience: CohortExperience, state: CohortState) -> CohortState:
        """Train every user who has new rows."""
        result = {name: tensor.clone() for name, tensor in state.items()}
        counts = experience.rows.counts()
        size = self._config.batch_size
        steps = (counts + size - 1) // size
        for number in sorted(set(steps.tolist()) - {0}):
            users = torch.nonzero(steps == number).reshape(-1)
            part = self._train(experience.take(users), gather(state, users))
            scatter(result, users, part)
        return result

    def heads(self, state: CohortState) -> Heads:
        """Trained weights; covariance by Laplace: (prior precision + diagonal Fisher)^-1."""
        mean = state["weight"].detach().cpu().to(torch.float64).numpy()
        fisher = state["fisher"].detach().cpu().to(torch.float64).numpy()
        precision = np.linalg.inv(self._prior.covariance) + fisher[..., None] * np.eye(
            mean.shape[-1]
        )
        return Heads(mean, np.linalg.inv(precision))

    def calibration(self, state: CohortState) -> Heads:
        """The users' mean and slope alone."""
        return self._calibration.heads(state)

    def _train(self, experience: CohortExperience, state: CohortState) -> CohortState:
        from strategies.ewc import CohortEWC
        from strategies.replay import CohortReplay

        config, shape = self._config, state["weight"].shape
        blocks = (shape[0] * shape[1], 1, shape[2])
        replay = CohortReplay(config.memory_size, config.memory_batch_size, config.seed)
        plugins: list[CohortReplay | CohortEWC] = [replay] if self._replay else []
        ewc = None
        if self._ewc:
            ewc = CohortEWC(
                state["importance"].reshape(blocks), config.ewc_lambda, config.ewc_decay
            )
            plugins.append(ewc)
        template = CohortTemplate(
            weight=state["weight"].reshape(blocks),
            users=shape[0],
            learning_rate=config.learning_rate,
            epochs=config.epochs,
            batch_size=config.batch_size,
            plugins=plugins,
        )
        result = self._calibration.update(experience.rows, state)
        result["weight"] = template.learn(experience).reshape(shape)
        result["fisher"] = state["fisher"] + self._fisher(experience).reshape(shape)
        if ewc is not None:
            result["importance"] = ewc.importance.reshape(shape)
        if replay.memory is not None:
            result["memory_seq"], result["memory_key"] = replay.memory
        return result

    def _fisher(self, experience: CohortExperience) -> Tensor:
        """Fisher information of the new rows, label-free: sum of w psi^2 / noise, [U * A, m]."""
        rows = experience.rows
        noise = torch.from_numpy(self._prior.noise).to(rows.x).repeat(len(rows.seq))
        return (rows.w * rows.x**2).sum(dim=1) / noise[:, None]
