"""The ingest transaction against a plain model: every event has exactly one effect."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select

from paaplus.comments import open_analyser
from paaplus.errors import EventError
from paaplus.events import Rating, Retraction, decode_feedback, decode_item
from paaplus.observations import observe
from paaplus.store import Store, StoreSettings, open_store
from paaplus.store.offsets import Arrival, Outcome
from paaplus.store.tables import app_user, feedback

NOW = datetime(2026, 11, 1, tzinfo=UTC)
TIME = "2026-10-31T12:00:00Z"
ITEMS = [f"i{n}" for n in range(8)]


def rating(event: int, user: str, item: str, score: float = 5.0) -> bytes:
    return json.dumps(
        {
            "kind": "rating",
            "schema_version": 1,
            "event_id": str(uuid.UUID(int=event + 1)),
            "user_id": user,
            "occurred_at": TIME,
            "item_id": item,
            "scores": {"appearance": score},
        }
    ).encode()


def other(event: int, user: str, **fields: object) -> bytes:
    common = {"schema_version": 1, "event_id": str(uuid.UUID(int=event + 1)), "occurred_at": TIME}
    return json.dumps(common | {"user_id": user} | fields).encode()


def retraction(event: int, user: str, retracts: int) -> bytes:
    return other(event, user, kind="retraction", retracts=str(uuid.UUID(int=retracts + 1)))


def survey(event: int, user: str) -> bytes:
    return other(event, user, kind="survey", answers={"exercises": "daily"})


def item(item_id: str, number: int, features: list[float]) -> bytes:
    return json.dumps(
        {
            "kind": "item",
            "schema_version": 1,
            "event_id": str(uuid.UUID(int=10**6 + number)),
            "occurred_at": TIME,
            "item_id": item_id,
            "features": features,
        }
    ).encode()


def arrival(topic: str, part: int, off: int, value: bytes) -> Arrival:
    try:
        event = decode_item(value) if topic == "items" else decode_feedback(value)
    except EventError as error:
        return Arrival(topic, part, off, None, value, error)
    found = None if topic == "items" else observe(event, open_analyser())
    return Arrival(topic, part, off, None, value, event, found)


def apply(store: Store, arrivals: list[Arrival]) -> Outcome:
    with store.write() as connection:
        return store.ingest.apply(connection, "test", arrivals, now=NOW)


@contextmanager
def store_with_items(folder: Path, fraction: float = 0.2) -> Iterator[Store]:
    with open_store(f"sqlite:///{folder}/store.db", StoreSettings(fraction)) as store:
        arrivals = [
            arrival("items", 0, n, item(name, n, [float(n), 1.0])) for n, name in enumerate(ITEMS)
        ]
        assert apply(store, arrivals).accepted == len(ITEMS)
        yield store


def test_counts_every_record_once(tmp_path: Path) -> None:
    with store_with_items(tmp_path) as store:
        first = [
            arrival("feedback", 0, 10, rating(1, "ann", "i0")),
            arrival("feedback", 0, 11, rating(1, "ann", "i0")),  # same event again
            arrival("feedback", 0, 12, b"not json"),
            arrival("feedback", 1, 3, rating(2, "bob", "nowhere")),
        ]
        assert apply(store, first) == Outcome(accepted=1, duplicates=1, dead=2)
        again = [*first, arrival("feedback", 0, 20, rating(3, "ann", "i1"))]
        assert apply(store, again) == Outcome(accepted=1, skipped=4)
        with store.read() as connection:
            assert store.offsets.positions(connection, "test", "feedback", [0, 1, 2]) == {
                0: 21,
                1: 4,
                2: 0,
            }
            letters = store.letters.waiting(connection)
        assert [(letter.part, letter.off, letter.error.reason) for letter in letters] == [
            (0, 12, "invalid_json"),
            (1, 3, "unknown_item"),
        ]
        assert letters[0].value == b"not json"


def test_an_item_never_changes(tmp_path: Path) -> None:
    with store_with_items(tmp_path) as store:
        same, other = item("i0", 99, [0.0, 1.0]), item("i0", 98, [9.0, 9.0])
        outcome = apply(store, [arrival("items", 0, 50, same), arrival("items", 0, 51, other)])
        assert outcome == Outcome(duplicates=1, dead=1)
        with store.read() as connection:
            ids, vectors = store.items.features(connection, "given", ["i0"])
            assert store.letters.counts(connection) == {"item_changed": 1}
        assert ids == ["i0"]
        assert vectors.tolist() == [[0.0, 1.0]]


def test_a_crash_before_commit_leaves_nothing(tmp_path: Path) -> None:
    arrivals = [arrival("feedback", 0, 0, rating(1, "ann", "i0"))]
    with store_with_items(tmp_path) as store:
        with pytest.raises(RuntimeError, match="crash"), store.write() as connection:
            store.ingest.apply(connection, "test", arrivals, now=NOW)
            raise RuntimeError("crash")
        assert apply(store, arrivals) == Outcome(accepted=1)


class IngestMachine(RuleBasedStateMachine):
    """Records arrive, arrive again, and transactions die; the store must equal the model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.context = store_with_items(Path(self.folder.name), fraction=0.4)
        self.store = self.context.__enter__()
        self.log: dict[int, list[bytes]] = {0: [], 1: []}  # what was ever appended
        self.done = {0: 0, 1: 0}  # next offset
        self.rows: list[dict[str, Any]] = []  # accepted, in order
        self.seen: dict[int, dict[str, Any]] = {}
        self.outcome = Outcome()

    @initialize()
    def start(self) -> None:
        assert self.store.settings.holdout_fraction == 0.4

    @rule(
        records=st.lists(
            st.tuples(
                st.sampled_from(["ann", "bob", "cy.d", "-"]),
                st.sampled_from([*ITEMS, "ghost"]),
                st.integers(0, 12),
                st.sampled_from(["rating", "rating", "broken", "retraction", "survey"]),
                st.integers(0, 12),
            ),
            max_size=6,
        ),
        part=st.integers(0, 1),
    )
    def append(self, records: list[tuple[str, str, int, str, int]], part: int) -> None:
        for user, item_id, event, kind, target in records:
            if kind == "retraction":
                value = retraction(event, user, target)
            elif kind == "survey":
                value = survey(event, user)
            else:
                value = rating(event, user, item_id)
            # As murmur2 would: a user's records lie in one partition.
            if hash_part(user) == part:
                self.log[part].append(value[:-1] if kind == "broken" else value)

    @rule(
        part=st.integers(0, 1), back=st.integers(0, 4), count=st.integers(1, 8), dies=st.booleans()
    )
    def deliver(self, part: int, back: int, count: int, dies: bool) -> None:
        first = max(0, self.done[part] - back)
        values = self.log[part][first : first + count]
        arrivals = [arrival("feedback", part, first + n, v) for n, v in enumerate(values)]
        if dies:
            with pytest.raises(KeyboardInterrupt), self.store.write() as connection:
                self.store.ingest.apply(connection, "test", arrivals, now=NOW)
                raise KeyboardInterrupt
            return
        got = apply(self.store, arrivals)
        expected = Outcome()
        for n, value in enumerate(values):
            expected += self.expect(part, first + n, value)
        assert got == expected
        self.outcome += Outcome(got.accepted, got.duplicates, got.dead)

    def expect(self, part: int, off: int, value: bytes) -> Outcome:
        if off < self.done[part]:
            return Outcome(skipped=1)
        self.done[part] = off + 1
        try:
            event = decode_feedback(value)
        except EventError:
            return Outcome(dead=1)
        number = event.event_id.int
        if number in self.seen:
            return Outcome(duplicates=1)
        row = {"user": event.user_id, "kind": type(event).__name__, "item": None, "gone": False}
        if isinstance(event, Rating):
            if event.item_id == "ghost":
                return Outcome(dead=1)
            row["item"] = event.item_id
        elif isinstance(event, Retraction):
            target = self.seen.get(event.retracts.int)
            if target is None or target["user"] != event.user_id or target["kind"] == "Retraction":
                return Outcome(dead=1)
            target["gone"] = True
        else:
            for former in self.rows:
                if former["user"] == event.user_id and former["kind"] == "Survey":
                    former["gone"] = True
        self.seen[number] = row
        self.rows.append(row)
        return Outcome(accepted=1)

    @invariant()
    def store_equals_model(self) -> None:
        with self.store.read() as connection:
            rows = connection.execute(select(feedback).order_by(feedback.c.id)).mappings().all()
            users = {r["user_id"]: r for r in connection.execute(select(app_user)).mappings()}
            totals = self.store.offsets.totals(connection)
            read = self.store.feedback.next_observations(
                connection, sorted(users), [0] * len(users), 10**6
            )
        assert [(r["user_id"], r["item_id"]) for r in rows] == [
            (r["user"], r["item"]) for r in self.rows
        ]
        assert [r["retracted_by"] is not None for r in rows] == [r["gone"] for r in self.rows]
        assert totals == self.outcome + Outcome(accepted=len(ITEMS))
        standing = 0
        for user_id, row in users.items():
            mine = [r for r in rows if r["user_id"] == user_id]
            assert [r["seq"] for r in mine] == list(range(1, len(mine) + 1))
            ratings = [r for r in mine if r["kind"] == "rating"]
            for r in ratings:
                assert r["held_out"] == self.store.settings.is_held_out(user_id, r["item_id"])
            numbered = [r for r in mine if r["kind"] != "retraction" and not r["held_out"]]
            assert [r["number"] for r in numbered] == list(range(1, len(numbered) + 1))
            gone = [r for r in numbered if r["retracted_by"] is not None]
            assert row["events"] == len(mine)
            assert row["observations"] == len(numbered)
            assert row["retracted"] == len(gone)
            taught = [r for r in ratings if not r["held_out"] and r["retracted_by"] is None]
            assert row["ratings"] == len(taught)
            assert row["held_out"] == sum(r["held_out"] for r in ratings)
            standing += len(numbered) - len(gone)
        assert len(read.seq) == standing

    def teardown(self) -> None:
        self.context.__exit__(None, None, None)
        self.folder.cleanup()


def hash_part(user: str) -> int:
    return sum(user.encode()) % 2


IngestMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestIngestMachine = IngestMachine.TestCase
