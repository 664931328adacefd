"""One round: due users -> strategy -> evaluation -> gate -> pack -> store. Read `Retrainer.round`.

A round is a pure function of what it read; all that it changes, it changes in one transaction at its end
(the pack file before it is named by its content, so an orphan is garbage and never wrong). Killed at any
moment, the next round does the same again.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from paaplus import __version__
from paaplus.packs import write_pack
from paaplus.population import Population
from paaplus.promotion import GateThresholds, decide
from paaplus.store import Champion, Release, Store
from paaplus.store.basis import Basis
from paaplus.store.heads import HeadRow, Lease
from paaplus.store.releases import Promotion
from paaplus.triggers import Count, Trigger
from strategies.base import Strategy
from workers.due import due_page
from workers.learning import Learner
from workers.regressors import Regressors
from workers.results import save_results


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did; `release` is None where every due user waits for features."""

    cohort: str
    users: int
    observations: int
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
        basis: Its name in the store.
        thresholds: Of the gate.
        trigger: Says who is due.
        owner: Name of this process, for leases.
        lease_ttl: How long a cohort may take.
        users_per_round: Most users in one round.
        clock: Time of leases, releases and promotions.
        freedom: Of the robust loss; None: every event counts in full.
    """

    def __init__(
        self,
        store: Store,
        artifacts: Path,
        population: Population,
        strategy: Strategy,
        basis: Basis,
        thresholds: GateThresholds,
        trigger: Trigger,
        *,
        owner: str,
        lease_ttl: timedelta,
        users_per_round: int,
        clock: Callable[[], datetime],
        freedom: float | None = None,
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._population = population
        self._basis = basis
        self._thresholds = thresholds
        self._owner = owner
        self._ttl = lease_ttl
        self._limit = users_per_round
        self._clock = clock
        self._regressors = Regressors(store, artifacts, population)
        self._trigger = trigger
        self._learner = Learner(
            store,
            strategy,
            self._regressors,
            basis.experience_size,
            whole=trigger == Count(basis.experience_size),
            freedom=freedom,
        )

    def due(self) -> dict[str, int]:
        """Cohorts with due users, and how many."""
        with self._store.read() as connection:
            return self._store.heads.due_cohorts(connection, self._basis)

    def run(self, after_round: Callable[[Round], None] | None = None) -> list[Round]:
        """Work until nobody is due, or what is due waits for features or is held by others."""
        # What torch and Avalanche have loaded stays: the collector need not walk it in every round, which
        # takes longer than reading the ratings.
        gc.freeze()
        try:
            return self._run(after_round)
        finally:
            gc.unfreeze()

    def _run(self, after_round: Callable[[Round], None] | None) -> list[Round]:
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
        """All whole experiences that wait for the cohort's due users, beginning after the user id `after`.

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
        with self._store.read() as connection:
            due, last_user = due_page(
                self._store, connection, lease.cohort, self._basis, self._trigger,
                after=after, limit=self._limit, now=self._clock(),
            )  # fmt: skip
        if last_user is None:
            return None
        learned = self._learner.learn(due) if due else None
        if learned is None:
            return Round(lease.cohort, 0, 0, 0, None, last_user)

        users = [head.user_id for head in learned.after]
        watermarks = [max(head.served, head.learned) for head in learned.after]
        with self._store.read() as connection:
            held_out = self._store.feedback.held_out(connection, users, watermarks)
            champions = self._store.ledger.champions(connection, users)
        held_out, psi_held_out = self._regressors.of(held_out)
        reports = self._regressors.compare(
            held_out,
            psi_held_out,
            {"challenger": learned.heads.mean, "calibration": learned.calibration.mean},
            champions=champions,
        )
        gate = decide(reports, self._thresholds, undone=self._undone(learned.after, champions))
        pack, pack_rows = write_pack(
            self._artifacts,
            learned.heads,
            users,
            {
                "population": self._population.version,
                "trunk": self._population.trunk,
                "strategy": self._basis.strategy,
                "cohort": lease.cohort,
                "learned": {
                    "from": min(head.learned for head in learned.before),
                    "to": max(watermarks),
                },
                "code": __version__,
            },
        )
        figures = reports.summary() | gate.figures
        figures |= {f"prequential_{name}": n for name, n in learned.prequential.summary().items()}
        save_results(self._artifacts, pack, reports, learned.prequential, gate)
        retracted = {head.user_id: head.retracted for head in learned.after}
        promotions = [
            Promotion(
                user_id=decision.user_id,
                row=pack_rows[decision.user_id],
                seen=champions[decision.user_id].seq if decision.user_id in champions else 0,
                reason=decision.reason,
                figures=decision.figures,
                retracted=retracted[decision.user_id],
            )
            for decision in gate.decisions
            if decision.promote
        ]
        with self._store.write() as connection:
            self._store.heads.write(connection, lease, self._basis, learned.before, learned.after)
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
        return Round(
            lease.cohort, len(users), learned.observations, release.promoted, release, last_user
        )

    def _undone(self, after: list[HeadRow], champions: dict[str, Champion]) -> frozenset[str]:
        """Users whose champion has learned what they took back since, and whose new head has learned
        all the rest."""
        return frozenset(
            head.user_id
            for head in after
            if head.user_id in champions
            and champions[head.user_id].retracted < head.retracted
            and head.ahead < self._basis.experience_size
        )
