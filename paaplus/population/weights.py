"""How much each rating counts in what the crowd learns of items: once per pair, by trust, capped per day.

A script that rates a thousand items in an hour, and a raid in which a thousand accounts rate one item, both
look honest rating by rating. What gives them away is the pace, so a day's weight of a user and of an item is
bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paaplus.population.prior import Array

NO_DAY = 0
"""Day of ratings whose time nobody knows: 1970-01-01, where imports without times are put. Never capped."""


@dataclass(frozen=True, slots=True)
class DailyCaps:
    """Ratings of one UTC day and attribute that count in full; above, all of them share that weight.

    Attributes:
        user: Of one user; None or 0: any number.
        item: Of one item, each weighed by its rater's trust; None or 0: any number.
    """

    user: int | None = None
    item: int | None = None


@dataclass(frozen=True, slots=True)
class RatingWeights:
    """How much N ratings count.

    Attributes:
        weight: [N], 0..1, in what is learned of the item.
        share: [N], 0..1, what the caps left of it: so much the rating counts in what is learned of users too.
    """

    weight: Array
    share: Array


def rating_weights(
    users: NDArray[np.intp],
    items: NDArray[np.intp],
    trust: Array | None = None,
    days: NDArray[np.int64] | None = None,
    caps: DailyCaps | None = None,
) -> RatingWeights:
    """Weights of ratings.

    However often a user rates an item, it counts as one rating.

    Args:
        users: int [N], and `items` int [N], from 0.
        items: See `users`.
        trust: Weight of each user by index, 0..1; None: 1.
        days: int [N], days since 1970, `NO_DAY` = not known; None: none is known.
        caps: What a day may weigh; None: anything.
    """
    _, pair, often = np.unique(
        users * (int(items.max()) + 1) + items, return_inverse=True, return_counts=True
    )
    weight = (1.0 if trust is None else trust[users]) / often[pair]
    if days is None or caps is None:
        return RatingWeights(weight, np.ones(len(users)))
    # A user's cap comes before trust: else who is not believed could flood the more.
    share = _share(1.0 / often[pair], users, days, caps.user)
    # An item's comes after it: else those who are not believed would crowd out those who are.
    share = share * _share(weight * share, items, days, caps.item)
    return RatingWeights(weight * share, share)


def _share(
    weight: Array, groups: NDArray[np.intp], days: NDArray[np.int64], cap: int | None
) -> Array:
    """What is left of each weight [N], 0..1, so that those of a group and day sum to the cap at most."""
    if not cap:
        return np.ones(len(weight))
    first = int(days.min())
    span = int(days.max()) - first + 1
    _, place = np.unique(groups * span + (days - first), return_inverse=True)
    total = np.bincount(place, weight)[place]
    share: Array = np.where(days == NO_DAY, 1.0, np.minimum(1.0, cap / total))
    return share
