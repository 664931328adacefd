"""Simulated events as records of the log: their ids and times, their bytes, and how many there must be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import numpy as np

from paaplus.events import FeedbackEvent, Item, Rating, encode, partition_key
from workers.other_events import broken_events

TWICE = 0.005
"""Duplicates per event."""

NAMESPACE = UUID("6f2b7a52-6a0e-5c52-8d3c-0b6b0f0f7d11")
"""Of the event ids made here."""

Message = tuple[bytes, bytes]
"""Key and value of a record."""


@dataclass(slots=True)
class Expected:
    """What a faithful ingest must count.

    Attributes:
        accepted: Valid events, items among them.
        duplicates: Events that came again.
        dead: Events that must become dead letters; `reasons` = how many by reason.
        reasons: See `dead`.
        kinds: Accepted events by kind.
    """

    accepted: int = 0
    duplicates: int = 0
    dead: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    kinds: dict[str, int] = field(default_factory=dict)


class Records:
    """Records of one world's events.

    Args:
        world: Name of the world; event ids follow from it.
        start: Time of the first event, with zone.

    Attributes:
        expected: Counts of the records made.
    """

    def __init__(self, world: str, start: datetime) -> None:
        self._world, self._start = world, start
        self.expected = Expected()

    def item(self, item_id: str) -> dict[str, Any]:
        """The fields of every item event."""
        event_id = uuid5(NAMESPACE, f"{self._world}/{item_id}")
        return {
            "event_id": event_id,
            "occurred_at": self._start,
            "schema_version": 1,
            "item_id": item_id,
        }

    def envelope(self, number: int, name: str, *, minutes: float) -> dict[str, Any]:
        """The fields of every event of feedback.

        Args:
            number: The day.
            name: No other event of that day has it; the id follows from it.
            minutes: Time of that day, from the hour of the start.
        """
        return {
            "event_id": uuid5(NAMESPACE, f"{self._world}/{number}/{name}"),
            "occurred_at": self._start + timedelta(days=number, minutes=minutes),
            "schema_version": 1,
        }

    def of(self, event: FeedbackEvent | Item) -> Message:
        """The record of a valid event that has not been sent before."""
        kind = type(event).__name__.lower()
        self.expected.accepted += 1
        self.expected.kinds[kind] = self.expected.kinds.get(kind, 0) + 1
        return partition_key(event), encode(event)

    def of_day(
        self, events: Iterable[FeedbackEvent], rng: np.random.Generator
    ) -> Iterator[Message]:
        """Records in the order of time; the first comes twice, and now and then another."""
        for n, event in enumerate(sorted(events, key=lambda event: event.occurred_at)):
            yield self.of(event)
            if n == 0 or rng.random() < TWICE:
                self.expected.duplicates += 1
                yield partition_key(event), encode(event)

    def broken(self, good: Rating) -> Iterator[Message]:
        """One record of each of several sorts of broken, made from a rating that is not sent itself."""
        for reason, key, value in broken_events(good):
            self.expected.dead += 1
            self.expected.reasons[reason] = self.expected.reasons.get(reason, 0) + 1
            yield key, value
