"""EWC in one exact step, with a precision that is diagonal but for a block among the leading axes.

The minimum of (squared error on the new rows) / noise + (w - w_old)' P (w - w_old) with P = R R' is, in
whitened rows z = R^-1 x / sqrt(noise) and by the identity of Woodbury,

    w = w_old + R'^-1 Z' (Z Z' + I)^-1 (y - X w_old) / sqrt(noise),

a system of n rows in place of one of m regressors: wide heads cost n^2 m and not m^3. It is what Adam with an
EWC penalty (Kirkpatrick et al. 2017) approaches in many epochs. P then grows by the information of the rows,
of which that outside block and diagonal is dropped.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from strategies.template import ExactTemplate

CHUNK_BYTES = {"cpu": 2**20, "cuda": 2**28}
"""Of whitened rows worked on together, by the kind of device: on a CPU they have to stay in the cache."""


class CompactTemplate(ExactTemplate):
    """Heads that learn an experience in one exact step.

    Args:
        weight: [B, o, m], weights to start from.
        block: [B, q, q], their precision among the leading q axes; the outputs of a block share it.
        diagonal: [B, m - q], precision of the other axes, > 0.
        noise: [B], variance of one rating of weight 1, > 0.
    """

    def __init__(self, *, weight: Tensor, block: Tensor, diagonal: Tensor, noise: Tensor) -> None:
        super().__init__(weight=weight)
        self.block, self.diagonal = block, diagonal
        self._noise = noise

    def training_epoch(self, **kwargs: Any) -> None:
        """One exact step over all rows of the experience."""
        rows = self.experience.rows
        self.model.weight.data, self.block, self.diagonal = exact_step(
            self.model.weight.detach(), self.block, self.diagonal,
            rows.x, rows.y, rows.w[:, :, :1], self._noise,
        )  # fmt: skip


def exact_step(
    weight: Tensor,
    block: Tensor,
    diagonal: Tensor,
    x: Tensor,
    y: Tensor,
    w: Tensor,
    noise: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Learn n rows exactly.

    Args:
        weight: [B, o, m].
        block: [B, q, q], positive definite.
        diagonal: [B, m - q], > 0.
        x: [B, n, m], rows.
        y: [B, n, o], targets.
        w: [B, n, 1], weights of the rows, the same for all outputs; 0 = padding.
        noise: [B], variance of one rating of weight 1.

    Returns:
        New weight, block and diagonal.
    """
    rank = block.shape[-1]
    root = (w / noise[:, None, None]).sqrt()
    factor, lead = torch.linalg.cholesky(block), x[:, :, :rank] * root
    white = torch.linalg.solve_triangular(factor, lead.mT, upper=False).mT
    # 1 on the leading axes, which have a factor in its place.
    scale = torch.nn.functional.pad(diagonal.rsqrt(), (rank, 0), value=1.0)[:, None]
    start = weight / scale
    start[:, :, :rank] = weight[:, :, :rank] @ factor
    step, gained = _whitened_step(x, white, scale, root, y * root, start)
    lead_step = torch.linalg.solve_triangular(factor, step[:, :, :rank], upper=False, left=False)
    learned = torch.addcmul(weight, step, scale)
    learned[:, :, :rank] = weight[:, :, :rank] + lead_step
    return learned, block + lead.mT @ lead, diagonal * (1.0 + gained[:, rank:])


def _whitened_step(
    x: Tensor, lead: Tensor, scale: Tensor, root: Tensor, y: Tensor, start: Tensor
) -> tuple[Tensor, Tensor]:
    """The step in whitened coordinates, a few blocks at a time.

    Args:
        x: [B, n, m], rows.
        lead: [B, n, q], their leading part, whitened and times `root`.
        scale: [B, 1, m], what whitens the rest.
        root: [B, n, 1], roots of the rows' weights over the noise.
        y: [B, n, o], targets times `root`.
        start: [B, o, m], whitened weights.

    Returns:
        Step [B, o, m], and the sum over the rows of the whitened rows' squares, [B, m].
    """
    rank, n = lead.shape[-1], x.shape[1]
    step, gained = torch.empty_like(start), torch.empty_like(scale[:, 0])
    # Where every row weighs the same, its root is a part of the scale: a pass over the rows less.
    alike = bool((root == root[:, :1]).all())
    scale = scale * root[:, :1] if alike else scale
    # The weights lie below the rows, so that one product gives the system and the scores.
    both = x.new_empty(_blocks_at_once(x), n + start.shape[1], x.shape[2])
    for first in range(0, len(x), len(both)):
        s = slice(first, first + len(both))
        here = both[: len(x[s])]
        z, here[:, n:] = here[:, :n], start[s]
        torch.mul(x[s], scale[s], out=z)
        if not alike:
            z.mul_(root[s])
        z[:, :, :rank] = lead[s]
        product = torch.bmm(here, z.mT)
        system, score = product[:, :n], product[:, n:].mT
        system.diagonal(dim1=1, dim2=2).add_(1.0)
        # The system is symmetric: as its own transpose it is copied once less on the way to LAPACK.
        lower = torch.linalg.cholesky(system.mT)
        dual = torch.linalg.solve_triangular(lower, y[s] - score, upper=False)
        dual = torch.linalg.solve_triangular(lower.mT, dual, upper=True)
        torch.bmm(dual.mT, z, out=step[s])
        torch.sum(z.square_(), dim=1, out=gained[s])
    return step, gained


def _blocks_at_once(x: Tensor) -> int:
    one = max(x.shape[1] * x.shape[2] * x.element_size(), 1)
    return min(max(CHUNK_BYTES.get(x.device.type, 2**28) // one, 1), max(len(x), 1))
