"""EWC with a diagonal Fisher information in closed form, solved in the space of the new rows.

The minimum of (squared error on the new rows) / noise + (w - w_old)' L (w - w_old) with a diagonal L is

    w = w_old + L^-1 Z' (Z L^-1 Z' + noise I)^-1 (y - Z w_old),        L' = L + sum of z^2 / noise

by the identity of Woodbury: a system of n rows in place of one of d regressors, so wide heads cost
n^2 d and not d^3. It is what Adam with an EWC penalty (Kirkpatrick et al. 2017) approaches in many epochs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from strategies.template import CohortTemplate

CHUNK = 16
"""Blocks that are solved together."""


class DiagonalTemplate(CohortTemplate):
    """The cohort template with the gradient steps replaced by one exact step; all hooks still fire.

    Args:
        weight: [B, o, d], weights to start from.
        precision: [B, d], their diagonal precision, > 0; the outputs of a block share it.
        noise: Variance of one rating, > 0.
    """

    def __init__(self, *, weight: Tensor, precision: Tensor, noise: float) -> None:
        super().__init__(weight=weight, learning_rate=1.0, epochs=1, batch_size=1)
        self.precision = precision
        self._noise = noise

    def training_epoch(self, **kwargs: Any) -> None:
        """One exact step over all rows of the experience."""
        rows, weight = self.experience.rows, self.model.weight.detach()
        # Few users at a time, so that their rows are still in the cache when they are needed again.
        spans = [slice(b, b + CHUNK) for b in range(0, len(weight), CHUNK)]
        parts = [
            diagonal_update(
                weight[s], self.precision[s], rows.x[s], rows.y[s], rows.w[s][:, :, :1], self._noise
            )
            for s in spans
        ]
        self.model.weight.data = torch.cat([part[0] for part in parts])
        self.precision = torch.cat([part[1] for part in parts])


def diagonal_update(
    weight: Tensor, precision: Tensor, x: Tensor, y: Tensor, w: Tensor, noise: float
) -> tuple[Tensor, Tensor]:
    """Learn n rows exactly.

    Args:
        weight: [B, o, d].
        precision: [B, d], > 0.
        x: [B, n, d], rows.
        y: [B, n, o], targets.
        w: [B, n, 1], weights of the rows, the same for all outputs; 0 = padding.
        noise: Variance of one rating of weight 1.

    Returns:
        New weight and precision.
    """
    if not bool((w == 1).all()):
        root = w.sqrt()
        x, y = x * root, y * root
    whiten = precision.rsqrt()
    z = x * whiten[:, None]
    system = torch.bmm(z, z.transpose(1, 2))
    system.diagonal(dim1=1, dim2=2).add_(noise)
    residual = torch.baddbmm(y, x, weight.transpose(1, 2), alpha=-1)
    dual = torch.cholesky_solve(residual, torch.linalg.cholesky(system))
    gain = torch.bmm(dual.transpose(1, 2), z)
    information = torch.addcmul(precision, z.square_().sum(dim=1), precision, value=1 / noise)
    return torch.addcmul(weight, gain, whiten[:, None]), information
