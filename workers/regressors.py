"""What heads see of an item, and how several models' predictions compare on the same ratings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paaplus.evaluation import UserReports, evaluate
from paaplus.heads import HIGHEST, LOWEST
from paaplus.observations import SURVEY
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

    @property
    def noise(self) -> NDArray[np.float64]:
        """Variance of one rating, [A]."""
        return self._population.prior.noise

    def of(self, rows: Rows) -> tuple[Rows, NDArray[np.float64]]:
        """Observations as rows of the regression: targets and weights, and regressors [N, A, m].

        What speaks of an item without features has weight 0.
        """
        psi, has = self.table(rows.item_ids)
        scores = np.where(has[:, None], rows.scores, np.nan)
        others = rows.others()
        if not len(others):
            return replace(rows, scores=scores), psi
        assert rows.channels is not None
        assert rows.details is not None
        channels, details = rows.channels[others], rows.details[others]
        known = has[others] | (channels == SURVEY)
        pairs = np.char.startswith(channels.astype(str), "comparison")
        against = np.zeros((len(others), *psi.shape[1:]))
        against[pairs], also = self.table(details[pairs])
        known[pairs] &= also
        weights = (~np.isnan(scores)).astype(np.float64)
        psi[others], scores[others], weight = self._population.observe(
            channels, rows.scores[others], psi[others], against, details
        )
        weights[others] = np.where(known[:, None], weight, 0.0)
        return replace(rows, scores=scores, weights=weights), psi

    def table(self, item_ids: NDArray[np.object_]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Design rows [N, A, m] of items, zeros where there are no features; and where there are [N]."""
        unique, inverse = np.unique(item_ids.astype(str), return_inverse=True)
        with self._store.read() as connection:
            found, vectors = self._store.items.features(
                connection, self._population.trunk, [str(item_id) for item_id in unique]
            )
        table = np.zeros((len(unique), *self._population.prior.mean.shape))
        has = np.isin(unique, found)
        if found:
            table[has] = self._population.rows(found, vectors)
        return table[inverse], has[inverse]

    def compare(
        self,
        rows: Rows,
        psi: NDArray[np.float64],
        models: Mapping[str, NDArray[np.floating]],
        champions: dict[str, Champion] | None = None,
    ) -> UserReports:
        """Compare heads' means [U, A, m], the users' champions (calibration where there is none) and the
        population.

        Ratings alone are compared: what other feedback says is our reading of it.
        """
        prior = self._population.prior
        owner = np.repeat(np.arange(len(rows.user_ids)), np.diff(rows.start))
        predictions = {name: _scores(psi, mean[owner]) for name, mean in models.items()} | {
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
        scores = rows.scores.copy()
        scores[rows.others()] = np.nan
        return evaluate(rows.user_ids, rows.start, scores, predictions)

    def _champion_scores(
        self, champion: Champion, item_ids: NDArray[np.object_], psi: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Scores [n, A] of what is served now, which may stand on an older population model."""
        mean = self._packs.open(champion.pack).head(champion.row, champion.user_id).mean
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
