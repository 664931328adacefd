"""Live heads: who is due, who may write, and the one transaction that writes.

A cohort is claimed by a lease, and its new states are written only by the holder of the newest fencing
token, on top of the watermarks that it read. So a retry, a crash or a worker that was frozen past its
lease changes nothing (Kleppmann, "How to do distributed locking", 2016, for the token).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, and_, case, func, select, update

from paaplus.errors import LeaseLostError
from paaplus.store.basis import Basis, is_current, is_due, on_basis, users_with_heads
from paaplus.store.sql import chunks, one_of, upsert
from paaplus.store.tables import app_user, cohort_lease, head_state


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write one cohort until `until`; `fence` rises with every claim."""

    cohort: str
    owner: str
    fence: int
    until: datetime


@dataclass(frozen=True, slots=True)
class HeadRow:
    """One user's live head at rest.

    Attributes:
        user_id: Whose.
        learned: Watermark: observations 1..learned are in the state.
        retracted: How many of the user's observations had been taken back when it was read.
        ahead: Observations that wait beyond the watermark.
        served: Observations 1..served are in the head that was served last: beyond the watermark, if a
            trigger did not wait for a whole experience.
        error: MAE of the newest experience as the live head predicted it before it was learned.
        usual: Mean of that over earlier experiences, and `spread` its standard deviation.
        spread: See `usual`.
        state: float32 vector, little endian, as `strategies.state` lays it out; None before any.
        memory: Replay memory, None where the strategy keeps none.
    """

    user_id: str
    learned: int
    state: bytes | None = None
    memory: bytes | None = None
    retracted: int = 0
    ahead: int = 0
    served: int = 0
    error: float | None = None
    usual: float | None = None
    spread: float | None = None


_ERRORS = ("error", "usual", "spread")


