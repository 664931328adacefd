"""What users take back: their own events by a retraction, an earlier survey by a newer one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from paaplus.errors import EventError
from paaplus.events import FeedbackEvent, Retraction, Survey, kind_of
from paaplus.store.sql import chunks
from paaplus.store.tables import feedback

Row = dict[str, Any]
"""A row of the table `feedback` by column."""

_COLUMNS = tuple(
    feedback.c[name] for name in ("event_id", "user_id", "seq", "number", "kind", "retracted_by")
)


class Past:
    """The events that a batch of arrivals may take back, those of the batch itself among them.

    Args:
        connection: Of the ingest transaction.
        events: The batch.
    """

    def __init__(self, connection: Connection, events: Sequence[FeedbackEvent]) -> None:
        self._rows: dict[bytes, Row] = {}
        self._surveys: dict[str, list[Row]] = defaultdict(list)
        self._changed: list[Row] = []
        wanted = {e.retracts.bytes for e in events if isinstance(e, Retraction)}
        users = {e.user_id for e in events if isinstance(e, Survey)}
        for some in chunks(sorted(wanted)):
            self._load(connection, feedback.c.event_id.in_(some))
        for names in chunks(sorted(users)):
            self._load(connection, (feedback.c.kind == "survey") & feedback.c.user_id.in_(names))

    def refuses(self, event: FeedbackEvent) -> EventError | None:
        """Why a retraction has nothing to take back; None if it has, or the event is none."""
        if not isinstance(event, Retraction):
            return None
        row = self._rows.get(event.retracts.bytes)
        if row is None or row["user_id"] != event.user_id:
            return EventError(
                "unknown_event",
                "$.retracts",
                f"user {event.user_id!r} has no accepted event {event.retracts}",
                "retract by the event_id of the user's own event; if that is a dead letter, mend it "
                "first, then run `paaplus dead-letters redrive`",
            )
        if row["kind"] == kind_of(event):
            return EventError(
                "not_retractable",
                "$.retracts",
                f"event {event.retracts} is a retraction itself",
                "send the feedback again under a new event_id",
            )
        return None

    def add(self, event: FeedbackEvent, row: Row, user: dict[str, Any]) -> None:
        """Note an accepted event and carry out what it takes back; counts it in its user's numbers."""
        self._rows[row["event_id"]] = row
        if isinstance(event, Retraction):
            self._take_back(self._rows[event.retracts.bytes], row["seq"], user)
        elif isinstance(event, Survey) and row["number"] is not None:
            for former in self._surveys[event.user_id]:
                self._take_back(former, row["seq"], user)
            self._surveys[event.user_id] = [row]

    def write(self, connection: Connection) -> None:
        """Mark the rows that were taken back."""
        if self._changed:
            mark = update(feedback).where(feedback.c.event_id == bindparam("taken"))
            connection.execute(
                mark.values(retracted_by=bindparam("by")),
                [{"taken": row["event_id"], "by": row["retracted_by"]} for row in self._changed],
            )

    def _take_back(self, row: Row, by: int, user: dict[str, Any]) -> None:
        if row["retracted_by"] is not None:
            return
        row["retracted_by"] = by
        self._changed.append(row)
        if row["number"] is not None:
            user["retracted"] += 1
            user["ratings"] -= row["kind"] == "rating"

    def _load(self, connection: Connection, which: Any) -> None:
        for found in connection.execute(select(*_COLUMNS).where(which)).mappings():
            row = dict(found)
            row = self._rows.setdefault(row["event_id"], row)
            taught = row["number"] is not None and row["retracted_by"] is None
            if row["kind"] == "survey" and taught:
                self._surveys[row["user_id"]].append(row)
