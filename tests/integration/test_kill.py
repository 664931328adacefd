"""`paaplus run` killed with SIGKILL at random moments ends with the heads of an undisturbed run.

The processes are real and so are the kills. They are forked from a server that has imported everything
once, since importing takes longer than the work.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from paaplus.store import open_store
from paaplus.store.tables import app_user, dead_letter, feedback, head_state, ledger
from streams.log import open_log
from streams.topics import FEEDBACK, ITEMS
from workers.cli import main
from workers.config import Config, load_config
from workers.simulate import SimulatedWorld

KILLS = 20
USERS, ITEMS_SHOWN, ROUNDS = 40, 60, 4


@pytest.fixture(scope="module")
def forkserver() -> Iterator[Any]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["workers.run", "strategies.template", "workers.cli"])
    return context


def arguments(home: Path, log_url: str) -> list[str]:
    page = home / "page.yaml"
    page.write_text(
        f"""
home: {home}
log: {{url: "{log_url}"}}
trunk: {{name: given}}
run: {{max_records: 100, users_per_round: 8, poll_seconds: 0.05, lease_seconds: 1}}
registry: {{user_rows: promoted}}
"""
    )
    return ["--config", str(page)]


def command(context: Any, *words: str) -> Any:
    process = context.Process(target=main, args=(list(words),))
    process.start()
    return process


def finish(context: Any, *words: str) -> None:
    process = command(context, *words)
    process.join(240)
    assert process.exitcode == 0


def content(config: Config) -> dict[str, list[Any]]:
    """Everything that must not depend on what was killed when."""
    with open_store(config.store_url) as store, store.read() as connection:
        rows = {
            "heads": select(
                head_state.c.user_id,
                head_state.c.learned,
                head_state.c.population,
                head_state.c.state,
                head_state.c.memory,
            ).order_by(head_state.c.user_id),
            "feedback": select(
                feedback.c.event_id, feedback.c.user_id, feedback.c.seq, feedback.c.number
            ).order_by(feedback.c.user_id, feedback.c.seq),
            "dead": select(
                dead_letter.c.topic, dead_letter.c.part, dead_letter.c.off, dead_letter.c.reason
            ).order_by(dead_letter.c.topic, dead_letter.c.part, dead_letter.c.off),
            "users": select(app_user).order_by(app_user.c.user_id),
        }
        return {name: list(connection.execute(query)) for name, query in rows.items()}


def prepare(context: Any, home: Path, log_url: str) -> list[str]:
    """Ingest enough for a population model and fit it; nothing has been trained yet."""
    home.mkdir(parents=True)
    words = arguments(home, log_url)
    world = SimulatedWorld(users=USERS, items=ITEMS_SHOWN, seed=3)
    log = open_log(log_url, partitions=4)
    try:
        log.append(ITEMS, world.given_items())
        log.append(FEEDBACK, world.round_events(0))
        log.append(FEEDBACK, world.round_events(1))
    finally:
        log.close()
    finish(context, "ingest", "--once", *words)
    finish(context, "retrain", "--population", *words)
    log = open_log(log_url, partitions=4)
    try:
        for number in range(2, ROUNDS):
            log.append(FEEDBACK, world.round_events(number))
    finally:
        log.close()
    return words


def check_kills(context: Any, folder: Path, calm_url: str, wild_url: str) -> None:
    calm = prepare(context, folder / "calm", calm_url)
    started = time.monotonic()
    finish(context, "run", "--until-idle", *calm)
    duration = time.monotonic() - started

    wild = prepare(context, folder / "wild", wild_url)
    dice = random.Random(11)
    killed = 0
    while killed < KILLS:
        process = command(context, "run", *wild)
        process.join(dice.uniform(0.02, 1.0) * min(duration, 3.0))
        assert process.exitcode is None, "the worker ended by itself"
        process.kill()
        process.join()
        killed += 1
    finish(context, "run", "--until-idle", *wild)

    calm_config = load_config(folder / "calm" / "page.yaml")
    wild_config = load_config(folder / "wild" / "page.yaml")
    expected, found = content(calm_config), content(wild_config)
    assert len(expected["heads"]) == USERS
    assert all(row.learned >= 10 for row in expected["heads"])
    for name, rows in expected.items():
        assert found[name] == rows, name
    check_ledger(wild_config)


def check_ledger(config: Config) -> None:
    """Versions rise without gaps, nobody is promoted twice by a release, MLflow agrees."""
    from workers.build import open_registry

    with open_store(config.store_url) as store, store.read() as connection:
        rows = connection.execute(
            select(
                ledger.c.user_id, ledger.c.version, ledger.c.release, ledger.c.mirrored
            ).order_by(ledger.c.user_id, ledger.c.id)
        ).all()
        champions = store.ledger.champions(connection)
    assert all(row.mirrored for row in rows)
    for user_id, champion in champions.items():
        mine = [row for row in rows if row.user_id == user_id]
        assert [row.version for row in mine] == list(range(1, len(mine) + 1))
        assert len({row.release for row in mine}) == len(mine)
        assert champion.version == mine[-1].version
    registry = open_registry(config)
    assert registry is not None
    assert registry.reconcile(champions.values()) == []


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_twenty_kills_on_the_sqlite_log(forkserver: Any, tmp_path: Path) -> None:
    check_kills(
        forkserver, tmp_path, f"sqlite:///{tmp_path}/calm.db", f"sqlite:///{tmp_path}/wild.db"
    )


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.xdist_group("kafka")
@pytest.mark.timeout(420)
def test_twenty_kills_on_kafka(forkserver: Any, tmp_path: Path, kafka_broker: Any) -> None:
    check_kills(
        forkserver,
        tmp_path,
        f"{kafka_broker.url}/calm-{time.time_ns()}?session_timeout_ms=1500",
        f"{kafka_broker.url}/wild-{time.time_ns()}?session_timeout_ms=1500",
    )
