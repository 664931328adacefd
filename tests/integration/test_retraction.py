"""What a user takes back is undone: the head is that of a user who never said it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid5

import numpy as np
import pytest
from sqlalchemy import select

from paaplus.comments import Opinion
from paaplus.errors import CommentError, NotFoundError
from paaplus.events import Retraction, decode_feedback, encode, partition_key
from paaplus.store import open_store
from paaplus.store.tables import feedback, head_state
from streams.ingest import Ingestor
from streams.log import open_log
from streams.topics import FEEDBACK
from workers.config import Config
from workers.records import NAMESPACE
from workers.rollback import roll_back
from workers.simulate import START, SimulatedWorld
from workers.status import user_status
from workers.tasks import ingest_once
from workers.training import fit_population_once, retrain_once

Fill = Callable[..., dict[str, Any]]
Make = Callable[..., Config]
HABITS = {"comparison": 1.0, "comment": 0.5, "interaction": 1.0, "survey": 1.0}


@pytest.fixture
def world() -> SimulatedWorld:
    return SimulatedWorld(users=30, items=60, seed=5, habits=HABITS)


def states(config: Config) -> dict[str, tuple[int, bytes]]:
    with open_store(config.store_url) as store, store.read() as connection:
        query = select(head_state.c.user_id, head_state.c.learned, head_state.c.state)
        return {user: (learned, state) for user, learned, state in connection.execute(query)}


def take_back(rating: UUID, user: str) -> tuple[bytes, bytes]:
    event = Retraction(
        event_id=uuid5(NAMESPACE, f"back/{rating}"),
        occurred_at=START + timedelta(days=20),
        schema_version=1,
        user_id=user,
        retracts=rating,
    )
    return partition_key(event), encode(event)


def numbered(config: Config, user: str) -> list[tuple[int, UUID]]:
    with open_store(config.store_url) as store, store.read() as connection:
        query = select(feedback.c.number, feedback.c.event_id).where(
            feedback.c.user_id == user, feedback.c.kind == "rating", feedback.c.number.is_not(None)
        )
        return [
            (n, UUID(bytes=e)) for n, e in connection.execute(query.order_by(feedback.c.number))
        ]


@pytest.mark.parametrize("strategy", ["exact_ewc", "replay_ewc"])
def test_a_head_is_that_of_a_user_who_never_said_it(
    strategy: str, make_config: Make, fill: Fill, append: Any, world: SimulatedWorld
) -> None:
    settings = {"name": strategy, "epochs": 5}
    config = make_config(strategy=settings)
    fill(config, world, range(3))
    fit_population_once(config, quiet=True)
    retrain_once(config, quiet=True)
    before = states(config)
    user = world.user_ids[0]
    (_, first), (_, second) = numbered(config, user)[1:3]
    append(config, FEEDBACK, [take_back(first, user), take_back(second, user)])
    ingest_once(config, quiet=True)
    assert "learned anew" in user_status(config, user)["due"]
    retrain_once(config, quiet=True)
    after = states(config)
    assert after[user][1] != before[user][1]
    assert {u: s for u, s in after.items() if u != user} == {
        u: s for u, s in before.items() if u != user
    }

    # The same population and events, but taken back before anything was learned.
    other = make_config("other", strategy=settings)
    again = SimulatedWorld(users=30, items=60, seed=5, habits=HABITS)
    fill(other, again, range(3))
    fit_population_once(other, quiet=True)
    append(other, FEEDBACK, [take_back(first, user), take_back(second, user)])
    ingest_once(other, quiet=True)
    retrain_once(other, quiet=True)
    same = states(other)
    if strategy == "exact_ewc":
        assert same == after
    # Adam's products round differently in a cohort of one.
    for name, (learned, state) in after.items():
        assert same[name][0] == learned
        there = np.frombuffer(same[name][1], "<f4")
        assert np.frombuffer(state, "<f4") == pytest.approx(there, rel=1e-4, abs=1e-5)


def test_the_champion_goes_and_no_rollback_brings_it_back(
    make_config: Make, fill: Fill, append: Any, world: SimulatedWorld
) -> None:
    config = make_config()
    fill(config, world, range(3))
    fit_population_once(config, quiet=True)
    retrain_once(config, quiet=True)
    with open_store(config.store_url) as store, store.read() as connection:
        champions = store.ledger.champions(connection)
    user = min(champions)
    learned = [event for n, event in numbered(config, user) if n <= 10]
    append(config, FEEDBACK, [take_back(event, user) for event in learned])
    ingest_once(config, quiet=True)
    with_gate = config.model_copy(
        update={"gate": config.gate.model_copy(update={"min_gain": 9.0})}
    )  # a gate that nobody passes
    assert retrain_once(with_gate, quiet=True)["promoted"] == 1
    with open_store(config.store_url) as store, store.read() as connection:
        entry = store.ledger.history(connection, user)[-1]
        now = store.ledger.champions(connection)[user]
    assert entry.reason.startswith("retraction")
    assert now.version == champions[user].version + 1
    with pytest.raises(NotFoundError, match="took back"):
        roll_back(
            config, user_id=user, release=None, to=champions[user].version, actor="t", reason="t"
        )


def test_only_own_accepted_events_can_be_taken_back(
    make_config: Make, fill: Fill, append: Any, world: SimulatedWorld
) -> None:
    config = make_config()
    fill(config, world, range(1))
    mine, other = world.user_ids[:2]
    (_, event), *_ = numbered(config, mine)
    key, value = take_back(event, mine)
    back = decode_feedback(value, key=key).event_id
    append(config, FEEDBACK, [take_back(event, other), take_back(UUID(int=5), mine), (key, value)])
    ingest_once(config, quiet=True)
    append(config, FEEDBACK, [take_back(back, mine)])
    ingest_once(config, quiet=True)
    with open_store(config.store_url) as store, store.read() as connection:
        counts = store.letters.counts(connection)
        gone = connection.scalars(
            select(feedback.c.event_id).where(feedback.c.retracted_by.is_not(None))
        ).all()
    assert counts["not_retractable"] == 1
    assert counts["unknown_event"] >= 1
    assert [UUID(bytes=e) for e in gone] == [event]


def test_a_new_survey_replaces_the_old_one(
    make_config: Make, fill: Fill, append: Any, world: SimulatedWorld
) -> None:
    config = make_config()
    fill(config, world, range(1))
    user = world.user_ids[3]
    with open_store(config.store_url) as store, store.read() as connection:
        query = select(feedback).where(feedback.c.user_id == user, feedback.c.kind == "survey")
        (old,) = connection.execute(query).mappings().all()
    newer = old["body"].replace(
        str(UUID(bytes=old["event_id"])).encode(), str(UUID(int=77)).encode()
    )
    append(config, FEEDBACK, [(user.encode(), newer)])
    ingest_once(config, quiet=True)
    with open_store(config.store_url) as store, store.read() as connection:
        rows = connection.execute(query.order_by(feedback.c.seq)).mappings().all()
    assert [row["retracted_by"] for row in rows] == [rows[1]["seq"], None]


def test_ratings_of_held_out_items_train_in_no_disguise(
    make_config: Make, fill: Fill, world: SimulatedWorld
) -> None:
    config = make_config()
    fill(config, world, range(3))
    with open_store(config.store_url) as store, store.read() as connection:
        rows = connection.execute(select(feedback)).mappings().all()
        settings = store.settings
    spoken = [row for row in rows if row["item_id"] is not None]
    for row in spoken:
        items = [row["item_id"]] + ([row["detail"]] if row["kind"] == "comparison" else [])
        held = any(settings.is_held_out(row["user_id"], item) for item in items)
        assert row["held_out"] == held
        assert (row["number"] is None) or not held
    assert {row["kind"] for row in spoken if row["held_out"]} > {"rating"}
    assert np.mean([row["held_out"] for row in spoken]) > 0.1


def test_a_comment_that_cannot_be_read_is_a_dead_letter(
    make_config: Make, fill: Fill, world: SimulatedWorld
) -> None:
    class Broken:
        name = "broken"

        def analyse(self, text: str, language: str | None = None) -> Opinion:
            raise CommentError("it broke", "mend it")

    config = make_config()
    fill(config, world, range(0, 1))
    log = open_log(config.log_url, partitions=config.log.partitions)
    log.append(FEEDBACK, world.round_events(1))
    with open_store(config.store_url) as store:
        with Ingestor(log, store, analyser=Broken(), clock=lambda: START) as ingestor:
            ingestor.drain()
        with store.read() as connection:
            letters = store.letters.waiting(connection, reason="unreadable_text")
            comments = store.feedback.counts_by_kind(connection)["comment"]
    log.close()
    assert len(letters) + comments == world.expected.kinds["comment"]
    assert letters[0].error.remedy == "mend it"
