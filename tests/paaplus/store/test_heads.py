"""Leases, fences and watermarks: a retry, a second worker or a zombie changes nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from paaplus.comments import open_analyser
from paaplus.errors import LeaseLostError
from paaplus.events import decode_feedback, decode_item
from paaplus.observations import observe
from paaplus.store import Store, StoreSettings, open_store
from paaplus.store.basis import Basis
from paaplus.store.heads import HeadRow
from paaplus.store.offsets import Arrival

NOW = datetime(2026, 11, 1, tzinfo=UTC)
TTL = timedelta(seconds=30)
BASIS = Basis("p1", "exact_ewc-1", 3)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Ann has 7 ratings, Bob 2."""
    with open_store(f"sqlite:///{tmp_path}/store.db", StoreSettings(0.0)) as store:
        common = {"schema_version": 1, "occurred_at": "2026-10-31T12:00:00Z"}
        arrivals = []
        for n in range(7):
            body = common | {
                "kind": "item",
                "event_id": str(uuid.uuid4()),
                "item_id": f"i{n}",
                "features": [float(n)],
            }
            value = json.dumps(body).encode()
            arrivals.append(Arrival("items", 0, n, None, value, decode_item(value)))
        events = []
        for user, count in (("ann", 7), ("bob", 2)):
            for n in range(count):
                body = common | {
                    "kind": "rating",
                    "event_id": str(uuid.uuid4()),
                    "user_id": user,
                    "item_id": f"i{n}",
                    "scores": {"health": float(n), "posture": 9.5},
                }
                value = json.dumps(body).encode()
                event = decode_feedback(value)
                found = observe(event, open_analyser())
                events.append(Arrival("feedback", 0, len(events), None, value, event, found))
        with store.write() as connection:
            store.ingest.apply(connection, "test", arrivals, now=NOW)
            store.ingest.apply(connection, "test", events, now=NOW)
        yield store


def test_due_users_and_their_next_experience(store: Store) -> None:
    with store.read() as connection:
        assert store.heads.due_cohorts(connection, BASIS) == {"c0000": 1}
        due = store.heads.due_heads(connection, "c0000", BASIS)
        assert due == [HeadRow("ann", 0, ahead=7)]
        rows = store.feedback.next_observations(connection, ["bob", "ann"], [0, 3], 3)
    assert rows.start.tolist() == [0, 2, 5]
    assert rows.seq.tolist() == [1, 2, 4, 5, 6]
    assert rows.item_ids.tolist() == ["i0", "i1", "i3", "i4", "i5"]
    assert rows.scores[0].tolist()[1:] == [0.0, 9.5]
    assert rows.scores[0, 0] != rows.scores[0, 0]  # appearance was not rated


def test_one_holder_at_a_time(store: Store) -> None:
    with store.write() as connection:
        first = store.heads.claim(connection, "c0000", "a", now=NOW, ttl=TTL)
        assert first is not None
        assert store.heads.claim(connection, "c0000", "b", now=NOW, ttl=TTL) is None
        later = store.heads.claim(connection, "c0000", "b", now=NOW + 2 * TTL, ttl=TTL)
        assert later is not None
        assert later.fence == first.fence + 1
        store.heads.release(connection, first)  # a zombie cannot give back what it has lost
        assert store.heads.claim(connection, "c0000", "c", now=NOW + 2 * TTL, ttl=TTL) is None


def test_a_zombie_writes_nothing(store: Store) -> None:
    with store.write() as connection:
        zombie = store.heads.claim(connection, "c0000", "a", now=NOW, ttl=TTL)
        before = store.heads.due_heads(connection, "c0000", BASIS)
        heir = store.heads.claim(connection, "c0000", "b", now=NOW + 2 * TTL, ttl=TTL)
    assert zombie is not None
    assert heir is not None
    with pytest.raises(LeaseLostError, match="fence"), store.write() as connection:
        store.heads.write(connection, zombie, BASIS, before, [HeadRow("ann", 3, b"zombie")])
    with store.write() as connection:
        store.heads.write(connection, heir, BASIS, before, [HeadRow("ann", 3, b"heir")])
    with store.read() as connection:
        found = store.heads.head(connection, "ann")
    assert found is not None
    assert found[0].state == b"heir"


def test_the_same_round_twice_is_refused(store: Store) -> None:
    with store.write() as connection:
        lease = store.heads.claim(connection, "c0000", "a", now=NOW, ttl=TTL)
        assert lease is not None
        before = store.heads.due_heads(connection, "c0000", BASIS)
        store.heads.write(connection, lease, BASIS, before, [HeadRow("ann", 3, b"one")])
    with pytest.raises(LeaseLostError, match="watermark"), store.write() as connection:
        store.heads.write(connection, lease, BASIS, before, [HeadRow("ann", 3, b"two")])


def test_another_basis_starts_from_nothing(store: Store) -> None:
    with store.write() as connection:
        lease = store.heads.claim(connection, "c0000", "a", now=NOW, ttl=TTL)
        assert lease is not None
        before = store.heads.due_heads(connection, "c0000", BASIS)
        store.heads.write(connection, lease, BASIS, before, [HeadRow("ann", 6, b"old")])
    with store.read() as connection:
        assert store.heads.due_heads(connection, "c0000", BASIS) == []
        assert store.heads.not_yet_learned(connection, BASIS) == 3
        newer = Basis("p2", "exact_ewc-1", 3)
        assert store.heads.due_heads(connection, "c0000", newer) == [HeadRow("ann", 0, ahead=7)]
        assert store.heads.not_yet_learned(connection, newer) == 9
