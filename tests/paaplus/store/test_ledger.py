"""The ledger: champions move by compare-and-swap, versions rise, rollbacks remember."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paaplus.errors import NotFoundError
from paaplus.store import Release, Store, open_store
from paaplus.store.releases import Promotion

NOW = datetime(2026, 11, 1, 12, 30, 15, 250_000, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(f"sqlite:///{tmp_path}/store.db") as store:
        yield store


def publish(store: Store, pack: str, seen: dict[str, int]) -> tuple[Release, list[str]]:
    promotions = [
        Promotion(user_id, row, number, "better", {"gain": 0.5})
        for row, (user_id, number) in enumerate(seen.items())
    ]
    with store.write() as connection:
        return store.ledger.publish(
            connection,
            promotions,
            cohort="c0000",
            pack=pack,
            population="p",
            strategy="s",
            users=len(seen),
            figures={"mae": 1.25},
            now=NOW,
        )


def versions(store: Store) -> dict[str, tuple[int, str]]:
    with store.read() as connection:
        found = store.ledger.champions(connection)
    return {user_id: (champion.version, champion.pack) for user_id, champion in found.items()}


def test_promotions_number_versions_and_point_at_rows(store: Store) -> None:
    release, conflicts = publish(store, "pack1", {"ann": 0, "bob": 0})
    assert (release.number, release.promoted, conflicts) == (1, 2, [])
    publish(store, "pack2", {"bob": 1})
    assert versions(store) == {"ann": (1, "pack1"), "bob": (2, "pack2")}
    with store.read() as connection:
        history = store.ledger.history(connection, "bob")
        newest = store.ledger.releases(connection)
        outbox_releases, outbox = store.ledger.unmirrored(connection)
    assert [(e.version, e.parent, e.action, e.at) for e in history] == [
        (1, None, "promote", NOW),
        (2, 1, "promote", NOW),
    ]
    assert [r.number for r in newest] == [2, 1]
    assert newest[0].figures == {"mae": 1.25}
    assert [r.number for r in outbox_releases] == [1, 2]
    assert [e.id for e in outbox] == [1, 2, 3]


def test_a_champion_moved_meanwhile_is_left_alone(store: Store) -> None:
    publish(store, "pack1", {"ann": 0, "bob": 0})
    release, conflicts = publish(store, "pack2", {"ann": 0, "bob": 1})  # Ann's gate saw none
    assert conflicts == ["ann"]
    assert release.promoted == 1
    assert versions(store) == {"ann": (1, "pack1"), "bob": (2, "pack2")}


def test_rollback_and_forward_again(store: Store) -> None:
    for number in range(3):
        publish(store, f"pack{number + 1}", {"ann": number})
    with store.write() as connection:
        entry = store.ledger.roll_back(
            connection, "ann", to=None, actor="eve", reason="odd scores", now=NOW
        )
    assert (entry.version, entry.parent, entry.actor, entry.pack) == (2, 3, "eve", "pack2")
    assert versions(store) == {"ann": (2, "pack2")}
    publish(store, "pack4", {"ann": 4})  # the rollback moved the pointer too
    assert versions(store) == {"ann": (4, "pack4")}
    with store.write() as connection:
        store.ledger.roll_back(connection, "ann", to=1, actor="eve", reason="older", now=NOW)
    assert versions(store) == {"ann": (1, "pack1")}


@pytest.mark.parametrize(("user", "to"), [("nobody", None), ("ann", None), ("ann", 9), ("ann", 1)])
def test_impossible_rollbacks_say_so(store: Store, user: str, to: int | None) -> None:
    publish(store, "pack1", {"ann": 0})
    with pytest.raises(NotFoundError), store.write() as connection:
        store.ledger.roll_back(connection, user, to=to, actor="eve", reason="x", now=NOW)
    assert versions(store) == {"ann": (1, "pack1")}


def test_a_release_knows_whose_champion_it_is(store: Store) -> None:
    publish(store, "pack1", {"ann": 0, "bob": 0, "cy": 0})
    publish(store, "pack2", {"ann": 1, "bob": 1})
    with store.write() as connection:
        store.ledger.roll_back(connection, "bob", to=None, actor="e", reason="x", now=NOW)
    with store.read() as connection:
        assert store.ledger.users_of_release(connection, 2) == ["ann"]
        assert store.ledger.users_of_release(connection, 1) == ["bob", "cy"]


@settings(max_examples=25, deadline=None)
@given(
    moves=st.lists(
        st.tuples(st.sampled_from(["ann", "bob"]), st.sampled_from(["promote", "stale", "back"])),
        max_size=12,
    )
)
def test_any_sequence_of_moves_equals_a_model(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    made: dict[str, list[int | None]] = {"ann": [], "bob": []}  # version -> its parent
    current: dict[str, int] = {}
    moved = {"ann": 0, "bob": 0}
    with open_store(f"sqlite:///{folder}/store.db") as store:
        for number, (user, move) in enumerate(moves):
            if move == "back":
                parent = made[user][current[user] - 1] if user in current else None
                try:
                    with store.write() as connection:
                        store.ledger.roll_back(
                            connection, user, to=None, actor="e", reason="x", now=NOW
                        )
                except NotFoundError:
                    assert parent is None
                else:
                    assert parent is not None
                    current[user] = parent
                    moved[user] += 1
            else:
                seen = moved[user] if move == "promote" else moved[user] + 1
                _, conflicts = publish(store, f"pack{number}", {user: seen})
                assert conflicts == ([] if move == "promote" else [user])
                if move == "promote":
                    made[user].append(current.get(user))
                    current[user] = len(made[user])
                    moved[user] += 1
            assert {u: v for u, (v, _) in versions(store).items()} == current
