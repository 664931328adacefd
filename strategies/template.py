"""One Avalanche template that trains the stacked heads of a cohort.

Each user's loss is the mean over the user's own observed scores, and the losses are summed over users: so
every user's gradient is the one that stock Avalanche computes for that user alone, and one step of Adam on
the stacked weights is one step of Adam per user.
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

from streams.experiences import CohortExperience, RowBlock

Batch = tuple[Tensor, Tensor, Tensor]
"""x [B, n, d], y [B, n, o], w [B, n, o]."""


class StackedHead(nn.Module):
    """Linear heads of a cohort, without a bias (the first regressor is 1).

    Args:
        weight: [B, o, d], one matrix per block. This layout, that of `nn.Linear`, makes the product with
            few outputs many times faster than [B, d, o].
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Scores [B, n, o] of rows x [B, n, d]."""
        return torch.bmm(x, self.weight.transpose(1, 2))


class CohortTemplate(SupervisedTemplate):
    """Avalanche's supervised template over a `CohortExperience`; all its hooks fire.

    Args:
        weight: [B, o, d], weights to start from; B = users * blocks per user.
        users: U.
        learning_rate: Of Adam, made anew for every experience.
        epochs: Passes over the new rows.
        batch_size: New rows per user and step, in their order in time.
        plugins: Cohort plugins.
    """

    def __init__(
        self,
        *,
        weight: Tensor,
        users: int,
        learning_rate: float,
        epochs: int,
        batch_size: int,
        plugins: Sequence[SupervisedPlugin] = (),
    ) -> None:
        model = StackedHead(weight)
        fused = weight.dtype in (torch.float32, torch.float64)
        with quiet_avalanche():
            super().__init__(
                model=model,
                optimizer=torch.optim.Adam(model.parameters(), lr=learning_rate, fused=fused),
                criterion=nn.MSELoss(),  # not called: `criterion` below is per user and weighted
                train_mb_size=batch_size,
                train_epochs=epochs,
                device=weight.device,
                plugins=list(plugins),
                evaluator=EvaluationPlugin(collect_all=False),
            )
        self.users = users

    def learn(self, experience: CohortExperience) -> Tensor:
        """Train on one experience; the weights [B, o, d] after it."""
        with quiet_avalanche():
            # Without `eval_streams=[]` Avalanche reads the whole stream before the first step.
            self.train(experience, eval_streams=[])
        weight: Tensor = self.model.weight.detach()
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

    def forward(self) -> Tensor:
        """Scores of the current batch."""
        scores: Tensor = self.model(self.mbatch[0])
        return scores

    def criterion(self) -> Tensor:
        """Sum over users of the user's weighted mean squared error."""
        _, y, w = self.mbatch
        return cohort_loss(self.mb_output, y, w, self.users)


def cohort_loss(output: Tensor, y: Tensor, w: Tensor, users: int) -> Tensor:
    """Sum over users of (sum of w (output - y)^2) / (sum of w), a user without scores counting 0.

    Args:
        output: [B, n, o], scores; y and w of the same shape.
        y: See `output`.
        w: See `output`.
        users: U; B is a multiple of it.
    """
    squared = (w * (output - y) ** 2).reshape(users, -1).sum(dim=1)
    observed = w.reshape(users, -1).sum(dim=1)
    return (squared / observed.clamp(min=torch.finfo(w.dtype).tiny)).sum()


def batches(rows: RowBlock, size: int) -> list[Batch]:
    """Consecutive batches of at most `size` rows per user."""
    spans = [slice(first, first + size) for first in range(0, rows.x.shape[1], size)]
    return [(rows.x[:, span], rows.y[:, span], rows.w[:, span]) for span in spans]


@contextmanager
def quiet_avalanche() -> Iterator[None]:
    """Avalanche changes the process's warning filters while it trains; they are put back."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="avalanche")
        # Metrics are ours (`paaplus.evaluation`): Avalanche's mean nothing on scores.
        warnings.filterwarnings("ignore", message="No loggers specified", category=UserWarning)
        yield
