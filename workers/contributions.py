"""What each kind of feedback teaches next to a user's first ratings, judged like the served heads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paaplus.heads import HIGHEST, LOWEST
from paaplus.metrics import mae, srcc
from paaplus.population import Population
from paaplus.store import Rows, Store
from workers.build import current_population
from workers.config import Config
from workers.exam import mean_over_users
from workers.regressors import Regressors
from workers.simulate import SimulatedWorld

Array = NDArray[np.float64]

FIRST = 5
"""Ratings of each user that are taken: with many, nothing else is needed."""

KINDS = ("comparison", "comment", "interaction", "survey")


def contributions(config: Config, store: Store, world: SimulatedWorld) -> list[dict[str, Any]]:
    """Exact heads from every user's first ratings alone, with each other kind, and with all.

    Returns:
        Rows of `kind`, `events` that were learned, `worth` (ratings that one event counts for, mean over
        events and attributes), `srcc` and `mae` on pictures nobody was asked about.
    """
    found = current_population(config, store)
    assert found is not None
    population = found[0]
    regressors = Regressors(store, config.artifacts, population)
    with store.read() as connection:
        rows = store.feedback.next_observations(
            connection, world.user_ids, [0] * len(world.user_ids), 10**6
        )
    assert rows.channels is not None
    kinds = np.array([channel.split(".")[0] for channel in rows.channels])
    taught, psi = regressors.of(rows)
    weights = taught.weights
    assert weights is not None
    rated = kinds == "rating"
    before = np.cumsum(rated) - rated  # ratings of anybody before each row
    own = before - np.repeat(
        before[np.minimum(rows.start[:-1], len(before) - 1)], np.diff(rows.start)
    )
    first = ~rated | (own < FIRST)
    item_ids, given = world.exam()
    wanted, _ = regressors.table(np.array(item_ids, dtype=object))
    result = []
    for kind in ("rating", *KINDS, "all"):
        used = first & (np.isin(kinds, ["rating", kind]) | (kind == "all"))
        mine = used & ((kinds == kind) | (kind == "all"))
        scores = _scores(population, replace(taught, weights=weights * used[:, None]), psi, wanted)
        result.append(
            {
                "kind": kind,
                "events": int(mine.sum()),
                "worth": round(float(weights[mine].mean()) if mine.any() else 0.0, 3),
                "srcc": round(mean_over_users(srcc, scores, given), 4),
                "mae": round(mean_over_users(mae, scores, given), 4),
            }
        )
    return result


def _scores(population: Population, rows: Rows, psi: Array, wanted: Array) -> Array:
    """Scores [U, I, A] of exact heads."""
    prior, result = population.prior, []
    assert rows.weights is not None
    targets = np.nan_to_num(rows.scores)
    for u in range(len(rows.user_ids)):
        mine = slice(int(rows.start[u]), int(rows.start[u + 1]))
        x, w = psi[mine], rows.weights[mine]
        gram = np.einsum("nam,nak,na->amk", x, x, w, optimize=True)
        moment = np.einsum("nam,na->am", x, w * targets[mine])
        mean = prior.posterior_mean(gram, moment)
        result.append(np.clip(np.einsum("nam,am->na", wanted, mean), LOWEST, HIGHEST))
    return np.stack(result)
