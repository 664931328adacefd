"""Models of a cohort: the weights of many users' heads, stacked, with gradients written out by hand.

No graph is recorded through the weights: the loss is differentiated by the scores alone, and the model turns
that into the gradients of its weights. So what training needs is what EWC needs, and nothing is allocated
for autograd.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn


class CohortModel(Protocol):
    """What the template and the plugins ask of a model; an `nn.Module`.

    The cohort's loss is a sum of L independent losses. Every parameter has leading dimension L, in one order.
    `gradients` and `information` are of the rows of the last call. What either returns may be overwritten by
    the next; that of `gradients` is the same memory at every call.
    """

    def __call__(self, x: Tensor) -> Tensor:
        """Scores [B, n, o] of rows x [B, n, d]."""

    def weights(self) -> list[Tensor]:
        """The parameters, detached: one [L, …] each."""

    def per_loss(self, values: Tensor) -> Tensor:
        """Values [B, n, o] of scores, by the loss in which they count: [L, n, *]."""

    def per_score(self, factors: Tensor) -> Tensor:
        """Factors [L] of losses by the scores that count in them: [B, 1, o] or [B, 1, 1]."""

    def gradients(self, upstream: Tensor, less: Any = None) -> list[Tensor]:
        """Sum over rows and scores of upstream [B, n, o] times d score / d weight, per parameter.

        Without `less`, which are `shares` of the last of these rows, of an earlier call.
        """

    def shares(self, upstream: Tensor) -> Any:
        """What `gradients` are made of, in as little memory as will do."""

    def information(self, w: Tensor) -> list[Tensor]:
        """Sum over rows and scores of w [B, n, o] times (d score / d weight)^2, per parameter."""


class StackedHead(nn.Module):
    """Linear heads of a cohort, without a bias (the first regressor is 1). One loss per block: L = B.

    Args:
        weight: [B, o, d], one matrix per block, trained where it lies. This layout, that of `nn.Linear`,
            makes the product with few outputs many times faster than [B, d, o].
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)
        self._x = weight.new_zeros(0)
        self._gradient = torch.empty_like(weight)

    def forward(self, x: Tensor) -> Tensor:
        """Scores [B, n, o] of rows x [B, n, d]."""
        self._x = x
        return torch.bmm(x, self.weight.detach().transpose(1, 2))

    def weights(self) -> list[Tensor]:
        """The matrix [B, o, d]."""
        return [self.weight.detach()]

    def per_loss(self, values: Tensor) -> Tensor:
        """Values as they are."""
        return values

    def per_score(self, factors: Tensor) -> Tensor:
        """Factors [B] as [B, 1, 1]."""
        return factors[:, None, None]

    def gradients(self, upstream: Tensor, less: Tensor | None = None) -> list[Tensor]:
        """Of the matrix."""
        torch.bmm(upstream.transpose(1, 2), self._x, out=self._gradient)
        return [self._gradient if less is None else self._gradient.sub_(less)]

    def shares(self, upstream: Tensor) -> Tensor:
        """The gradient itself."""
        return self.gradients(upstream)[0].clone()

    def information(self, w: Tensor) -> list[Tensor]:
        """Of the matrix: exact, and the same for all weights."""
        return [torch.einsum("bno,bnd->bod", w, self._x**2)]
