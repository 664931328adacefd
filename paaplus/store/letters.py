"""Dead letters: bytes that could not be accepted, whole, with the reason and the remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from paaplus.errors import EventError
from paaplus.store.tables import dead_letter


@dataclass(frozen=True, slots=True)
class Letter:
    """One refused record.

    Attributes:
        source: The log it came from; `topic`, `part`, `off` are its position there.
        topic: See `source`.
        part: See `source`.
        off: See `source`.
        key: The record's key as it came.
        value: The record's bytes as they came.
        error: Why it was refused.
        id: Number of the letter; None before it is written.
    """

    source: str
    topic: str
    part: int
    off: int
    key: bytes | None
    value: bytes
    error: EventError
    id: int | None = None


class DeadLetters:
    """Keeps refused records until they are redriven. Runs in the caller's transaction."""

    def add(self, connection: Connection, letters: Sequence[Letter], *, now: datetime) -> None:
        """Write letters."""
        if not letters:
            return
        rows = [
            {
                "source": letter.source,
                "topic": letter.topic,
                "part": letter.part,
                "off": letter.off,
                "key": letter.key,
                "value": letter.value,
                "reason": letter.error.reason,
                "field": letter.error.field,
                "message": letter.error.message,
                "remedy": letter.error.remedy,
                "at": now,
            }
            for letter in letters
        ]
        connection.execute(insert(dead_letter), rows)

    def waiting(
        self, connection: Connection, *, reason: str | None = None, limit: int = 100
    ) -> list[Letter]:
        """Letters not yet redriven, oldest first."""
        query = select(dead_letter).where(dead_letter.c.redriven_at.is_(None))
        if reason is not None:
            query = query.where(dead_letter.c.reason == reason)
        rows = connection.execute(query.order_by(dead_letter.c.id).limit(limit)).mappings()
        return [_letter(row) for row in rows]

    def counts(self, connection: Connection) -> dict[str, int]:
        """Letters not yet redriven, by reason."""
        query = (
            select(dead_letter.c.reason, func.count())
            .where(dead_letter.c.redriven_at.is_(None))
            .group_by(dead_letter.c.reason)
            .order_by(dead_letter.c.reason)
        )
        return {str(reason): int(count) for reason, count in connection.execute(query)}

    def mark_redriven(self, connection: Connection, ids: Sequence[int], *, now: datetime) -> None:
        """Note that these were put back into the log."""
        connection.execute(
            update(dead_letter).where(dead_letter.c.id.in_(ids)).values(redriven_at=now)
        )


def _letter(row: Mapping[Any, Any]) -> Letter:
    error = EventError(
        str(row["reason"]),
        str(row["field"]),
        str(row["message"]).removeprefix(f"{row['field']}: "),
        str(row["remedy"]),
    )
    key, value = row["key"], row["value"]
    assert key is None or isinstance(key, bytes)
    assert isinstance(value, bytes)
    return Letter(
        str(row["source"]),
        str(row["topic"]),
        int(str(row["part"])),
        int(str(row["off"])),
        key,
        value,
        error,
        int(str(row["id"])),
    )
