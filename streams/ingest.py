"""From the log into the store: poll, decode, one transaction, then advice to the log.

Items are read to their end after each poll of feedback and before its transaction. So an item that was
announced before somebody rated it is known when the rating is judged, on any broker, although topics
have no common order. Every process reads all items; feedback is shared out by consumer group.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Self

from paaplus.comments import Analyser, open_analyser
from paaplus.errors import CommentError, EventError
from paaplus.events import FeedbackEvent, Item, check_time, decode_feedback, decode_item
from paaplus.observations import observe
from paaplus.store import Store
from paaplus.store.offsets import Arrival, Outcome
from streams.log import EventLog, Record
from streams.topics import FEEDBACK, ITEMS

GROUP = "paaplus-ingest"

ITEM_PATIENCE_S = 5.0
"""How long items may fail to arrive before their end: a compacted topic may end in records that no
reader is shown, so its end offset is not always reached."""


def decode(record: Record, *, clock: Callable[[], datetime]) -> FeedbackEvent | Item | EventError:
    """What a record says, or why it is no event. Never raises.

    A time after the record's own (or, where the log keeps none, after `clock()`) is refused, so a
    replay judges an event as the first reading did.
    """
    try:
        if record.topic == ITEMS:
            event: FeedbackEvent | Item = decode_item(record.value)
        else:
            event = decode_feedback(record.value, key=record.key)
        stamp = record.timestamp_ms
        arrived = clock() if stamp is None else _EPOCH + timedelta(milliseconds=stamp)
        check_time(event, not_after=arrived)
    except EventError as error:
        return error
    return event


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Ingestor:
    """One process's share of ingest. Not thread-safe; use it as a context manager.

    Args:
        log: Where events come from; stays the caller's to close.
        store: Where they go.
        group: Consumer group, where the log has such.
        max_records: Most records in one transaction.
        analyser: Reads comments; None: the default.
        clock: Time of dead letters, and of records without a time of their own.
    """

    def __init__(
        self,
        log: EventLog,
        store: Store,
        *,
        group: str = GROUP,
        max_records: int = 2000,
        analyser: Analyser | None = None,
        clock: Callable[[], datetime],
    ) -> None:
        self._log = log
        self._store = store
        self._analyser = analyser or open_analyser()
        self._max_records = max_records
        self._clock = clock
        self._items_end: dict[int, int] = {}
        self._items = log.consumer(ITEMS, positions=self._positions, group=None)
        try:
            self._feedback = log.consumer(FEEDBACK, positions=self._positions, group=group)
        except BaseException:
            self._items.close()
            raise

    def step(self, timeout_ms: int = 300) -> Outcome:
        """Take at most one transaction's worth of feedback, and all items before it."""
        records = self._feedback.poll(self._max_records, timeout_ms)
        try:
            outcome = self._read_items()
            outcome += self._apply(FEEDBACK, records)
        except BaseException:
            # Nothing was committed for these records: read them again, or they would be lost.
            parts = {record.partition for record in records}
            if parts:
                self._feedback.seek(self._positions(FEEDBACK, sorted(parts)))
            raise
        if records:
            self._feedback.commit(_following(records))
        return outcome

    def drain(self, progress: Callable[[Outcome], None] | None = None) -> Outcome:
        """Step until everything that lay in the log when this began has been taken."""
        ends = self._log.end_offsets(FEEDBACK)
        total = Outcome()
        idle_since: float | None = None
        while True:
            outcome = self.step()
            total += outcome
            if progress is not None:
                progress(total)
            position = self._positions(FEEDBACK, sorted(ends))
            if all(position[part] >= end for part, end in ends.items()):
                return total
            if outcome != Outcome():
                idle_since = None
            elif idle_since is None:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > 2 * ITEM_PATIENCE_S:
                return total  # the rest belongs to other members of the group

    def close(self) -> None:
        """Leave the consumer group."""
        self._feedback.close()
        self._items.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _read_items(self) -> Outcome:
        ends = self._log.end_offsets(ITEMS)
        total = Outcome()
        if ends == self._items_end:
            return total
        position = self._positions(ITEMS, sorted(ends))
        deadline = time.monotonic() + ITEM_PATIENCE_S
        while any(position[part] < end for part, end in ends.items()):
            records = self._items.poll(self._max_records, 300)
            if records:
                total += self._apply(ITEMS, records)
                self._items.commit(_following(records))
                position |= _following(records)
                deadline = time.monotonic() + ITEM_PATIENCE_S
            elif time.monotonic() > deadline:
                break
        self._items_end = ends
        return total

    def _apply(self, topic: str, records: Sequence[Record]) -> Outcome:
        if not records:
            return Outcome()
        arrivals = [self._arrival(record) for record in records]
        with self._store.write() as connection:
            return self._store.ingest.apply(connection, self._log.url, arrivals, now=self._clock())

    def _arrival(self, r: Record) -> Arrival:
        event, found = decode(r, clock=self._clock), None
        if not isinstance(event, Item | EventError):
            try:
                found = observe(event, self._analyser)
            except CommentError as error:
                event = EventError("unreadable_text", "$.text", error.message, error.remedy)
        return Arrival(r.topic, r.partition, r.offset, r.key, r.value, event, found)

    def _positions(self, topic: str, parts: Sequence[int]) -> dict[int, int]:
        """The store's offsets; called by Kafka's reading thread on assignment, so self-contained."""
        with self._store.read() as connection:
            return self._store.offsets.positions(connection, self._log.url, topic, parts)


def lag(log: EventLog, store: Store) -> dict[str, int]:
    """Records of each topic that the store has not taken yet; joins no consumer group."""
    lags: dict[str, int] = {}
    for topic in (FEEDBACK, ITEMS):
        ends = log.end_offsets(topic)
        with store.read() as connection:
            position = store.offsets.positions(connection, log.url, topic, sorted(ends))
        lags[topic] = sum(max(0, end - position[part]) for part, end in ends.items())
    return lags


def _following(records: Sequence[Record]) -> dict[int, int]:
    """Next offset of each partition after these records."""
    following: dict[int, int] = {}
    for record in records:
        following[record.partition] = max(following.get(record.partition, 0), record.offset + 1)
    return following
