"""Online elastic weight consolidation (Kirkpatrick et al. 2017; Schwarz et al. 2018, "Progress & compress").

The penalty is lambda * sum of F (w - w_old)^2 with F the decayed sum of squared batch-mean gradients, labels
included: the definition of stock Avalanche's `EWCPlugin(mode="online")`, for every user of the cohort.
"""

from __future__ import annotations

from typing import Any

import torch
from avalanche.training.plugins import SupervisedPlugin
from torch import Tensor

from paaplus.population.prior import Prior
from strategies.adam import AdamStrategy
from strategies.base import Strategy
from strategies.config import StrategyConfig
from strategies.template import CohortTemplate, batches, cohort_loss


class CohortEWC(SupervisedPlugin):
    """Stock `EWCPlugin(mode="online")`, for every user of the cohort at once.

    Args:
        importance: [B, o, d], decayed importances so far; 0 before the first experience.
        penalty: lambda.
        decay: Of the importances, per experience.
    """

    def __init__(self, importance: Tensor, penalty: float, decay: float) -> None:
        super().__init__()
        self.importance = importance
        self._penalty = penalty
        self._decay = decay
        self._anchor: Tensor | None = None

    def before_training_exp(self, strategy: CohortTemplate, **kwargs: Any) -> None:
        """Hold on to the weights that the experience begins with."""
        self._anchor = strategy.model.weight.detach().clone()

    def after_backward(self, strategy: CohortTemplate, **kwargs: Any) -> None:
        """Add the penalty's gradient."""
        weight = strategy.model.weight
        assert self._anchor is not None
        weight.grad.addcmul_(
            self.importance, weight.detach() - self._anchor, value=2 * self._penalty
        )

    def after_training_exp(self, strategy: CohortTemplate, **kwargs: Any) -> None:
        """Importances of the new rows, added to the decayed ones."""
        found = self.importances(strategy)
        self.importance = self._decay * self.importance + found

    def importances(self, strategy: CohortTemplate) -> Tensor:
        """Mean over the batches of new rows of the squared gradient: [B, o, d]."""
        weight = strategy.model.weight
        new = batches(strategy.experience.rows, strategy.train_mb_size)
        total = torch.zeros_like(weight)
        for x, y, w in new:
            loss = cohort_loss(strategy.model(x), y, w, strategy.users)
            (gradient,) = torch.autograd.grad(loss, weight)
            total += gradient**2
        return total / max(len(new), 1)


def build(prior: Prior, calibration: Prior, config: StrategyConfig) -> Strategy:
    """Adam with online EWC."""
    return AdamStrategy("ewc", prior, calibration, config, replay=False, ewc=True)
