"""Triggers over a real store: who is trained, what is explained, and that it leaves no trace in heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from paaplus.errors import ConfigError
from paaplus.store import open_store
from paaplus.store.tables import head_state
from workers.config import Config, load_config
from workers.simulate import SimulatedWorld
from workers.status import overall_status, user_status
from workers.training import fit_population_once, retrain_once

Fill = Callable[..., dict[str, Any]]
Make = Callable[..., Config]


def world() -> SimulatedWorld:
    return SimulatedWorld(users=30, items=60, seed=5)


def heads(config: Config) -> dict[str, tuple[int, int, bytes]]:
    columns = (head_state.c.user_id, head_state.c.learned, head_state.c.served, head_state.c.state)
    with open_store(config.store_url) as store, store.read() as connection:
        return {u: (n, s, state) for u, n, s, state in connection.execute(select(*columns))}


def learn(config: Config, fill: Fill, made: SimulatedWorld, rounds: range) -> None:
    fill(config, made, rounds)
    if 0 in rounds:
        fit_population_once(config, quiet=True)
    retrain_once(config, quiet=True)


def test_what_does_not_fill_an_experience_is_served_and_not_kept(
    make_config: Make, fill: Fill
) -> None:
    often = make_config("often", trigger={"count": 1})
    made = world()
    learn(often, fill, made, range(2))
    first = heads(often)
    assert any(served > learned for learned, served, _ in first.values())
    assert all(served - learned < 10 for learned, served, _ in first.values())
    learn(often, fill, made, range(2, 4))

    # Nobody triggered anything in between: the same kept heads, to the bit.
    rarely = make_config("rarely")
    made = world()
    fill(rarely, made, range(2))
    fit_population_once(rarely, quiet=True)
    fill(rarely, made, range(2, 4))
    retrain_once(rarely, quiet=True)
    last, other = heads(often), heads(rarely)
    assert {u: (n, state) for u, (n, _, state) in last.items()} == {
        u: (n, state) for u, (n, _, state) in other.items()
    }
    assert all(served == learned for learned, served, _ in other.values())
    # And everything that came is in the heads that are served.
    assert overall_status(often)["observations_waiting"] == 0
    assert overall_status(rarely)["observations_waiting"] > 0


def test_status_says_why(make_config: Make, fill: Fill) -> None:
    config = make_config(
        trigger={"all": [{"any": [{"count": 500}, {"age_hours": 1.0}]}, {"users_per_hour": 7}]},
        run={"users_per_round": 5},
    )
    made = world()
    fill(config, made, range(2))
    fit_population_once(config, quiet=True)
    user = made.user_ids[0]
    assert overall_status(config)["users_due"] == 7  # 30 wait, and the hour's budget is 7
    due = user_status(config, user)["due"]
    assert due.startswith("due: the oldest waits for")
    assert "0 of 7 users" in due
    assert retrain_once(config, quiet=True)["heads"] == 7
    due = user_status(config, made.user_ids[-1])["due"]
    assert due == "not due: 7 of 7 users were trained in the last hour"
    assert user_status(config, user)["due"].startswith("not due")


@pytest.mark.parametrize(
    "trigger",
    [
        {"count": 3, "age_hours": 2},
        {"count": 0},
        {"cron": "nonsense"},
        {"any": [{"all": [{"drift": -1}]}]},
        {"whenever": True},
    ],
)
def test_a_trigger_that_makes_no_sense_is_refused(trigger: dict[str, Any], tmp_path: Any) -> None:
    with pytest.raises(ConfigError):
        load_config(home=tmp_path, trigger=trigger)
