"""Ragged blocks of feedback rows, as the store hands them out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paaplus.observations import RATING


@dataclass(frozen=True, slots=True)
class Rows:
    """Observations of U users, N in all; user u owns rows `start[u]:start[u + 1]`.

    Attributes:
        user_ids: U user ids, in order.
        start: int64 [U + 1], first row of each user; `start[U] == N`.
        seq: int64 [N], the row's number in its user's feedback, rising within a user.
        item_ids: object [N] of str.
        scores: float64 [N, 3] in the order of `ATTRIBUTES`: 0..10 of a rating, the signal of another
            channel; NaN = it says nothing of that one.
        channels: object [N] of str, see `paaplus.observations`; None: all are ratings.
        details: object [N] of str or None, what the channel needs besides; None: nothing.
        weights: float64 [N, 3], what each counts for next to a rating; None: 1 where there is a score.
    """

    user_ids: tuple[str, ...]
    start: NDArray[np.int64]
    seq: NDArray[np.int64]
    item_ids: NDArray[np.object_]
    scores: NDArray[np.float64]
    channels: NDArray[np.object_] | None = None
    details: NDArray[np.object_] | None = None
    weights: NDArray[np.float64] | None = None

    def items(self) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
        """Ids of the items that the rows speak of, and the place of each one's row."""
        place = np.flatnonzero(self.item_ids != None)  # noqa: E711 - elementwise
        ids, others = self.item_ids[place], self.others()
        if not len(others) or self.channels is None or self.details is None:
            return ids, place
        pairs = others[np.char.startswith(self.channels[others].astype(str), "comparison")]
        return np.concatenate([ids, self.details[pairs]]), np.concatenate([place, pairs])

    def others(self) -> NDArray[np.intp]:
        """Places of the rows that are not ratings."""
        if self.channels is None:
            return np.zeros(0, np.intp)
        return np.flatnonzero(self.channels != RATING)
