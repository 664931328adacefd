"""`strategy.robust` from store to store: what one absurd event does, and that heads stay reproducible."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid5

import numpy as np
import pytest
from sqlalchemy import select

from paaplus.events import ATTRIBUTES, Rating, Scores, encode, partition_key
from paaplus.promotion import decide
from paaplus.scoring import Scorer
from paaplus.store import open_store
from paaplus.store.tables import head_state
from streams.topics import FEEDBACK
from workers.config import Config
from workers.records import NAMESPACE
from workers.simulate import START, SimulatedWorld
from workers.sources import StoreSource
from workers.tasks import ingest_once
from workers.training import fit_population_once, retrain_once

Fill = Callable[..., dict[str, Any]]
Make = Callable[..., Config]
SETTINGS: dict[str, Any] = {"trigger": {"count": 1}}
"""Every event is learned at once."""


def a_world(**habits: float) -> SimulatedWorld:
    return SimulatedWorld(users=30, items=100, seed=5, habits=habits)


def kept(config: Config) -> list[tuple[str, int, bytes]]:
    with open_store(config.store_url) as store, store.read() as connection:
        query = select(head_state.c.user_id, head_state.c.learned, head_state.c.state)
        return [tuple(row) for row in connection.execute(query.order_by(head_state.c.user_id))]


def served(config: Config, user: str, items: list[str]) -> np.ndarray:
    """[I, A]."""
    with open_store(config.store_url) as store:
        found = Scorer(StoreSource(store), config.artifacts).score(user, items)
        return np.array([[one.mean[name] for name in ATTRIBUTES] for one in found])


def rate(config: Config, append: Any, user: str, item: str, scores: Any) -> None:
    event = Rating(
        event_id=uuid5(NAMESPACE, f"{user}/{item}/{scores}"),
        occurred_at=START + timedelta(days=20),
        schema_version=1,
        user_id=user,
        item_id=item,
        scores=Scores(**dict(zip(ATTRIBUTES, map(float, scores), strict=True))),
    )
    append(config, FEEDBACK, [(partition_key(event), encode(event))])
    ingest_once(config, quiet=True)


def disliked(config: Config, world: SimulatedWorld) -> tuple[str, str, str]:
    """A user and two items, not held out, to which their head gives the lowest scores."""
    items = [world.item_ids[n] for n in world.shown_items]
    found = []
    with open_store(config.store_url) as store:
        for user in world.user_ids:
            scores = served(config, user, items).mean(axis=1)
            free = [n for n, i in enumerate(items) if not store.settings.is_held_out(user, i)]
            first, second = sorted(free, key=lambda n: scores[n])[:2]
            found.append((scores[second], (user, items[first], items[second])))
    return min(found)[1]


def test_one_absurd_rating_moves_little_and_a_consistent_one_as_much_as_ever(
    make_config: Make, fill: Fill, append: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The gate would not serve what the absurd rating did to the head; here it serves everything.
    monkeypatch.setattr(
        "workers.retrain.decide",
        lambda reports, thresholds, undone: decide(reports, thresholds, reports.user_ids),
    )
    moved: dict[tuple[str, float | None], float] = {}
    for freedom in (None, 4.0):
        config = make_config(str(freedom), strategy={"robust": freedom}, **SETTINGS)
        world = a_world()
        fill(config, world, range(4))  # 40 ratings each
        fit_population_once(config, quiet=True)
        retrain_once(config, quiet=True)
        user, *items = disliked(config, world)
        exam = [world.item_ids[n] for n in world.exam_items]
        for name, item in zip(("consistent", "absurd"), items, strict=True):
            before, expected = served(config, user, exam), served(config, user, [item])[0]
            assert expected.mean() < 1.5
            said = np.full(3, 10.0) if name == "absurd" else expected + 0.7
            rate(config, append, user, item, said)
            retrain_once(config, quiet=True)
            moved[name, freedom] = float(np.abs(served(config, user, exam) - before).mean())
    assert moved["absurd", 4.0] < 0.5 * moved["absurd", None]
    assert moved["absurd", 4.0] < 0.2
    assert moved["consistent", 4.0] == pytest.approx(moved["consistent", None], rel=0.25)


def test_heads_do_not_depend_on_how_rounds_were_cut(
    make_config: Make, fill: Fill, append: Any
) -> None:
    habits = {"comparison": 1.0, "comment": 0.5, "interaction": 1.0, "survey": 1.0}
    homes = {}
    for name in ("often", "rarely"):
        config = make_config(
            name, strategy={"robust": 4.0}, **SETTINGS, run={"users_per_round": 7},
            population={"warm_start": False},  # a fit that does not know the last one
        )  # fmt: skip
        world = a_world(**habits)
        fill(config, world, range(2))
        fit_population_once(config, quiet=True)
        for number in range(2, 5):
            if name == "often":
                retrain_once(config, quiet=True)
            fill(config, world, range(number, number + 1))
            rate(
                config,
                append,
                world.user_ids[0],
                world.item_ids[world.shown_items[number]],
                [10] * 3,
            )
        retrain_once(config, quiet=True)
        homes[name] = config
    assert kept(homes["often"]) == kept(homes["rarely"])

    # On a new population model every head is learned again, as if it had always been there.
    fit_population_once(homes["often"], quiet=True)
    retrain_once(homes["often"], quiet=True)
    scratch = make_config("scratch", strategy={"robust": 4.0})
    world = a_world(**habits)
    fill(scratch, world, range(2))
    for number in range(2, 5):
        fill(scratch, world, range(number, number + 1))
        rate(
            scratch, append, world.user_ids[0], world.item_ids[world.shown_items[number]], [10] * 3
        )
    fit_population_once(scratch, quiet=True)
    retrain_once(scratch, quiet=True)
    assert kept(homes["often"]) == kept(scratch) != kept(homes["rarely"])
