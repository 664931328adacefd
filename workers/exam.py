"""The demo's exam: what is served against what the simulated users truly think."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from paaplus.heads import HIGHEST, LOWEST, information_posterior
from paaplus.metrics import mae, srcc
from paaplus.scoring import Scorer
from paaplus.store import Store, open_store
from workers.build import current_population
from workers.config import Config
from workers.simulate import SimulatedWorld
from workers.sources import StoreSource


def examine(config: Config, world: SimulatedWorld) -> dict[str, float]:
    """Served scores against fresh ratings of pictures that nobody was asked about.

    Returns:
        `srcc_<model>` and `mae_<model>` of `population`, `calibration` and `personal`: means over users
        and attributes.
    """
    item_ids, given = world.exam()
    with open_store(config.store_url) as store:
        scorer = Scorer(StoreSource(store), config.artifacts)
        population = _table(scorer, "nobody", item_ids)  # a user without any feedback
        personal = np.stack([_table(scorer, u, item_ids) for u in world.user_ids])
        calibrated = _calibrated(config, store, world.user_ids, item_ids)
    result: dict[str, float] = {}
    for name, scores in (
        ("population", np.broadcast_to(population, given.shape)),
        ("calibration", calibrated),
        ("personal", personal),
    ):
        result[f"srcc_{name}"] = mean_over_users(srcc, scores, given)
        result[f"mae_{name}"] = mean_over_users(mae, scores, given)
    return result


def _calibrated(
    config: Config, store: Store, users: list[str], item_ids: list[str]
) -> NDArray[np.float64]:
    """The strong baseline: population scores with each user's own mean and slope, [U, I, A]."""
    found = current_population(config, store)
    assert found is not None
    population = found[0]
    prior = population.calibration
    with store.read() as connection:
        rated = store.feedback.next_observations(connection, users, [0] * len(users), 10**6)
        ids, vectors = store.items.features(connection, population.trunk)
    table = dict(zip(ids, population.rows(ids, vectors)[:, :, :3], strict=True))
    wanted = np.stack([table[item_id] for item_id in item_ids])
    others = rated.others()
    result = []
    for u in range(len(users)):
        mine = np.arange(rated.start[u], rated.start[u + 1])
        mine = np.setdiff1d(mine, others)
        rows = np.stack([table[item_id] for item_id in rated.item_ids[mine]])
        scores, weight = rated.scores[mine], ~np.isnan(rated.scores[mine])
        gram = np.einsum("nam,nak,na->amk", rows, rows, weight)
        moment = np.einsum("nam,na->am", rows, np.nan_to_num(scores))
        mean, _ = information_posterior(prior.mean, prior.covariance, prior.noise, gram, moment)
        result.append(np.clip(np.einsum("nam,am->na", wanted, mean), LOWEST, HIGHEST))
    return np.stack(result)


def _table(scorer: Scorer, user_id: str, item_ids: list[str]) -> NDArray[np.float64]:
    """Served mean scores [I, A]."""
    return np.array([list(one.mean.values()) for one in scorer.score(user_id, item_ids)])


def mean_over_users(
    measure: Callable[[NDArray[np.float64], NDArray[np.float64]], float],
    scores: NDArray[np.float64],
    given: NDArray[np.float64],
) -> float:
    """Mean of a measure over users and attributes; [U, I, A] both."""
    values = [
        measure(scores[u, :, a], given[u, :, a])
        for u in range(given.shape[0])
        for a in range(given.shape[2])
    ]
    return float(np.nanmean(values))
