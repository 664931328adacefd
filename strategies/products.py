"""Products of stacked heads that share their input."""

from __future__ import annotations

import torch
from torch import Tensor

STRIP = 128
"""Rows of a weight's gradient that are computed at a time, see `outer`."""
FEW = 40
"""Rows of a batch up to which the whole gradient is computed at once."""


def outer(out: Tensor, error: Tensor, below: Tensor) -> None:
    """Sum over rows of error [L, out, n] times input [G, in, n], into `out` [L, out, in].

    In strips: into memory that is in no cache, MKL then takes half as long for the 64 rows of a batch; for
    few rows it is faster without.
    """
    left, right, into = joined(error, below), below.transpose(1, 2), joined(out, below)
    if out.is_cpu and len(below) == 1 and error.shape[2] > FEW and into.shape[1] % STRIP == 0:
        left, into = (t.view(-1, STRIP, t.shape[2]) for t in (left, into))
        right = right.expand(len(into), -1, -1)
    torch.bmm(left, right, out=into)


def joined(matrices: Tensor, below: Tensor) -> Tensor:
    """Matrices [L, out, *] of heads that share their input as one [G, out * L / G, *]; a view."""
    return matrices.view(len(below), -1, matrices.shape[2])
