"""Online elastic weight consolidation (Kirkpatrick et al. 2017; Schwarz et al. 2018, "Progress & compress").

The penalty is lambda * sum of F (v - v_old)^2. Two definitions of F:

- `GaussianEWC`: the Fisher information of a linear model with Gaussian noise, sum of w x^2, which needs no
  labels and is exact; in units of rows, so the penalty is divided by the rows of the batch. Rows that are
  replayed are not penalised as well: they would count twice.
- `EmpiricalEWC`: the decayed sum of squared gradients of batch means, labels included: that of stock
  Avalanche's `EWCPlugin(mode="online")`. From ten ratings it is mostly noise (Kunstner et al. 2019).
"""

from __future__ import annotations

from typing import Any

import torch
from avalanche.training.plugins import SupervisedPlugin
from torch import Tensor

from strategies.template import Batch, CohortTemplate, batches, cohort_loss


class GaussianEWC(SupervisedPlugin):
    """EWC with the Fisher information of the Gaussian model, for every user of the cohort at once.

    Args:
        importance: [B, o, d], decayed importances so far, in rows times x^2.
        penalty: lambda; 1 weighs old rows like new ones.
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
        self._penalties: dict[int, tuple[Tensor, Tensor | None]] = {}

    def after_backward(self, strategy: CohortTemplate, **kwargs: Any) -> None:
        """Add the penalty's gradient."""
        weight, number = strategy.model.weight, strategy.clock.train_epoch_iterations
        if number not in self._penalties:  # the same batches come in every epoch
            self._penalties[number] = self.penalty(strategy.mbatch)
        stiffness, pull = self._penalties[number]
        assert self._anchor is not None
        weight.grad.addcmul_(stiffness, weight.detach() - self._anchor, value=2 * self._penalty)
        if pull is not None:
            weight.grad.sub_(pull, alpha=self._penalty)

    def after_training_exp(self, strategy: CohortTemplate, **kwargs: Any) -> None:
        """Importances of the new rows, added to the decayed ones."""
        self.importance = self._decay * self.importance + self.importances(strategy)

    def penalty(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Stiffness around the anchor [B, o, d], and what is taken from the gradient [B, o, d].

        All old rows together have their optimum at the anchor; those not in the batch pull against those
        that are: by the gradient of the replayed rows at the anchor, which is therefore subtracted.
        """
        x, y, w, new = batch
        per_row = w.sum(dim=(1, 2))[:, None, None].clamp(min=1.0).reciprocal()
        if x.shape[1] == new:
            return self.importance * per_row, None
        assert self._anchor is not None
        x, y, w = x[:, new:], y[:, new:], w[:, new:]
        others = (self.importance - torch.einsum("bno,bnd->bod", w, x**2)).clamp(min=0.0)
        error = w * (torch.bmm(x, self._anchor.transpose(1, 2)) - y)
        return others * per_row, 2 * per_row * torch.bmm(error.transpose(1, 2), x)

    def importances(self, strategy: CohortTemplate) -> Tensor:
        """Of the new rows: [B, o, d]."""
        rows = strategy.experience.rows
        return torch.einsum("bno,bnd->bod", rows.w, rows.x**2)


class EmpiricalEWC(GaussianEWC):
    """Stock `EWCPlugin(mode="online")`, for every user of the cohort at once. Arguments as above."""

    def penalty(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The importances as they are: they are of batch means."""
        return self.importance, None

    def importances(self, strategy: CohortTemplate) -> Tensor:
        """Mean over the batches of new rows of the squared gradient: [B, o, d]."""
        weight = strategy.model.weight
        new = batches(strategy.experience.rows, strategy.train_mb_size)
        total = torch.zeros_like(weight)
        for x, y, w, _ in new:
            loss = cohort_loss(strategy.model(x), y, w)
            (gradient,) = torch.autograd.grad(loss, weight)
            total += gradient**2
        return total / max(len(new), 1)


class PriorPenalty(GaussianEWC):
    """The prior alone, around the population's head: for training on everything again. Arguments as above."""

    def before_training_exp(self, strategy: CohortTemplate, **kwargs: Any) -> None:
        """The anchor is where the prior has its mean: 0 in round coordinates."""
        super().before_training_exp(strategy, **kwargs)
        self._anchor = torch.zeros_like(strategy.model.weight)

    def penalty(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The prior's precision, per row of the batch."""
        counts = batch[2].sum(dim=(1, 2))[:, None, None].clamp(min=1.0)
        return self.importance / counts, None

    def after_training_exp(self, strategy: CohortTemplate, **kwargs: Any) -> None:
        """Importances stay the prior's."""
