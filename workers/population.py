"""Fits the population model on all feedback and makes it current."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np

from paaplus.errors import NotEnoughDataError
from paaplus.packs import population_path
from paaplus.population import (
    DailyCaps,
    ItemFeatures,
    Population,
    Ratings,
    Taught,
    fit_population,
)
from paaplus.store import Rows, Store
from paaplus.store.populations import PopulationRow


def refit(
    store: Store,
    artifacts: Path,
    trunk: str,
    *,
    seed: int,
    now: datetime,
    caps: DailyCaps | None = None,
    last: Population | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> tuple[Population, PopulationRow]:
    """Fit on all feedback that is not held out, save the model, make it the current version.

    Live heads of the former version stay as they are and serve on; each is trained anew, from the
    user's first event, in the rounds that follow.

    Args:
        store: Where feedback and features are.
        artifacts: The model goes to `populations/<version>.safetensors` in it.
        trunk: Version name of the features to use.
        seed: Of the splits that the fit is judged on.
        now: Time of the fit.
        caps: On what the ratings of a day say of items.
        last: Model to go on from.
        progress: Told the step and the share done, 0..1.

    Raises:
        NotEnoughDataError: Too few ratings, users or items with features.
    """
    with store.read() as connection:
        table = store.feedback.all_ratings(connection)
        others = store.feedback.all_others(connection)
        item_ids, vectors = store.items.features(connection, trunk)
    with_features = set(item_ids)
    usable = [i for i, item_id in enumerate(table.item_ids) if item_id in with_features]
    if not usable:
        raise NotEnoughDataError(
            f"population: none of {len(table.item_ids)} ratings is of an item with {trunk!r} features",
            "run `paaplus embed`, or set `trunk.name` to that of the features in the item events",
        )
    ratings = Ratings(
        user_ids=table.user_ids[usable],
        item_ids=table.item_ids[usable],
        scores=table.scores[usable],
        numbers=np.arange(len(usable)),
        days=table.days[usable],
    )
    items = ItemFeatures(item_ids=np.array(item_ids, dtype=object), vectors=vectors)
    fitted = fit_population(
        ratings,
        items,
        trunk=trunk,
        seed=seed,
        taught=_taught(others),
        caps=caps,
        last=last,
        progress=progress,
    )
    fitted.save(population_path(artifacts, fitted.version))
    row = PopulationRow(
        version=fitted.version,
        trunk=trunk,
        fitted_at=now,
        users=len(set(ratings.user_ids)),
        items=len(set(ratings.item_ids)),
        ratings=len(
            table.item_ids
        ),  # with those that wait for features: growth is measured from here
    )
    with store.write() as connection:
        store.populations.set_current(connection, row)
    return fitted, row


def _taught(others: Rows) -> Taught:
    assert others.channels is not None
    assert others.details is not None
    owner = np.repeat(np.array(others.user_ids, dtype=object), np.diff(others.start))
    return Taught(owner, others.item_ids, others.channels, others.scores, others.details)
