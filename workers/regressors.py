"""What heads see of an item, and how several models' predictions compare on the same ratings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paaplus.evaluation import UserReports, evaluate
from paaplus.heads import HIGHEST, LOWEST, Heads
from paaplus.packs import PackStore, population_path
from paaplus.population import Population, load_population
from paaplus.store import Champion, Rows, Store


class Regressors:
    """Rating rows under a population model.

    Args:
        store: Where features are.
        artifacts: Folder of packs and population models.
        population: The current population model.
    """

    def __init__(self, store: Store, artifacts: Path, population: Population) -> None:
        self._store = store
        self._artifacts = artifacts
        self._population = population
        self._packs = PackStore(artifacts)
        self._former: dict[str, Population] = {}

    def of(self, rows: Rows) -> tuple[Rows, NDArray[np.float64]]:
        """Regressors [N, A, m] of rating rows; a row of an item without features counts as unrated."""
        unique, inverse = np.unique(rows.item_ids.astype(str), return_inverse=True)
        with self._store.read() as connection:
            found, vectors = self._store.items.features(
                connection, self._population.trunk, [str(item_id) for item_id in unique]
            )
        width = self._population.prior.mean.shape
        table = np.zeros((len(unique), *width))
        has = np.isin(unique, found)
        if found:
            table[has] = self._population.rows(found, vectors)
        scores = np.where(has[inverse][:, None], rows.scores, np.nan)
        return (
            Rows(rows.user_ids, rows.start, rows.seq, rows.item_ids, scores),
            table[inverse].reshape(len(rows.seq), *width),
        )

    def compare(
        self,
        rows: Rows,
        psi: NDArray[np.float64],
        models: dict[str, Heads],
        champions: dict[str, Champion] | None = None,
    ) -> UserReports:
        """Compare heads, the users' champions (calibration where there is none) and the population."""
        prior = self._population.prior
        owner = np.repeat(np.arange(len(rows.user_ids)), np.diff(rows.start))
        predictions = {name: _scores(psi, heads.mean[owner]) for name, heads in models.items()} | {
            "population": _scores(psi, np.broadcast_to(prior.mean, (len(owner), *prior.mean.shape)))
        }
        if champions is not None:
            predictions["champion"] = predictions["calibration"].copy()
            for u, user_id in enumerate(rows.user_ids):
                mine = slice(int(rows.start[u]), int(rows.start[u + 1]))
                if user_id in champions and mine.start < mine.stop:
                    predictions["champion"][mine] = self._champion_scores(
                        champions[user_id], rows.item_ids[mine], psi[mine]
                    )
        return evaluate(rows.user_ids, rows.start, rows.scores, predictions)

    def _champion_scores(
        self, champion: Champion, item_ids: NDArray[np.object_], psi: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Scores [n, A] of what is served now, which may stand on an older population model."""
        mean, _ = self._packs.open(champion.pack).head(champion.row, champion.user_id)
        if champion.population != self._population.version:
            psi = self._old_rows(champion.population, [str(item_id) for item_id in item_ids])
        return _scores(psi, np.broadcast_to(mean, (len(psi), *mean.shape)))

    def _old_rows(self, version: str, item_ids: list[str]) -> NDArray[np.float64]:
        if version not in self._former:
            self._former[version] = load_population(
                population_path(self._artifacts, version), version
            )
        population = self._former[version]
        with self._store.read() as connection:
            found, vectors = self._store.items.features(connection, population.trunk, item_ids)
        table = dict(zip(found, population.rows(found, vectors), strict=True))
        blank = np.zeros(population.prior.mean.shape)
        return np.stack([table.get(item_id, blank) for item_id in item_ids])


def _scores(psi: NDArray[np.float64], mean: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scores [n, A] of rows [n, A, m] under weights [n, A, m' <= m], on 0..10."""
    scores: NDArray[np.float64] = np.einsum("nam,nam->na", psi[:, :, : mean.shape[2]], mean)
    return np.clip(scores, LOWEST, HIGHEST)
