"""Ragged blocks of rating rows, as the store hands them out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Rows:
    """Rating rows of U users, N in all; user u owns rows `start[u]:start[u + 1]`.

    Attributes:
        user_ids: U user ids, in order.
        start: int64 [U + 1], first row of each user; `start[U] == N`.
        seq: int64 [N], the row's number in its user's feedback, rising within a user.
        item_ids: object [N] of str.
        scores: float64 [N, 3] on 0..10 in the order of `ATTRIBUTES`; NaN = not rated.
    """

    user_ids: tuple[str, ...]
    start: NDArray[np.int64]
    seq: NDArray[np.int64]
    item_ids: NDArray[np.object_]
    scores: NDArray[np.float64]
