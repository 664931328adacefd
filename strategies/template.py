"""One Avalanche template that trains the stacked heads of a cohort.

Each block's loss is the mean over the block's own observed scores, and the losses are summed: so every user's
gradient is the one that stock Avalanche computes for that user alone, and one step of Adam on the stacked
weights is one step of Adam per user.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from avalanche.training.plugins import EvaluationPlugin, SupervisedPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn

from strategies.models import CohortModel, StackedHead
from streams.experiences import CohortExperience, RowBlock

Batch = tuple[Tensor, Tensor, Tensor, int]
"""x [B, n, d], y [B, n, o], w [B, n, o], and how many of the n rows are new; those behind are replayed."""


class CohortTemplate(SupervisedTemplate):
    """Avalanche's supervised template over a `CohortExperience`; all its hooks fire.

    Args:
        weight: [B, o, d], linear heads' weights to start from; or a model.
        learning_rate: Of Adam, made anew for every experience.
        epochs: Passes over the new rows.
        batch_size: New rows per user and step, in their order in time.
        plugins: Cohort plugins.
    """

    def __init__(
        self,
        *,
        weight: Tensor | CohortModel,
        learning_rate: float,
        epochs: int,
        batch_size: int,
        plugins: Sequence[SupervisedPlugin] = (),
    ) -> None:
        model: Any = StackedHead(weight.clone()) if isinstance(weight, Tensor) else weight
        self.parameters: list[nn.Parameter] = list(model.parameters())
        first = self.parameters[0]
        fused = first.dtype in (torch.float32, torch.float64)
        with quiet_avalanche():
            super().__init__(
                model=model,
                optimizer=torch.optim.Adam(self.parameters, lr=learning_rate, fused=fused),
                criterion=nn.MSELoss(),  # not called: `criterion` below is per block and weighted
                train_mb_size=batch_size,
                train_epochs=epochs,
                device=first.device,
                plugins=list(plugins),
                evaluator=EvaluationPlugin(collect_all=False),
            )
        self.less: Any = None
        """What the model's gradients are less by in the next step."""
        self._upstream = torch.empty(0)
        # Without metrics it only takes time: in the engine's inner loop, a twentieth.
        self.plugins.remove(self.evaluator)

    def learn(self, experience: CohortExperience) -> Tensor:
        """Train on one experience from Adam's beginning; the first of the weights after it, [L, …]."""
        for moments in self.optimizer.state.values():  # of an experience before this one
            for tensor in moments.values():
                tensor.zero_()
        with quiet_avalanche():
            # Without `eval_streams=[]` Avalanche reads the whole stream before the first step.
            self.train(experience, eval_streams=[])
        weight: Tensor = self.model.weights()[0]
        return weight

    def train_dataset_adaptation(self, **kwargs: Any) -> None:
        """The experience is used as it is."""
        self.adapted_dataset = self.experience.dataset

    def make_train_dataloader(self, **kwargs: Any) -> None:
        """Batches of rows in their order in time: views of the stacked tensors."""
        self.dataloader = batches(self.experience.rows, self.train_mb_size)

    def check_model_and_optimizer(self, **kwargs: Any) -> None:
        """Model and optimizer are made for the cohort, nothing is to be adapted."""

    def _unpack_minibatch(self) -> None:
        """Batches are on the device already."""

    def criterion(self) -> Tensor:
        """Sum over losses of the weighted mean squared error; its derivative is kept for the way back."""
        _, y, w, _ = self.mbatch
        loss, self._upstream = cohort_loss(self.model, self.mb_output, y, w)
        return loss

    def backward(self) -> None:
        """The gradient of the loss by every weight."""
        gradients = self.model.gradients(self._upstream, self.less)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient


class ExactTemplate(CohortTemplate):
    """The cohort template with the gradient steps replaced by one exact update; all hooks still fire.

    A subclass does the update over all rows of the experience in `training_epoch`.

    Args:
        weight: [B, o, m], linear heads' weights to start from.
    """

    def __init__(self, *, weight: Tensor) -> None:
        # No copy is needed: new weights are put in the place of the old.
        super().__init__(weight=StackedHead(weight), learning_rate=1.0, epochs=1, batch_size=1)

    def make_train_dataloader(self, **kwargs: Any) -> None:
        """There are no batches."""
        self.dataloader = []


def cohort_loss(model: CohortModel, output: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over the model's losses of (sum of w (output - y)^2) / (sum of w), one without scores counting 0.

    Args:
        model: Knows which scores count in which loss.
        output: [B, n, o], scores; y and w of the same shape.
        y: See `output`.
        w: See `output`.

    Returns:
        The loss, and its derivative by the scores, [B, n, o].
    """
    total = model.per_loss(w).sum(dim=(1, 2)).clamp(min=torch.finfo(w.dtype).tiny)
    error = output - y
    pull = w * model.per_score(total.reciprocal()) * error
    return (pull * error).sum(), 2 * pull


def batches(rows: RowBlock, size: int) -> list[Batch]:
    """Consecutive batches of at most `size` rows per user."""
    n = rows.x.shape[1]
    spans = [slice(first, min(first + size, n)) for first in range(0, n, size)]
    return [
        (rows.x[:, span], rows.y[:, span], rows.w[:, span], span.stop - span.start)
        for span in spans
    ]


@contextmanager
def quiet_avalanche() -> Iterator[None]:
    """Avalanche changes the process's warning filters while it trains; they are put back."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="avalanche")
        # Metrics are ours (`paaplus.evaluation`): Avalanche's mean nothing on scores.
        warnings.filterwarnings("ignore", message="No loggers specified", category=UserWarning)
        yield
