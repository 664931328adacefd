"""Fits the population model on everybody's feedback."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from paaplus.errors import NotEnoughDataError
from paaplus.events import ATTRIBUTES
from paaplus.population.assemble import assemble, find_rotation
from paaplus.population.attribute import AttributeFit, fit_attribute
from paaplus.population.choose import Progress
from paaplus.population.correlate import correlate
from paaplus.population.items import principal_components
from paaplus.population.model import Population
from paaplus.population.teach import Taught, fit_teaching, teaching_report
from paaplus.population.warm import warm_start
from paaplus.population.weights import DailyCaps

DIRECTIONS = 64
"""Directions that tastes are looked for in, before the rotation."""

FEWEST_USERS, FEWEST_ITEMS, FEWEST_RATINGS = 5, 20, 100
"""Below these an attribute has no population model."""


@dataclass(frozen=True, slots=True)
class Ratings:
    """Ratings to fit on; row i is one event.

    Attributes:
        user_ids: [N] of str.
        item_ids: [N] of str, each with features.
        scores: float64 [N, A] on 0..10; NaN = not rated.
        days: int64 [N], days since 1970 in UTC, 0 = not known; None: none is known.
        numbers: int64 [N], rising in the order in which each user gave them: priors are then judged by how
            they predict later ratings from earlier ones; None: it is not known.
    """

    user_ids: NDArray[np.object_]
    item_ids: NDArray[np.object_]
    scores: NDArray[np.float64]
    days: NDArray[np.int64] | None = None
    numbers: NDArray[np.int64] | None = None


@dataclass(frozen=True, slots=True)
class ItemFeatures:
    """Feature vectors of items: ids [I] of str, vectors float32 [I, F]."""

    item_ids: NDArray[np.object_]
    vectors: NDArray[np.float32]


def fit_population(
    ratings: Ratings,
    items: ItemFeatures,
    *,
    trunk: str,
    seed: int,
    taught: Taught | None = None,
    caps: DailyCaps | None = None,
    last: Population | None = None,
    progress: Progress | None = None,
) -> Population:
    """Fit head, item deviations, prior and rotation, and what feedback other than ratings is worth.

    The result depends on the ratings and the seed, not on the order of the rows. An attribute that hardly
    anybody rated gets the middle of the scale with a wide prior, and no personal directions. `caps` bound
    what the ratings of a day say of items; they need `ratings.days`. With `last`, a model of the same
    features, the search for the prior goes on where that one ended: the result is close to one from nothing,
    for less work.

    Raises:
        NotEnoughDataError: No attribute has enough ratings, users and items.
    """
    tell = progress or (lambda step, share: None)
    rng = np.random.default_rng(seed)
    item_ids, item_order = np.unique(items.item_ids.astype(str), return_index=True)
    vectors = items.vectors[item_order]
    user_ids, users = np.unique(ratings.user_ids.astype(str), return_inverse=True)
    rated = np.searchsorted(item_ids, ratings.item_ids.astype(str))
    days = np.zeros(len(users), np.int64) if ratings.days is None else ratings.days
    numbers = np.zeros(len(users), np.int64) if ratings.numbers is None else ratings.numbers
    order = np.lexsort((numbers, days, *np.nan_to_num(ratings.scores, nan=-1.0).T, rated, users))
    users, rated, scores, days = users[order], rated[order], ratings.scores[order], days[order]
    numbers = numbers[order]

    tell("features", 0.0)
    components = principal_components(vectors)
    directions = min(DIRECTIONS, len(components.variance), max(1, len(item_ids) // 4))
    unit = components.whiten(vectors, directions)
    spectrum = components.variance[:directions] / components.variance[0]
    fits: dict[int, AttributeFit] = {}
    for a, name in enumerate(ATTRIBUTES):
        tell(name, 0.2 + 0.25 * a)
        given = ~np.isnan(scores[:, a])
        if _enough(users[given], rated[given]):
            fit = fit_attribute(
                users[given],
                rated[given],
                scores[given, a],
                components,
                vectors,
                unit,
                spectrum,
                rng,
                numbers=None if ratings.numbers is None else numbers[given],
                days=days[given],
                caps=caps,
                start=warm_start(last, trunk, a, vectors, unit),
            )
            fits[a] = replace(fit, events=np.flatnonzero(given)[fit.events])
    if not fits:
        raise NotEnoughDataError(
            f"population: {len(scores)} ratings by {len(user_ids)} users of "
            f"{len(np.unique(rated))} items are too few",
            f"wait for {FEWEST_RATINGS} ratings by {FEWEST_USERS} users of {FEWEST_ITEMS} items",
        )
    tell("rotation", 0.95)
    rotation, kept = find_rotation([fit.choice for fit in fits.values()])
    model = assemble(trunk, item_ids, vectors, components, fits, rotation)
    tell("attributes together", 0.96)
    prior, together = correlate(model.prior, fits, rotation, rng)
    model = replace(model, prior=prior)
    model.report.update(
        users=len(user_ids),
        items=len(np.unique(rated)),
        ratings=len(scores),
        directions=rotation.shape[1],
        kept=round(kept, 4),
        together=together,
    )
    if taught is not None and len(taught.user_ids):
        tell("other feedback", 0.97)
        rows = model.rows(item_ids.tolist(), vectors)
        table = dict(zip(item_ids.tolist(), rows, strict=True))
        raters = user_ids[users].astype(object)
        model = fit_teaching(model, taught, raters, rated, scores, table)
        model.report["teaching"] = teaching_report(model)
    tell("done", 1.0)
    return model


def _enough(users: NDArray[np.intp], items: NDArray[np.intp]) -> bool:
    return (
        len(users) >= FEWEST_RATINGS
        and len(np.unique(users)) >= FEWEST_USERS
        and len(np.unique(items)) >= FEWEST_ITEMS
    )
