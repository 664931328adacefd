"""Which items to ask a user about next: those whose ratings tell most about all the others.

A rating of item i shrinks the covariance C of the user's head to C - C x x' C / (x' C x + noise), whatever
the rating will be. Its worth is how much this lowers the variance of the user's scores, averaged over the
items that could be asked about (integrated variance reduction; Cohn, Ghahramani & Jordan 1996, section 4):
x' C M C x / (x' C x + noise), with M the mean of x x'. Items are taken one after the other, each on the
covariance that the ones before will leave, so that the second of two like items is worth little: that is
the diversity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One item to ask about.

    Attributes:
        index: Row of the item.
        gain: Mean variance, over items and summed over attributes, that its rating removes after those of the
            suggestions before it; squared points of score.
    """

    index: int
    gain: float


def suggest_items(
    covariance: NDArray[np.floating],
    rows: NDArray[np.floating],
    noise: NDArray[np.floating],
    count: int,
    *,
    unseen: NDArray[np.floating] | None = None,
) -> list[Suggestion]:
    """The most telling items, best first.

    Args:
        covariance: [A, m, m], of the user's head; not changed.
        rows: [N, A, m], design rows of the items that may be asked about.
        noise: [A], variance of one rating.
        count: How many, at most N.
        unseen: [N, A], variance that comes with items that hardly anybody has rated; None: none.
    """
    current = np.array(covariance, dtype=np.float64)
    x = np.asarray(rows, dtype=np.float64)
    other = np.asarray(noise) + (0.0 if unseen is None else np.asarray(unseen))
    average = np.einsum("nam,nak->amk", x, x) / max(len(x), 1)
    left = np.ones(len(x), dtype=bool)
    found: list[Suggestion] = []
    for _ in range(min(count, len(x))):
        reach = np.einsum("nam,amk->nak", x, current)
        spread = np.einsum("nam,nam->na", reach, x) + other
        gain = (np.einsum("nam,amk,nak->na", reach, average, reach) / spread).sum(axis=1)
        best = int(np.argmax(np.where(left, gain, -np.inf)))
        found.append(Suggestion(best, float(gain[best])))
        left[best] = False
        current -= np.einsum("am,ak->amk", reach[best], reach[best]) / spread[best][:, None, None]
    return found
