"""A small world for the registry: a population model, heads of users, an empty MLflow."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from paaplus.heads import Heads
from paaplus.packs import population_path, write_pack
from paaplus.population import ItemFeatures, Population, Ratings, fit_population
from paaplus.registry import Registry
from paaplus.scoring import Scorer
from paaplus.store.releases import Champion, LedgerEntry, Release

with warnings.catch_warnings():
    # It warns of the types of its own agents, at import.
    warnings.simplefilter("ignore")
    import mlflow.pyfunc  # noqa: F401

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HOSTILE = ("..", "a.b", "-", "x" * 128, "a_-.Z")
USERS = (*HOSTILE, "ann", "bob")
ITEMS, FEATURES = 30, 6


@dataclass
class World:
    """Packs, ledger entries and the store's answers, made by hand."""

    root: Path
    url: str
    population: Population
    item_ids: list[str]
    vectors: np.ndarray
    champions: dict[str, Champion] = field(default_factory=dict)
    entries: list[LedgerEntry] = field(default_factory=list)

    # What scoring asks the store.
    def champion(self, user_id):
        return self.champions.get(user_id)

    def current_population(self):
        return self.population.version

    def known_items(self, item_ids):
        return set(item_ids) & set(self.item_ids)

    def feature_matrix(self, item_ids, trunk):
        assert trunk == self.population.trunk
        return item_ids, np.array([self.vector(i) for i in item_ids], dtype=np.float32)

    def vector(self, item_id):
        return self.vectors[self.item_ids.index(item_id)]

    def registry(self, user_rows="promoted", fleet="main"):
        return Registry(self.url, fleet=fleet, artifacts=self.root, user_rows=user_rows)

    def scorer(self):
        return Scorer(self, self.root)

    def release(self, number, users=USERS, promoted=None, levels=None):
        """A release of heads; with `levels`, each predicts just that level for every item."""
        rng = np.random.default_rng(number)
        a, m = self.population.prior.mean.shape
        mean = self.population.prior.mean + 0.3 * rng.normal(size=(len(users), a, m))
        if levels is not None:
            mean = np.zeros((len(users), a, m))
            mean[:, :, 0] = np.array(levels)[:, None]
        covariance = np.stack([self.population.prior.covariance * rng.uniform() for _ in users])
        manifest = {
            "population": self.population.version,
            "trunk": self.population.trunk,
            "strategy": "exact_ewc",
            "cohort": "c0000",
            "code": "0.1.0",
        }
        sha, rows = write_pack(self.root, Heads(mean, covariance), users, manifest)
        count = len(users) if promoted is None else promoted
        figures = {"heldout_mae_challenger": 1.0}
        release = Release(
            number,
            "c0000",
            sha,
            self.population.version,
            "exact_ewc",
            NOW,
            len(users),
            count,
            figures,
        )
        return release, rows

    def promote(self, user_id, release, rows):
        """The ledger entry of a promotion; moves the champion of this world."""
        versions = [e.version for e in self.entries if e.user_id == user_id]
        old = self.champions.get(user_id)
        return self._move(
            user_id, release.number, max(versions, default=0) + 1, release.pack, rows[user_id],
            old.version if old else None, "promote", "gate",
        )  # fmt: skip

    def roll_back(self, user_id, version):
        target = next(e for e in self.entries if (e.user_id, e.version) == (user_id, version))
        parent = self.champions[user_id].version
        return self._move(
            user_id, target.release, version, target.pack, target.row, parent, "rollback", "eve"
        )

    def _move(self, user_id, release, version, pack, row, parent, action, actor):
        entry = LedgerEntry(
            len(self.entries) + 1, release, user_id, version, pack, row, self.population.version,
            parent, action, actor, "because", {"gain": 0.25}, NOW,
        )  # fmt: skip
        self.entries.append(entry)
        seq = sum(e.user_id == user_id for e in self.entries)
        self.champions[user_id] = Champion(user_id, version, pack, row, entry.population, seq)
        return entry

    def frame(self, item_ids):
        return pd.DataFrame(
            {"item_id": item_ids, "features": [self.vector(i).tolist() for i in item_ids]}
        )

    def table(self, user_id, item_ids):
        """What `Scorer` says, as a prediction has it."""
        scores = self.scorer().score(user_id, item_ids)
        rows = [s.mean | {f"{name}_std": value for name, value in s.std.items()} for s in scores]
        return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def fitted():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(ITEMS, FEATURES)).astype(np.float16).astype(np.float32)
    item_ids = np.array([f"i{n}" for n in range(ITEMS)])
    users, items = (grid.ravel() for grid in np.mgrid[:40, :ITEMS])
    kept = rng.uniform(size=len(users)) < 0.6
    users, items = users[kept], items[kept]
    truth = 5 + vectors[items, :3] + rng.normal(size=(40, 3))[users]
    scores = np.clip(truth + 0.5 * rng.normal(size=truth.shape), 0, 10)
    ratings = Ratings(np.array([f"p{u}" for u in users]), item_ids[items], scores)
    population = fit_population(ratings, ItemFeatures(item_ids, vectors), trunk="given", seed=0)
    return population, [*item_ids], vectors


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory):
    """A database with MLflow's tables: making them takes a second."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    MlflowClient(f"sqlite:///{path}", f"sqlite:///{path}").search_registered_models()
    return path


@pytest.fixture
def world(tmp_path, fitted, empty_mlflow, monkeypatch):
    population, item_ids, vectors = fitted
    root = tmp_path / "artifacts"
    path = population_path(root, population.version)
    path.parent.mkdir(parents=True)
    population.save(path)
    shutil.copy(empty_mlflow, tmp_path / "mlflow.db")
    url = f"sqlite:///{tmp_path / 'mlflow.db'}"
    # `Registry` sets these where they are absent; here, so that they are gone after the test.
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    monkeypatch.delenv("PAAPLUS_ARTIFACTS", raising=False)
    return World(root, url, population, item_ids, vectors)
