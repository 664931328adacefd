"""The ingest transaction: every event has exactly one effect, through any crash or redelivery.

One call of `Ingest.apply`, inside one transaction of the caller:

1. drop records below the stored offset (a redelivery, or a worker that was frozen),
2. insert the events that are new by `event_id`; duplicates are counted, not stored,
3. insert dead letters, with the events that only the store can refuse (unknown items and events),
4. write the next offset of every partition.

What there is to learn from is numbered per user, 1, 2, 3, …: a head has learned 1 to its watermark. What a
user takes back keeps its number, is never read again, and raises the user's count `retracted`, by which a
head that had learned it is known to be out of date.

Decoding happens before, in `streams.ingest`; committing to Kafka happens after, as advice only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from paaplus.errors import EventError
from paaplus.events import (
    ATTRIBUTES,
    Comment,
    Comparison,
    FeedbackEvent,
    Interaction,
    Item,
    Rating,
    kind_of,
)
from paaplus.store.items import Items, Verdict
from paaplus.store.letters import DeadLetters, Letter
from paaplus.store.offsets import Arrival, Offsets, Outcome
from paaplus.store.retractions import Past, Row
from paaplus.store.settings import StoreSettings
from paaplus.store.sql import chunks, upsert
from paaplus.store.tables import app_user, feedback


class Ingest:
    """Writes arrivals and offsets. Every method runs in the caller's transaction."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._offsets = Offsets()

    def apply(
        self, connection: Connection, source: str, arrivals: Sequence[Arrival], *, now: datetime
    ) -> Outcome:
        """Write one poll's arrivals of one topic. The caller commits.

        Args:
            connection: From `Store.write`.
            source: Name of the log that the offsets belong to.
            arrivals: In offset order within each partition; one topic.
            now: Time of the dead letters.
        """
        if not arrivals:
            return Outcome()
        topic = arrivals[0].topic
        stored = self._offsets.positions(connection, source, topic, {a.part for a in arrivals})
        fresh = [a for a in arrivals if a.off >= stored[a.part]]
        verdicts = self._judge(connection, fresh)
        letters = [
            Letter(source, a.topic, a.part, a.off, a.key, a.value, verdict)
            for a, verdict in zip(fresh, verdicts, strict=True)
            if isinstance(verdict, EventError)
        ]
        DeadLetters().add(connection, letters, now=now)
        counts = [
            (a.part, verdict if isinstance(verdict, str) else "dead")
            for a, verdict in zip(fresh, verdicts, strict=True)
        ]
        self._offsets.advance(connection, source, topic, fresh, Counter(counts))
        total = Counter(name for _, name in counts)
        return Outcome(
            total["accepted"], total["duplicate"], total["dead"], len(arrivals) - len(fresh)
        )

    def _judge(self, connection: Connection, fresh: Sequence[Arrival]) -> list[Verdict]:
        """Write what can be accepted; one verdict per arrival."""
        verdicts: dict[int, Verdict] = {}
        items: dict[int, Item] = {}
        events: dict[int, Arrival] = {}
        for index, arrival in enumerate(fresh):
            if isinstance(arrival.event, EventError):
                verdicts[index] = arrival.event
            elif isinstance(arrival.event, Item):
                items[index] = arrival.event
            else:
                events[index] = arrival
        verdicts.update(zip(items, Items().add(connection, list(items.values())), strict=True))
        added = self._add_feedback(connection, list(events.values()))
        verdicts.update(zip(events, added, strict=True))
        return [verdicts[index] for index in range(len(fresh))]

    def _add_feedback(self, connection: Connection, arrivals: Sequence[Arrival]) -> list[Verdict]:
        events = [a.event for a in arrivals if not isinstance(a.event, Item | EventError)]
        seen = self._seen(connection, [event.event_id.bytes for event in events])
        known = Items().known(connection, {i for event in events for i in _items_of(event)})
        users = self._users(connection, {event.user_id for event in events})
        past = Past(connection, events)
        rows: list[Row] = []
        verdicts: list[Verdict] = []
        for arrival, event in zip(arrivals, events, strict=True):
            unknown = [item_id for item_id in _items_of(event) if item_id not in known]
            if event.event_id.bytes in seen:
                verdicts.append("duplicate")
            elif unknown:
                verdicts.append(_unknown_item(unknown[0]))
            elif (refusal := past.refuses(event)) is not None:
                verdicts.append(refusal)
            else:
                seen.add(event.event_id.bytes)
                user = users[event.user_id]
                rows.append(self._row(event, arrival, user))
                past.add(event, rows[-1], user)
                verdicts.append("accepted")
        if rows:
            connection.execute(insert(feedback), rows)
            past.write(connection)
            changed = {str(row["user_id"]) for row in rows}
            upsert(
                connection,
                app_user,
                [users[user_id] for user_id in sorted(changed)],
                update=["events", "ratings", "held_out", "observations", "retracted"],
            )
        return verdicts

    def _row(self, event: FeedbackEvent, arrival: Arrival, user: dict[str, Any]) -> Row:
        """The feedback row of an event; counts it in its user's numbers."""
        item_ids, found = _items_of(event), arrival.observation
        held_out = any(self._settings.is_held_out(event.user_id, one) for one in item_ids)
        user["events"] += 1
        row: Row = {
            "event_id": event.event_id.bytes,
            "user_id": event.user_id,
            "seq": user["events"],
            "number": None,
            "held_out": held_out,
            "kind": kind_of(event),
            "channel": None if found is None else found.channel,
            "item_id": item_ids[0] if item_ids else None,
            "detail": None if found is None else found.detail,
            "retracted_by": None,
            "occurred_at": event.occurred_at,
            "body": arrival.value,
        }
        row |= zip(ATTRIBUTES, (None,) * 3 if found is None else found.signals, strict=True)
        if held_out:
            user["held_out"] += isinstance(event, Rating)
        elif found is not None:
            user["ratings"] += isinstance(event, Rating)
            user["observations"] += 1
            row["number"] = user["observations"]
        return row

    def _seen(self, connection: Connection, event_ids: Sequence[bytes]) -> set[bytes]:
        found: set[bytes] = set()
        for some in chunks(event_ids):
            query = select(feedback.c.event_id).where(feedback.c.event_id.in_(some))
            found.update(connection.scalars(query))
        return found

    def _users(self, connection: Connection, user_ids: set[str]) -> dict[str, dict[str, Any]]:
        """Counters of the users, new ones at zero."""
        users: dict[str, dict[str, Any]] = {
            user_id: {
                "user_id": user_id,
                "cohort": self._settings.cohort_of(user_id),
                **dict.fromkeys(("events", "ratings", "held_out", "observations", "retracted"), 0),
            }
            for user_id in user_ids
        }
        for some in chunks(sorted(user_ids)):
            query = select(app_user).where(app_user.c.user_id.in_(some))
            for row in connection.execute(query).mappings():
                users[row["user_id"]] = dict(row)
        return users


def _items_of(event: FeedbackEvent) -> tuple[str, ...]:
    """Ids of the items that an event speaks of."""
    if isinstance(event, Comparison):
        return event.item_a, event.item_b
    if isinstance(event, Rating | Comment | Interaction):
        return (event.item_id,)
    return ()


def _unknown_item(item_id: str) -> EventError:
    return EventError(
        "unknown_item",
        "$.item_id",
        f"no item {item_id[:80]!r} has been announced",
        "emit its item event first, then run `paaplus dead-letters redrive`",
    )
