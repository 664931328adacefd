"""Online elastic weight consolidation (Kirkpatrick et al. 2017; Schwarz et al. 2018, "Progress & compress").

The penalty is lambda * sum of F (v - v_old)^2, over all parameters of the model. Two definitions of F:

- `GaussianEWC`: the Fisher information under Gaussian noise, sum of w (d score / d v)^2, which needs
  no labels; exact for a linear head, Gauss-Newton for others. In units of rows (times the noise), so the
  penalty is divided by the rows of the batch. Rows that are replayed are not penalised as well: they would
  count twice.
- `EmpiricalEWC`: the decayed sum of squared gradients of batch means, labels included: that of stock
  Avalanche's `EWCPlugin(mode="online")`. From ten ratings it is mostly noise (Kunstner et al. 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from avalanche.training.plugins import SupervisedPlugin
from torch import Tensor

from strategies.models import CohortModel
from strategies.template import Batch, CohortTemplate, batches, cohort_loss

BLOCK = 1 << 16
"""Numbers that are penalised at a time on a CPU: a difference of so many stays in the cache."""


class Penalty(NamedTuple):
    """What a batch's gradient is changed by.

    Attributes:
        stiffness: Per parameter [L, …], around the anchor.
        pull: Shares (see `CohortModel.shares`) to be subtracted.
    """

    stiffness: list[Tensor]
    pull: Any


class GaussianEWC(SupervisedPlugin):
    """EWC with the Fisher information of the Gaussian model, for every user of the cohort at once.

    Comes after replay among the plugins: it looks at the batches of the experience before the first step,
    and holds a penalty of the size of the model for each.

    Args:
        importance: Per parameter [L, …], decayed importances so far, in rows times (d score / d v)^2;
            those after the experience are written in their place.
        penalty: lambda; 1 weighs old rows like new ones.
        decay: Of the importances, per experience.
    """

    def __init__(self, importance: Sequence[Tensor], penalty: float, decay: float) -> None:
        super().__init__()
        self.importance = self._after = list(importance)
        self._penalty = penalty
        self._decay = decay
        self._anchor: list[Tensor] = []
        self._bound = False
        self._penalties: list[Penalty] = []
        self._blocks: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self._room: list[list[Tensor]] = []
        self._away = torch.empty(0)

    def bind(
        self, importance: Sequence[Tensor], anchor: Sequence[Tensor], after: Sequence[Tensor]
    ) -> None:
        """Consolidate other users, in memory of the caller's, of which nothing is copied.

        Args:
            importance: Those so far, left as they are.
            anchor: The weights that the experience begins with, left as they are.
            after: Where the importances after the experience go.
        """
        self.importance, self._anchor, self._after = list(importance), list(anchor), list(after)
        self._bound = True
        self._room[:1] = [self._after]  # that of the first batch: it is free until the last step

    def before_training_exp(self, strategy: CohortTemplate, **kwargs: Any) -> None:
        """Hold on to the weights that the experience begins with."""
        if not self._bound:
            self._anchor = [weight.clone() for weight in strategy.model.weights()]
        self._hold_penalties(strategy)

    def before_backward(self, strategy: CohortTemplate, **kwargs: Any) -> None:
        """Have the replayed rows' pull subtracted from the gradient."""
        strategy.less = self._penalties[strategy.clock.train_epoch_iterations].pull

    def after_backward(self, strategy: CohortTemplate, **kwargs: Any) -> None:
        """Add the penalty's gradient."""
        if not self._blocks:  # views of the same memory in every step: made once
            gradients = blocks([p.grad for p in strategy.parameters if p.grad is not None])
            weights, anchors = blocks(strategy.model.weights()), blocks(self._anchor)
            room = self._differences(weights)
            self._blocks = list(zip(gradients, weights, anchors, room, strict=True))
            self._penalties = [Penalty(blocks(p.stiffness), p.pull) for p in self._penalties]
        stiffnesses = self._penalties[strategy.clock.train_epoch_iterations].stiffness
        for stiffness, (gradient, here, there, away) in zip(stiffnesses, self._blocks, strict=True):
            torch.sub(here, there, out=away)
            gradient.addcmul_(stiffness, away, value=2 * self._penalty)

    def _differences(self, weights: list[Tensor]) -> list[Tensor]:
        """One piece of memory for all blocks, in the shape of each."""
        most = max((block.numel() for block in weights), default=0)
        if len(self._away) < most:
            self._away = weights[0].new_empty(most)
        return [self._away[: block.numel()].view_as(block) for block in weights]

    def after_training_exp(self, strategy: CohortTemplate, **kwargs: Any) -> None:
        """Importances of the new rows, added to the decayed ones."""
        self._penalties, self._blocks, strategy.less = [], [], None
        self.add_importances(strategy)

    def _hold_penalties(self, strategy: CohortTemplate) -> None:
        """Those of the batches; the same batches come in every epoch."""
        self._penalties = []
        for n, batch in enumerate(strategy.dataloader):
            if n == len(self._room):  # memory, once for all experiences
                self._room.append([torch.empty_like(tensor) for tensor in self.importance])
            self._penalties.append(self.penalty(strategy.model, batch, self._room[n]))

    def penalty(self, model: CohortModel, batch: Batch, room: list[Tensor]) -> Penalty:
        """Of one batch, its stiffness in `room`.

        All old rows together have their optimum at the anchor; those not in the batch pull against those
        that are: by the gradient of the replayed rows at the anchor, which is therefore subtracted.
        """
        x, y, w, new = batch
        per_row = rows_per_loss(model, w).reciprocal()
        if x.shape[1] == new:
            scale_losses(self.importance, per_row, None, room)
            return Penalty(room, None)
        x, y, w = x[:, new:], y[:, new:], w[:, new:] * model.per_score(per_row)
        error = w * (model(x) - y)
        scale_losses(self.importance, per_row, model.information(-w), room)
        return Penalty(room, model.shares(2 * self._penalty * error))

    def add_importances(self, strategy: CohortTemplate) -> None:
        """Those of the new rows and the decayed ones."""
        rows = strategy.experience.rows
        strategy.model(rows.x)
        new = strategy.model.information(rows.w)
        for before, information, after in zip(self.importance, new, self._after, strict=True):
            torch.add(information, before, alpha=self._decay, out=after)


