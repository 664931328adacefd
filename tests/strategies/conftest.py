"""A small world of users for the strategies, and a prior for their heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from paaplus.population.prior import Prior
from paaplus.store.rows import Rows
from strategies import STRATEGIES, StrategyConfig, build_strategy
from strategies.base import Strategy
from strategies.state import MEMORY, CohortState
from streams.experiences import CohortExperience, build_experience

A, M = 3, 7
CONFIG = StrategyConfig(epochs=3, batch_size=4, memory_size=6, memory_batch_size=4, dtype="float64")

FORMS: dict[str, dict[str, Any]] = {
    "exact_ewc:diagonal": {"form": "diagonal"},
    "exact_ewc:low_rank": {"form": "low_rank", "rank": 3},
    "exact_ewc:rank_0": {"form": "low_rank", "rank": 0},
    "exact_ewc:fixed": {"forgetting": "fixed", "half_life": 100.0},
    "exact_ewc:drift": {"forgetting": "drift"},
    "replay_ewc:empirical": {"fisher": "empirical"},
}
"""Strategies whose settings change what they do, beside those under their defaults."""


@dataclass
class Feed:
    """Every user's rows in order; `step` gives an experience of any users, whatever they had before."""

    psi: dict[str, NDArray[np.float64]]
    scores: dict[str, NDArray[np.float64]]
    done: dict[str, list[int]]

    def step(
        self,
        counts: dict[str, int],
        state: CohortState | None = None,
        memory: CohortState | None = None,
        dtype: torch.dtype = torch.float64,
        device: str | torch.device = "cpu",
    ) -> CohortExperience:
        """The next `counts[user]` rows of each user; `memory` holds their replay memories."""
        users = tuple(counts)
        first = {u: sum(self.done[u]) for u in users}
        new = self._rows(users, {u: np.arange(first[u], first[u] + counts[u]) for u in users})
        step = np.array([len(self.done[u]) for u in users], dtype=np.int64)
        for u in users:
            self.done[u].append(counts[u])
        if memory is None or "memory_seq" not in memory:
            return build_experience(new[0], new[1], step=step, dtype=dtype, device=device)
        numbers, keys = (memory[part].cpu().numpy() for part in MEMORY)
        held = {u: np.sort(numbers[i][numbers[i] >= 0]) - 1 for i, u in enumerate(users)}
        old = self._rows(users, held)
        return build_experience(
            new[0],
            new[1],
            memory=old[0],
            psi_memory=old[1],
            memory_numbers=numbers,
            memory_keys=keys,
            step=step,
            dtype=dtype,
            device=device,
        )

    def _rows(
        self, users: tuple[str, ...], places: dict[str, NDArray[np.int64]]
    ) -> tuple[Rows, NDArray[np.float64]]:
        lengths = [len(places[u]) for u in users]
        rows = Rows(
            users,
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([places[u] + 1 for u in users]).astype(np.int64),
            np.array([f"{u}-{n}" for u in users for n in places[u]], dtype=object),
            np.concatenate([self.scores[u][places[u]] for u in users]).reshape(-1, A),
        )
        return rows, np.concatenate([self.psi[u][places[u]] for u in users]).reshape(-1, A, M)


@pytest.fixture
def make_feed() -> Callable[..., Feed]:
    """A feed of `users` with many rows each; `masked` leaves attributes unrated at random."""

    def make(users: list[str], *, rows: int = 300, masked: bool = False, seed: int = 0) -> Feed:
        rng = np.random.default_rng(seed)
        psi, scores = {}, {}
        for user in users:
            x = rng.normal(size=(rows, A, M))
            x[:, :, 0] = 1.0
            w = rng.normal(size=(A, M)) * 0.5
            y = 5 + np.einsum("nam,am->na", x, w) + 0.5 * rng.normal(size=(rows, A))
            if masked:
                hidden = rng.random((rows, A)) < 0.3
                hidden[:, 0] = False
                y[hidden] = np.nan
            psi[user], scores[user] = x, y
        return Feed(psi, scores, {u: [] for u in users})

    return make


@pytest.fixture
def prior() -> Prior:
    """A prior of M regressors with correlations."""
    rng = np.random.default_rng(5)
    root = rng.normal(size=(A, M, M)) * 0.4
    covariance = np.einsum("amk,ank->amn", root, root) + 0.3 * np.eye(M)
    mean = np.zeros((A, M))
    mean[:, 0], mean[:, 1], mean[:, 2] = 5.0, 0.4, 0.2
    return Prior(mean, covariance, np.array([0.5, 0.8, 1.1]))


@pytest.fixture
def calibration(prior: Prior) -> Prior:
    """Its first three regressors."""
    return Prior(prior.mean[:, :3], prior.covariance[:, :3, :3], prior.noise)


@pytest.fixture(params=[*STRATEGIES, *FORMS])
def name(request: pytest.FixtureRequest) -> str:
    """Every strategy: what takes it is checked on all of them."""
    return str(request.param)


@pytest.fixture
def build(prior: Prior, calibration: Prior) -> Callable[..., Strategy]:
    """(name, **settings): one of STRATEGIES or FORMS."""

    def made(name: str, **settings: Any) -> Strategy:
        config = replace(CONFIG, **FORMS.get(name, {}), **settings)
        return build_strategy(name.partition(":")[0], prior, calibration, config)

    return made
