"""One round: due users -> strategy -> evaluation -> gate -> pack -> store. Read `Retrainer.round`.

A round is a pure function of what it read; all that it changes, it changes in one transaction at its end
(the pack file before it is named by its content, so an orphan is garbage and never wrong). Killed at any
moment, the next round does the same again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from paaplus import __version__
from paaplus.evaluation import UserReports, evaluate
from paaplus.heads import HIGHEST, LOWEST, Heads
from paaplus.packs import PackStore, population_path, write_pack
from paaplus.population import Population, load_population
from paaplus.promotion import GateResult, GateThresholds, decide
from paaplus.store import Champion, Release, Rows, Store
from paaplus.store.heads import Basis, HeadRow, Lease
from paaplus.store.ledger import Promotion
from strategies.base import Strategy
from strategies.state import CohortState, flatten, unflatten
from streams.experiences import build_experience
from workers.memory import decode_memories, encode_memory
from workers.mirror import results_path


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did; `release` is None where every due user waits for features."""

    cohort: str
    users: int
    ratings: int
    promoted: int
    release: Release | None
    last_user: str


class Retrainer:
    """Trains cohorts. Several may work on one store, each in its own process.

    Args:
        store: The truth.
        artifacts: Folder of packs and results.
        population: The current population model.
        strategy: Built on it.
        basis: Its name in the store; says when a user is due.
        thresholds: Of the gate.
        owner: Name of this process, for leases.
        lease_ttl: How long a cohort may take.
        users_per_round: Most users in one round.
        clock: Time of leases, releases and promotions.
    """

    def __init__(
        self,
        store: Store,
        artifacts: Path,
        population: Population,
        strategy: Strategy,
        basis: Basis,
        thresholds: GateThresholds,
        *,
        owner: str,
        lease_ttl: timedelta,
        users_per_round: int,
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._population = population
        self._strategy = strategy
        self._basis = basis
        self._thresholds = thresholds
        self._owner = owner
        self._ttl = lease_ttl
        self._limit = users_per_round
        self._clock = clock
        self._packs = PackStore(artifacts)
        self._former: dict[str, Population] = {}

    def due(self) -> dict[str, int]:
        """Cohorts with due users, and how many."""
        with self._store.read() as connection:
            return self._store.heads.due_cohorts(connection, self._basis)

    def run(self, after_round: Callable[[Round], None] | None = None) -> list[Round]:
        """Work until nobody is due, or what is due waits for features or is held by others."""
        done: list[Round] = []
        progressed = True
        while progressed:
            progressed = False
            for cohort in self.due():
                last_user = ""
                while (result := self.round(cohort, after=last_user)) is not None:
                    last_user = result.last_user
                    if result.release is not None:
                        progressed = True
                        done.append(result)
                        if after_round is not None:
                            after_round(result)
        return done

    def round(self, cohort: str, *, after: str = "") -> Round | None:
        """The next experience of the cohort's due users, beginning after the user id `after`.

        Returns:
            What was done; None if nobody is due, or another process holds the cohort.

        Raises:
            LeaseLostError: The round took longer than its lease; nothing was written.
        """
        with self._store.write() as connection:
            lease = self._store.heads.claim(
                connection, cohort, self._owner, now=self._clock(), ttl=self._ttl
            )
        if lease is None:
            return None
        try:
            return self._round(lease, after)
        finally:
            with self._store.write() as connection:
                self._store.heads.release(connection, lease)

    def _round(self, lease: Lease, after: str) -> Round | None:
        size = self._basis.experience_size
        with self._store.read() as connection:
            due = self._store.heads.due_heads(
                connection, lease.cohort, self._basis, after=after, limit=self._limit
            )
            if not due:
                return None
            last_user = due[-1].user_id
            before = self._ready(due, size)
            users = [head.user_id for head in before]
            learned = [head.learned for head in before]
            numbers, keys = decode_memories([head.memory for head in before])
            new = self._store.feedback.next_ratings(connection, users, learned, size)
            memory = self._store.feedback.ratings_by_number(connection, users, numbers)
            held_out = self._store.feedback.held_out(
                connection, users, [done + size for done in learned]
            )
            champions = self._store.ledger.champions(connection, users)
        if not users:
            return Round(lease.cohort, 0, 0, 0, None, last_user)

        new, psi_new = self._with_rows(new)
        memory, psi_memory = self._with_rows(memory)
        experience = build_experience(
            new,
            psi_new,
            memory=memory,
            psi_memory=psi_memory,
            memory_numbers=numbers,
            memory_keys=keys,
            step=np.array(learned, dtype=np.int64) // size,
            dtype=self._strategy.dtype,
        )
        old_state = self._gather(before, numbers, keys)
        live = {"live": self._strategy.heads(old_state)}
        prequential = self._evaluate(new, psi_new, live)

        state = self._strategy.train(experience, old_state)

        calibration = self._strategy.calibration(state)
        challenger = self._strategy.heads(state)
        held_out, psi_held_out = self._with_rows(held_out)
        reports = self._evaluate(
            held_out,
            psi_held_out,
            {"challenger": challenger, "calibration": calibration},
            champions={user_id: champions[user_id] for user_id in users if user_id in champions},
        )
        gate = decide(reports, self._thresholds)
        after_rows = self._scatter(before, state, size)
        pack, pack_rows = write_pack(
            self._artifacts,
            challenger,
            users,
            {
                "population": self._population.version,
                "trunk": self._population.trunk,
                "strategy": self._basis.strategy,
                "cohort": lease.cohort,
                "learned": {"from": min(learned), "to": max(learned) + size},
                "code": __version__,
            },
        )
        figures = reports.summary() | gate.figures
        figures |= {f"prequential_{name}": n for name, n in prequential.summary().items()}
        self._save_results(pack, reports, prequential, gate)
        promotions = [
            Promotion(
                user_id=decision.user_id,
                row=pack_rows[decision.user_id],
                seen=champions[decision.user_id].seq if decision.user_id in champions else 0,
                reason=decision.reason,
                figures=decision.figures,
            )
            for decision in gate.decisions
            if decision.promote
        ]
        with self._store.write() as connection:
            self._store.heads.write(connection, lease, self._basis, before, after_rows)
            release, _conflicts = self._store.ledger.publish(
                connection,
                promotions,
                cohort=lease.cohort,
                pack=pack,
                population=self._population.version,
                strategy=self._basis.strategy,
                users=len(users),
                figures=figures,
                now=self._clock(),
            )
        return Round(lease.cohort, len(users), len(new.seq), release.promoted, release, last_user)

    def _ready(self, due: Sequence[HeadRow], size: int) -> list[HeadRow]:
        """Those whose next experience has no item that still waits for its features."""
        users = [head.user_id for head in due]
        with self._store.read() as connection:
            rows = self._store.feedback.next_ratings(
                connection, users, [head.learned for head in due], size
            )
            waiting = self._store.items.waiting(connection, rows.item_ids)
        blocked = {
            users[u]
            for u in range(len(users))
            if waiting.intersection(rows.item_ids[rows.start[u] : rows.start[u + 1]])
        }
        return [head for head in due if head.user_id not in blocked]

    def _with_rows(self, rows: Rows) -> tuple[Rows, NDArray[np.float64]]:
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

    def _gather(
        self, heads: Sequence[HeadRow], numbers: NDArray[np.int64], keys: NDArray[np.float64]
    ) -> CohortState:
        """Stack states at rest; a user without one starts from the population's."""
        dtype, layout = self._strategy.dtype, self._strategy.layout
        state = self._strategy.initial_state(len(heads))
        vectors = flatten(state, layout)
        for u, head in enumerate(heads):
            if head.state is not None:
                vectors[u] = np.frombuffer(head.state, dtype="<f4")
        stacked = unflatten(vectors, layout, dtype=dtype)
        if "memory_seq" in state:
            stacked["memory_seq"] = torch.from_numpy(numbers)
            stacked["memory_key"] = torch.from_numpy(keys)
        # A new user's exact start, not its rounding at rest.
        for u, head in enumerate(heads):
            if head.state is None:
                for name in layout:
                    stacked[name][u] = state[name][u]
        return stacked

    def _scatter(self, before: Sequence[HeadRow], state: CohortState, size: int) -> list[HeadRow]:
        """States at rest after the round."""
        vectors = flatten(state, self._strategy.layout).astype("<f4")
        memories: list[bytes | None] = [None] * len(before)
        if "memory_seq" in state:
            pairs = zip(state["memory_seq"].numpy(), state["memory_key"].numpy(), strict=True)
            memories = [encode_memory(numbers, keys) for numbers, keys in pairs]
        return [
            HeadRow(head.user_id, head.learned + size, vector.tobytes(), memory)
            for head, vector, memory in zip(before, vectors, memories, strict=True)
        ]

    def _evaluate(
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

    def _save_results(
        self, pack: str, reports: UserReports, prequential: UserReports, gate: GateResult
    ) -> None:
        """Per-user results beside the pack, for MLflow."""
        frame = pd.DataFrame({"user_id": reports.user_ids, "heldout_scores": reports.count})
        for name, values in reports.absolute.items():
            frame[f"heldout_mae_{name}"] = values
        for name, values in prequential.absolute.items():
            frame[f"prequential_mae_{name}"] = values
        frame["promoted"] = [decision.promote for decision in gate.decisions]
        frame["reason"] = [decision.reason for decision in gate.decisions]
        path = results_path(self._artifacts, pack)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        frame.to_parquet(part, index=False)
        part.replace(path)


def _scores(psi: NDArray[np.float64], mean: NDArray[np.floating]) -> NDArray[np.float64]:
    """Scores [n, A] of rows [n, A, m] under weights [n, A, m' <= m], on 0..10."""
    scores: NDArray[np.float64] = np.einsum("nam,nam->na", psi[:, :, : mean.shape[2]], mean)
    return np.clip(scores, LOWEST, HIGHEST)
