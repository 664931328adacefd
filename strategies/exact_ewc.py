"""Exact EWC: the closed-form update with the full Fisher information (Kirkpatrick et al. 2017; Huszár 2018).

For a linear head with Gaussian noise the Laplace approximation behind EWC is exact, so two updates in
sequence equal joint training: no forgetting, no replay memory, no epochs, no learning rate. The state is the
information form, G = sum of w psi psi' and c = sum of w psi y.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paaplus.devices import open_device
from paaplus.errors import ConfigError
from paaplus.heads import Heads
from paaplus.population.prior import Prior
from strategies.base import (
    Calibration,
    Strategy,
    accumulate,
    statistics_heads,
    statistics_mean,
)
from strategies.compact import LEADING, CompactEWC
from strategies.config import StrategyConfig
from strategies.forgetting import build_forgetting
from strategies.state import CohortState, Layout, zero_state
from strategies.template import ExactTemplate
from streams.experiences import CohortExperience


class InformationTemplate(ExactTemplate):
    """Adds an experience to the statistics.

    Args:
        gram: [U, A, m(m+1)/2], statistics so far.
        moment: [U, A, m].
    """

    def __init__(self, *, gram: Tensor, moment: Tensor) -> None:
        users, attributes, width = moment.shape
        weight = moment.new_zeros(users * attributes, 1, width)
        super().__init__(weight=weight)
        self.gram, self.moment = gram, moment

    def training_epoch(self, **kwargs: Any) -> None:
        """Add the experience's rows to the statistics."""
        rows = self.experience.rows
        self.gram, self.moment = accumulate(rows.x, rows.y, rows.w, self.gram, self.moment)


class ExactEWC:
    """Closed-form EWC over a cohort.

    Args:
        prior: Of the heads.
        calibration: For the baseline.
        config: Of it, `dtype`, `device`, `forgetting` and `half_life` matter.
    """

    name = "exact_ewc"

    def __init__(self, prior: Prior, calibration: Prior, config: StrategyConfig) -> None:
        self.dtype = torch.float32 if config.dtype == "float32" else torch.float64
        self.device = open_device(config.device, "strategy")
        self._prior = prior
        self._calibration = Calibration(calibration, prior.noise)
        self._forgetting = build_forgetting(prior, config, self.device)
        attributes, width = prior.mean.shape
        self.layout: Layout = {
            "gram": (attributes, width * (width + 1) // 2),
            "moment": (attributes, width),
            **self._calibration.layout,
            **self._forgetting.layout,
        }

    def initial_state(self, users: int) -> CohortState:
        """No rows yet."""
        return zero_state(self.layout, users, dtype=self.dtype, device=self.device)

    def train(self, experience: CohortExperience, state: CohortState) -> CohortState:
        """Forget what has to be forgotten, then add the experience's rows."""
        state = self._forgetting.forget(experience.rows, state)
        template = InformationTemplate(gram=state["gram"], moment=state["moment"])
        template.learn(experience)
        result = self._calibration.update(experience.rows, state)
        result |= {name: state[name] for name in self._forgetting.layout}
        return result | {"gram": template.gram, "moment": template.moment}

    def heads(self, state: CohortState) -> Heads:
        """The exact posterior."""
        heads = statistics_heads(self._prior, state["gram"], state["moment"])
        return replace(heads, noise=self._calibration.noise(state))

    def mean(self, state: CohortState) -> NDArray[np.float64]:
        """The exact posterior's mean."""
        return statistics_mean(self._prior, state["gram"], state["moment"])

    def calibration(self, state: CohortState) -> Heads:
        """The users' mean and slope alone."""
        return self._calibration.heads(state)


def build(prior: Prior, calibration: Prior, config: StrategyConfig) -> Strategy:
    """Closed form, with as much of the Fisher information as `config.form` says."""
    if config.form == "full":
        return ExactEWC(prior, calibration, config)
    if config.forgetting != "none":
        raise ConfigError(
            f"exact_ewc forgets in its full form alone, not in {config.form!r}",
            "set form: full or forgetting: none",
        )
    rank = config.rank if config.form == "low_rank" else LEADING
    dtype = torch.float32 if config.dtype == "float32" else torch.float64
    device = open_device(config.device, "strategy")
    return CompactEWC(prior, calibration, rank, dtype, device)
