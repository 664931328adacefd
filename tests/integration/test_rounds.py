"""Rounds of learning from store to store, and what is served after them."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import select

from paaplus.errors import NotFoundError
from paaplus.heads import information_posterior
from paaplus.scoring import Scorer
from paaplus.store import open_store
from paaplus.store.tables import feedback, head_state, ledger
from workers.build import current_population
from workers.cli import main
from workers.config import Config
from workers.results import results_path
from workers.rollback import roll_back
from workers.simulate import SimulatedWorld
from workers.sources import StoreSource
from workers.training import fit_population_once, retrain_once

USERS = 30
Fill = Callable[..., dict[str, Any]]
Make = Callable[..., Config]


@pytest.fixture
def world() -> SimulatedWorld:
    return SimulatedWorld(users=USERS, items=60, seed=5, habits={})


def learn(config: Config, fill: Fill, world: SimulatedWorld, rounds: int) -> None:
    """Ingest some rounds, fit the population on them, train every head."""
    fill(config, world, range(rounds))
    fit_population_once(config, quiet=True)
    retrain_once(config, quiet=True)


def heads(config: Config) -> list[tuple[str, int, bytes]]:
    with open_store(config.store_url) as store, store.read() as connection:
        query = select(head_state.c.user_id, head_state.c.learned, head_state.c.state)
        return [tuple(row) for row in connection.execute(query.order_by(head_state.c.user_id))]


def scores(config: Config, user: str, items: list[str]) -> list[float]:
    with open_store(config.store_url) as store:
        scorer = Scorer(StoreSource(store), config.artifacts)
        return [value for one in scorer.score(user, items) for value in one.mean.values()]


def test_daily_caps_go_by_the_day_on_which_an_event_occurred(
    make_config: Make, fill: Fill, world: SimulatedWorld
) -> None:
    config = make_config()
    fill(config, world, range(2))
    with open_store(config.store_url) as store, store.read() as connection:
        days = store.feedback.all_ratings(connection).days
    first = (world.start.date() - date(1970, 1, 1)).days
    assert set(days.tolist()) == {first, first + 1}

    def version(**caps: int | None) -> str:
        section = config.population.model_copy(update={"warm_start": False, **caps})
        capped = config.model_copy(update={"population": section})
        return str(fit_population_once(capped, quiet=True)["population"])

    usual = version()
    assert version(user_daily_cap=0, item_daily_cap=None) == usual  # honest users notice nothing
    assert version(user_daily_cap=2) != usual
    assert version(item_daily_cap=2) != usual


def test_heads_advance_in_whole_experiences_and_equal_the_closed_form(
    make_config: Make, fill: Fill, world: SimulatedWorld
) -> None:
    config = make_config()
    learn(config, fill, world, 3)
    with open_store(config.store_url) as store, store.read() as connection:
        found = current_population(config, store)
        assert found is not None
        population = found[0]
        rows = connection.execute(
            select(feedback).where(feedback.c.kind == "rating").order_by(feedback.c.number)
        ).all()
        ids, vectors = store.items.features(connection, population.trunk)
        champion = store.ledger.champions(connection)
    psi = dict(zip(ids, population.rows(ids, vectors), strict=True))
    prior = population.prior
    for user, learned, _ in heads(config):
        mine = [row for row in rows if row.user_id == user and row.number is not None]
        assert all(not row.held_out for row in mine)
        assert learned == len(mine) // 10 * 10
        if user not in champion or champion[user].version < 2:
            continue
        for a, name in enumerate(("appearance", "health", "posture")):
            taught = [row for row in mine[:learned] if getattr(row, name) is not None]
            x = np.stack([psi[row.item_id][a] for row in taught])
            y = np.array([getattr(row, name) for row in taught])
            mean, _ = information_posterior(
                prior.mean[a], prior.covariance[a], prior.noise[a], x.T @ x, x.T @ y
            )
            item = world.item_ids[0]
            served = scores(config, user, [item])[a]
            assert served == pytest.approx(float(np.clip(psi[item][a] @ mean, 0, 10)), abs=1e-3)
    # And nothing is left to do.
    before = heads(config)
    assert retrain_once(config, quiet=True)["rounds"] == 0
    assert heads(config) == before


def test_prequential_figures_are_those_of_the_head_before_it_learned(
    make_config: Make, fill: Fill, world: SimulatedWorld
) -> None:
    config = make_config()
    learn(config, fill, world, 2)
    with open_store(config.store_url) as store, store.read() as connection:
        first = store.ledger.releases(connection)[-1]
        population = current_population(config, store)
        assert population is not None
        ids, vectors = store.items.features(connection, population[0].trunk)
        rows = connection.execute(select(feedback).where(feedback.c.number.between(1, 10))).all()
    psi = dict(zip(ids, population[0].rows(ids, vectors), strict=True))
    mean = population[0].prior.mean  # before its first experience everybody has the population's
    assert {learned for _, learned, _ in heads(config)} == {10}
    frame = pd.read_parquet(results_path(config.artifacts, first.pack)).set_index("user_id")
    for user in frame.index:
        errors = [
            abs(float(np.clip(psi[row.item_id][a] @ mean[a], 0, 10)) - getattr(row, name))
            for row in rows
            if row.user_id == user
            for a, name in enumerate(("appearance", "health", "posture"))
            if getattr(row, name) is not None
        ]
        assert frame.loc[user, "prequential_mae_live"] == pytest.approx(np.mean(errors), abs=1e-6)


def test_a_gate_that_nobody_passes_leaves_the_population_serving(
    make_config: Make, fill: Fill, world: SimulatedWorld
) -> None:
    config = make_config(gate={"min_gain": 9.0})
    fill(config, world, range(2))
    fit_population_once(config, quiet=True)
    assert retrain_once(config, quiet=True)["promoted"] == 0
    items = world.item_ids[:3]
    assert scores(config, world.user_ids[0], items) == scores(config, "a-stranger", items)


def test_a_rollback_serves_the_former_scores(
    make_config: Make, fill: Fill, world: SimulatedWorld
) -> None:
    config = make_config()
    learn(config, fill, world, 2)
    items, before = world.item_ids[:5], {}
    for user in world.user_ids:
        before[user] = scores(config, user, items)
    fill(config, world, range(2, 4))
    retrain_once(config, quiet=True)
    with open_store(config.store_url) as store, store.read() as connection:
        entries = connection.execute(select(ledger).order_by(ledger.c.id)).all()
        newest = max(row.release for row in entries)
    moved = [row for row in entries if row.release == newest and row.version > 1]
    assert moved
    user = moved[0].user_id
    versions = [row for row in entries if row.user_id == user]
    after = scores(config, user, items)
    assert after != before[user]
    roll_back(config, user_id=user, release=None, to=versions[0].version, reason="odd", actor="eve")
    first = next(row for row in entries if row.user_id == user and row.version == 1)
    with open_store(config.store_url) as store:
        scorer = Scorer(StoreSource(store), config.artifacts)
        assert scorer.score(user, items)[0].version == first.version
        assert scorer.score(user, items) == scorer.score(user, items, version=1)
    with pytest.raises(NotFoundError):
        roll_back(config, user_id="nobody", release=None, to=None, reason="x", actor="eve")


def test_two_processes_train_every_head_once(
    make_config: Make, fill: Fill, world: SimulatedWorld
) -> None:
    states = []
    for name, workers in (("one", 1), ("two", 2)):
        config = make_config(name, run={"users_per_round": 4}, store={"cohorts": 3})
        page = config.home.with_suffix(".yaml")
        page.write_text(
            f"{{home: {config.home}, trunk: {{name: given}}, run: {{users_per_round: 4}},"
            " store: {cohorts: 3}}"
        )
        fill(config, SimulatedWorld(users=USERS, items=60, seed=5), range(3))
        fit_population_once(config, quiet=True)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["workers.training", "strategies.template", "workers.cli"])
        words = ["retrain", "--once", "--config", str(page)]
        processes = [context.Process(target=main, args=(words,)) for _ in range(workers)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
            assert process.exitcode == 0
        retrain_once(config, quiet=True)  # what one of them held when the other looked
        states.append(heads(config))
        with open_store(config.store_url) as store, store.read() as connection:
            releases = store.ledger.releases(connection, 10**6)
        assert sum(r.users for r in releases) == len(states[-1])  # all experiences in one round
    assert states[0] == states[1]


def test_mlflow_predicts_what_score_says(
    make_config: Make,
    fill: Fill,
    world: SimulatedWorld,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = make_config()
    learn(config, fill, world, 3)
    with open_store(config.store_url) as store, store.read() as connection:
        user = min(store.ledger.champions(connection))
        population = current_population(config, store)
        assert population is not None
        items = world.item_ids[:7]
        ids, vectors = store.items.features(connection, population[0].trunk, items)
    capsys.readouterr()
    words = [word for item in items for word in ("--item", item)]
    with pytest.raises(SystemExit) as ended:
        main(["score", "--user", user, *words, "--json", "--home", str(config.home)])
    assert not ended.value.code
    said = {one["item"]: one for one in json.loads(capsys.readouterr().out)["scores"]}

    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", config.registry_url)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", config.registry_url)
    monkeypatch.setenv("PAAPLUS_ARTIFACTS", str(config.artifacts))
    model = mlflow.pyfunc.load_model(f"models:/paaplus.{config.fleet}.u.{user}@champion")
    frame = pd.DataFrame({"item_id": ids, "features": [v.astype(float).tolist() for v in vectors]})
    found = model.predict(frame)
    for item, (_, row) in zip(ids, found.iterrows(), strict=True):
        for attribute, value in said[item]["mean"].items():
            assert row[attribute] == pytest.approx(value, abs=1e-5)
            assert row[f"{attribute}_std"] == pytest.approx(said[item]["std"][attribute], abs=1e-5)


def test_a_stranger_is_told_that_the_population_speaks(
    make_config: Make, fill: Fill, world: SimulatedWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config()
    fill(config, world, range(2))
    fit_population_once(config, quiet=True)
    for words, said in (
        (["--item", world.item_ids[0]], "no personal model yet"),
        (["--item", "never-announced"], "unknown to the store"),
    ):
        with pytest.raises(SystemExit):
            main(["score", "--user", "stranger", *words, "--home", str(config.home)])
        captured = capsys.readouterr()
        assert said in captured.out + captured.err