class HeadStates:
    """Reads and writes live heads. Every method runs in the caller's transaction."""

    def due_cohorts(self, connection: Connection, basis: Basis) -> dict[str, int]:
        """Cohorts with users who have enough waiting, and how many."""
        query = (
            select(app_user.c.cohort, func.count())
            .select_from(users_with_heads())
            .where(is_due(basis))
            .group_by(app_user.c.cohort)
            .order_by(app_user.c.cohort)
        )
        return {str(cohort): int(count) for cohort, count in connection.execute(query)}

    def due_heads(
        self,
        connection: Connection,
        cohort: str,
        basis: Basis,
        *,
        after: str = "",
        limit: int = 1024,
    ) -> list[HeadRow]:
        """Heads of the cohort's due users by user id, beginning after the id `after`.

        A user without a head, or with one on another basis, has `learned` 0 and no state.
        """
        current = is_current(basis)
        learned = case((current, head_state.c.learned), else_=0)
        columns: list[Any] = [
            app_user.c.user_id,
            learned,
            *(case((current, head_state.c[name]), else_=None) for name in ("state", "memory")),
            app_user.c.retracted,
            app_user.c.observations - learned,
            case((current, head_state.c.served), else_=0),
            *(case((current, head_state.c[name]), else_=None) for name in _ERRORS),
        ]
        query = (
            select(*columns)
            .select_from(users_with_heads())
            .where(app_user.c.cohort == cohort, app_user.c.user_id > after, is_due(basis))
            .order_by(app_user.c.user_id)
            .limit(limit)
        )
        return [HeadRow(*row) for row in connection.execute(query)]

    def head(self, connection: Connection, user_id: str) -> tuple[HeadRow, str, str] | None:
        """A user's live head with its population version and strategy; None if there is none."""
        query = select(head_state).join(
            app_user,
            and_(
                app_user.c.cohort == head_state.c.cohort, app_user.c.user_id == head_state.c.user_id
            ),
        )
        row = connection.execute(query.where(app_user.c.user_id == user_id)).mappings().first()
        if row is None:
            return None
        names = ("learned", "state", "memory", "retracted", "served", *_ERRORS)
        head = HeadRow(user_id, **{name: row[name] for name in names})
        return head, row["population"], row["strategy"]

    def claim(
        self, connection: Connection, cohort: str, owner: str, *, now: datetime, ttl: timedelta
    ) -> Lease | None:
        """Take the cohort, if nobody holds it or the holder's time is over."""
        query = select(cohort_lease).where(cohort_lease.c.cohort == cohort).with_for_update()
        row = connection.execute(query).mappings().first()
        if row is not None and row["until"] is not None and row["until"] > now:
            return None
        lease = Lease(cohort, owner, (row["fence"] if row else 0) + 1, now + ttl)
        values = {
            "cohort": cohort,
            "owner": owner,
            "until": lease.until,
            "fence": lease.fence,
        }
        upsert(connection, cohort_lease, [values], update=["owner", "until", "fence"])
        return lease

    def hold(self, connection: Connection, lease: Lease) -> None:
        """Lock the lease row and make sure that the lease is still ours.

        Raises:
            LeaseLostError: Another worker has claimed the cohort since.
        """
        query = select(cohort_lease.c.fence).where(cohort_lease.c.cohort == lease.cohort)
        fence = connection.execute(query.with_for_update()).scalar()
        if fence != lease.fence:
            raise LeaseLostError(
                f"cohort {lease.cohort}: fence {lease.fence} was overtaken by {fence}",
                "nothing was written and nothing is lost; raise `lease_seconds` if it happens often",
            )

    def release(self, connection: Connection, lease: Lease) -> None:
        """Give the cohort back, unless somebody else has it by now."""
        connection.execute(
            update(cohort_lease)
            .where(cohort_lease.c.cohort == lease.cohort, cohort_lease.c.fence == lease.fence)
            .values(owner=None, until=None)
        )

    def write(
        self,
        connection: Connection,
        lease: Lease,
        basis: Basis,
        before: Sequence[HeadRow],
        after: Sequence[HeadRow],
    ) -> None:
        """Replace the states that were read by the new ones.

        Args:
            connection: From `Store.write`; the caller commits.
            lease: Under which `before` was read.
            basis: What the states were made with.
            before: As `due_heads` gave them.
            after: One per row of `before`, in its order.

        Raises:
            LeaseLostError: The lease, or a watermark, has moved on; nothing was written.
        """
        self.hold(connection, lease)
        stored = self._watermarks(connection, lease.cohort, basis, before)
        moved = [row.user_id for row in before if stored.get(row.user_id, 0) != row.learned]
        if moved:
            raise LeaseLostError(
                f"cohort {lease.cohort}: the watermark of {len(moved)} users moved under the lease",
                "nothing was written; run the round again",
            )
        rows = [
            {
                "cohort": lease.cohort,
                "user_id": row.user_id,
                "population": basis.population,
                "strategy": basis.strategy,
                "learned": row.learned,
                "fence": lease.fence,
                "retracted": row.retracted,
                "served": max(row.served, row.learned),
                "error": row.error,
                "usual": row.usual,
                "spread": row.spread,
                "state": row.state or b"",
                "memory": row.memory,
            }
            for row in after
        ]
        columns = [name for name in rows[0] if name not in ("cohort", "user_id")] if rows else []
        upsert(connection, head_state, rows, update=columns)

    def _watermarks(
        self, connection: Connection, cohort: str, basis: Basis, before: Sequence[HeadRow]
    ) -> dict[str, int]:
        retracted = {row.user_id: row.retracted for row in before}
        found: dict[str, int] = {}
        for some in chunks(retracted):
            query = select(
                head_state.c.user_id, head_state.c.learned, head_state.c.retracted
            ).where(
                head_state.c.cohort == cohort,
                one_of(connection, head_state.c.user_id, some),
                on_basis(basis),
            )
            found.update((u, n) for u, n, r in connection.execute(query) if r == retracted[u])
        return found

    def not_yet_learned(self, connection: Connection, basis: Basis | None) -> int:
        """Observations that no served head has learned: they wait for a trigger, or a population model."""
        learned = 0 if basis is None else case((is_current(basis), head_state.c.served), else_=0)
        waiting = func.coalesce(func.sum(app_user.c.observations - learned), 0)
        query = select(waiting).select_from(users_with_heads())
        return int(connection.execute(query).scalar_one())