class EmpiricalEWC(GaussianEWC):
    """Stock `EWCPlugin(mode="online")`, for every user of the cohort at once. Arguments as above."""

    def _hold_penalties(self, strategy: CohortTemplate) -> None:
        """The importances as they are: they are of batch means."""
        self._penalties = [Penalty(self.importance, None)] * len(strategy.dataloader)

    def add_importances(self, strategy: CohortTemplate) -> None:
        """The mean over the batches of new rows of the squared gradient, and the decayed ones."""
        model = strategy.model
        new = batches(strategy.experience.rows, strategy.train_mb_size)
        for n, (x, y, w, _) in enumerate(new):
            _, upstream = cohort_loss(model, model(x), y, w)
            gradients = model.gradients(upstream)
            parts = zip(*map(blocks, (self.importance, gradients, self._after)), strict=True)
            for before, gradient, after in parts:
                if n == 0:
                    torch.mul(before, self._decay, out=after)
                after.addcmul_(gradient, gradient, value=1 / len(new))


class PriorPenalty(GaussianEWC):
    """The prior alone, around the population's head: for training on everything again.

    Args:
        importance: As above, of the prior.
        penalty: As above.
        decay: Not used.
        anchor: Per parameter [L, …], the prior's mean; None: 0, where it is in round coordinates.
    """

    def __init__(
        self,
        importance: Sequence[Tensor],
        penalty: float,
        decay: float,
        anchor: Sequence[Tensor] | None = None,
    ) -> None:
        super().__init__(importance, penalty, decay)
        self._mean = anchor

    def bind(
        self, importance: Sequence[Tensor], anchor: Sequence[Tensor], after: Sequence[Tensor]
    ) -> None:
        """The prior is everybody's: there is nothing to bind."""

    def before_training_exp(self, strategy: CohortTemplate, **kwargs: Any) -> None:
        """The anchor is where the prior has its mean."""
        mean = self._mean or [torch.zeros_like(weight) for weight in strategy.model.weights()]
        self._anchor = list(mean)
        self._hold_penalties(strategy)

    def penalty(self, model: CohortModel, batch: Batch, room: list[Tensor]) -> Penalty:
        """The prior's precision, per row of the batch."""
        scale_losses(self.importance, rows_per_loss(model, batch[2]).reciprocal(), None, room)
        return Penalty(room, None)

    def after_training_exp(self, strategy: CohortTemplate, **kwargs: Any) -> None:
        """Importances stay the prior's."""
        self._penalties, self._blocks = [], []


def rows_per_loss(model: CohortModel, w: Tensor) -> Tensor:
    """Sum of the weights w [B, n, o] in each loss, at least 1: [L]."""
    return model.per_loss(w).sum(dim=(1, 2)).clamp(min=1.0)


def scale_losses(
    values: Sequence[Tensor], factors: Tensor, more: Sequence[Tensor] | None, out: Sequence[Tensor]
) -> None:
    """Values [L, …] per parameter times a factor [L], or that plus `more`, at least 0; into `out`."""
    for n, (value, target) in enumerate(zip(values, out, strict=True)):
        factor = factors.reshape(-1, *[1] * (value.ndim - 1))
        if more is None:
            torch.mul(value, factor, out=target)
        else:
            torch.addcmul(more[n], value, factor, out=target).clamp_(min=0.0)


def blocks(tensors: Sequence[Tensor]) -> list[Tensor]:
    """All numbers of some tensors, views; on a CPU, large ones in blocks of `BLOCK`."""
    return [
        block
        for tensor in tensors
        for block in (
            [tensor]
            if tensor.numel() <= 2 * BLOCK or not tensor.is_cpu
            else torch.split(tensor.reshape(-1), BLOCK)
        )
    ]
