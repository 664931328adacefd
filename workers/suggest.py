"""Items to ask a user about next."""

from __future__ import annotations

from typing import Any

import numpy as np

from paaplus.errors import NotFoundError
from paaplus.heads import item_variance
from paaplus.scoring import Scorer
from paaplus.store import open_store
from paaplus.suggestion import suggest_items
from workers.config import Config
from workers.sources import StoreSource

CANDIDATES = 2000
"""Items looked at, at most; drawn at random from a larger catalogue."""


def suggest(config: Config, user_id: str, count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """The most telling items that the user has not spoken of, best first.

    Returns:
        Per item `item` and `gain`: the mean variance of the user's scores that its rating removes.

    Raises:
        NotFoundError: No population model yet, or no item is left.
    """
    with open_store(config.store_url) as store:
        with store.read() as connection:
            unrated = store.feedback.unrated_items(connection, user_id)
        if len(unrated) > CANDIDATES:
            chosen = np.random.default_rng(seed).choice(len(unrated), CANDIDATES, replace=False)
            unrated = [unrated[n] for n in sorted(chosen)]
        if not unrated:
            raise NotFoundError(
                f"user {user_id!r} has spoken of every item that has features",
                "announce new items, or run `paaplus embed`",
            )
        head = Scorer(StoreSource(store), config.artifacts).head(user_id)
        with store.read() as connection:
            ids, vectors = store.items.features(connection, head.population.trunk, unrated)
    if not ids:
        raise NotFoundError(
            f"no item that user {user_id!r} has not rated has features", "run `paaplus embed`"
        )
    unseen = head.population.unseen_variance(ids)
    found = suggest_items(
        head.covariance,
        head.population.rows(ids, vectors),
        head.noise,
        count,
        unseen=item_variance(head.mean, head.covariance, unseen),
    )
    return [{"item": ids[one.index], "gain": one.gain} for one in found]
