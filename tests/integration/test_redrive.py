"""Dead letters go back into the log, and count once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import update

from paaplus.errors import NotFoundError
from paaplus.store import open_store
from paaplus.store.letters import DeadLetters
from paaplus.store.tables import dead_letter
from streams.topics import FEEDBACK, ITEMS
from workers.config import Config
from workers.simulate import SimulatedWorld
from workers.tasks import ingest_once, redrive

Append = Callable[..., None]


@pytest.fixture
def late(make_config: Callable[..., Config], append: Append) -> tuple[Config, SimulatedWorld, int]:
    """Feedback that came before its items."""
    config, world = make_config(), SimulatedWorld(users=6, items=20, seed=1)
    append(config, FEEDBACK, world.round_events(0, 5))
    result = ingest_once(config, quiet=True)
    assert result["accepted"] < 10  # surveys and retractions name no item
    return config, world, result["accepted"]


def check_once(config: Config, world: SimulatedWorld) -> None:
    """Every accepted event is stored, none twice."""
    with open_store(config.store_url) as store, store.read() as connection:
        kinds = store.feedback.counts_by_kind(connection)
    assert kinds == {k: n for k, n in world.expected.kinds.items() if k != "item"}


def test_what_came_too_early_counts_after_its_item_has_come(
    late: tuple[Config, SimulatedWorld, int], append: Append
) -> None:
    config, world, _ = late
    append(config, ITEMS, world.given_items())
    redriven = redrive(config, "unknown_item")["redriven"]
    result = ingest_once(config, quiet=True)
    # One event of the round is broken in that its item never comes.
    assert result["dead_letters"] == 1
    assert result["accepted"] + result["duplicates"] == redriven - 1 + 20
    redrive(config, "unknown_event")  # retractions of what had not been accepted yet
    ingest_once(config, quiet=True)
    check_once(config, world)


def test_a_crash_after_the_append_leads_to_duplicates_only(
    late: tuple[Config, SimulatedWorld, int], append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, world, _ = late
    append(config, ITEMS, world.given_items())

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DeadLetters, "mark_redriven", crash)
        with pytest.raises(KeyboardInterrupt):
            redrive(config, "unknown_item")
    redrive(config, "unknown_item")
    redrive(config, "unknown_event")
    ingest_once(config, quiet=True)
    check_once(config, world)


def test_redriving_twice_changes_nothing(
    late: tuple[Config, SimulatedWorld, int], append: Append
) -> None:
    config, world, _ = late
    append(config, ITEMS, world.given_items())
    redrive(config, None)
    with pytest.raises(NotFoundError, match="no dead letter waits"):
        redrive(config, None)
    ingest_once(config, quiet=True)
    check_once(config, world)


def test_a_letter_whose_record_had_no_key_goes_back_under_its_users(
    late: tuple[Config, SimulatedWorld, int], append: Append
) -> None:
    config, world, _ = late
    with open_store(config.store_url) as store, store.write() as connection:
        connection.execute(update(dead_letter).values(key=None))  # as Kafka hands over such records
    append(config, ITEMS, world.given_items())
    redrive(config, None)
    ingest_once(config, quiet=True)
    check_once(config, world)
