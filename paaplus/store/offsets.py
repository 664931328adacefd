"""Where each log's readers stand, and what became of the records up to there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from paaplus.errors import EventError
from paaplus.events import FeedbackEvent, Item
from paaplus.observations import Observation
from paaplus.store.sql import upsert
from paaplus.store.tables import ingest_offset


@dataclass(frozen=True, slots=True)
class Arrival:
    """One record of the log, decoded or refused.

    Attributes:
        topic: Topic, `part` partition and `off` offset of the record in its log.
        part: See `topic`.
        off: See `topic`.
        key: The record's key as it came.
        value: The record's bytes as they came.
        event: What the bytes say, or why they are no event.
        observation: What there is to learn from it, if anything.
    """

    topic: str
    part: int
    off: int
    key: bytes | None
    value: bytes
    event: FeedbackEvent | Item | EventError
    observation: Observation | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one call did; `skipped` records lay below the stored offset."""

    accepted: int = 0
    duplicates: int = 0
    dead: int = 0
    skipped: int = 0

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.accepted + other.accepted,
            self.duplicates + other.duplicates,
            self.dead + other.dead,
            self.skipped + other.skipped,
        )


class Offsets:
    """Positions and counts per partition. Every method runs in the caller's transaction."""

    def positions(
        self, connection: Connection, source: str, topic: str, parts: Iterable[int]
    ) -> dict[int, int]:
        """Next offset to read of each partition; 0 where nothing was read yet."""
        rows = connection.execute(
            select(ingest_offset.c.part, ingest_offset.c.next_offset)
            .where(ingest_offset.c.source == source, ingest_offset.c.topic == topic)
            .with_for_update()  # PostgreSQL: the offset row is the fence between workers
        ).all()
        found = {int(part): int(offset) for part, offset in rows}
        return {part: found.get(part, 0) for part in parts}

    def totals(self, connection: Connection) -> Outcome:
        """Accepted, duplicate and dead records since the store was made, over all logs."""
        total = Outcome()
        columns = ingest_offset.c.accepted, ingest_offset.c.duplicates, ingest_offset.c.dead
        for accepted, duplicates, dead in connection.execute(select(*columns)):
            total += Outcome(accepted, duplicates, dead)
        return total

    def advance(
        self,
        connection: Connection,
        source: str,
        topic: str,
        fresh: Sequence[Arrival],
        counts: Counter[tuple[int, str]],
    ) -> None:
        """Write the next offset, and add to the counts, of every partition that is in `fresh`."""
        following: dict[int, int] = {}
        for arrival in fresh:
            following[arrival.part] = max(following.get(arrival.part, 0), arrival.off + 1)
        before = {
            int(row["part"]): row
            for row in connection.execute(
                select(ingest_offset).where(
                    ingest_offset.c.source == source, ingest_offset.c.topic == topic
                )
            ).mappings()
        }
        columns = {"accepted": "accepted", "duplicates": "duplicate", "dead": "dead"}
        rows = [
            {"source": source, "topic": topic, "part": part, "next_offset": offset}
            | {
                column: (before[part][column] if part in before else 0) + counts[part, name]
                for column, name in columns.items()
            }
            for part, offset in following.items()
        ]
        upsert(connection, ingest_offset, rows, update=["next_offset", *columns])
