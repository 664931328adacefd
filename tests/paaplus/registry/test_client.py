"""Rounds, releases and user rows in MLflow: twice is once, and the ledger decides."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts

from paaplus.errors import RegistryError
from paaplus.registry import Difference, Registry
from paaplus.registry.names import PackAddress

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]


@pytest.fixture
def client(world):
    return MlflowClient(world.url, world.url)


def aliases(client, name):
    found = client.get_registered_model(name).aliases
    return {alias: str(version) for alias, version in found.items()}


def contents(client):
    """Everything that a call could have changed, but for the time stamps."""
    models = [
        (model.name, model.tags, dict(model.aliases)) for model in client.search_registered_models()
    ]
    versions = [
        (v.name, v.version, v.source, v.run_id, v.tags) for v in client.search_model_versions()
    ]
    experiments = [e.experiment_id for e in client.search_experiments()]
    runs = [
        (run.info.run_id, run.info.status, run.data.tags, history(client, run))
        for run in client.search_runs(experiments)
    ]
    return sorted(models), sorted(versions), sorted(runs)


def history(client, run):
    keys = sorted(run.data.metrics)
    run_id = run.info.run_id
    return [
        (m.key, m.value, m.step) for key in keys for m in client.get_metric_history(run_id, key)
    ]


def test_a_round_is_a_run(world, client):
    release, _ = world.release(3, promoted=2)
    results = pd.DataFrame({"user_id": ["ann", "bob"], "mae": [1.0, 2.0]})
    run_id = world.registry().log_round(release, results, {"heldout_mae": 1.5})
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert client.get_experiment(run.info.experiment_id).name == "paaplus.main"
    assert history(client, run) == [("heldout_mae", 1.5, 3), ("promoted", 2, 3), ("users", 7, 3)]
    tags = {k: v for k, v in run.data.tags.items() if k.startswith("paaplus.")}
    assert tags == {
        "paaplus.release": "3",
        "paaplus.cohort": "c0000",
        "paaplus.pack": release.pack,
        "paaplus.population": world.population.version,
        "paaplus.strategy": "exact_ewc",
        "paaplus.users": "7",
        "paaplus.promoted": "2",
        "paaplus.created_at": "2026-01-02T03:04:05+00:00",
        "paaplus.code": "0.1.0",
    }
    assert Path(run.info.artifact_uri.removeprefix("file://")).is_relative_to(world.root)
    path = download_artifacts(run_id=run_id, artifact_path="users.parquet", tracking_uri=world.url)
    pd.testing.assert_frame_equal(pd.read_parquet(path), results)


def test_a_round_that_broke_off_is_completed(world, client, monkeypatch):
    release, _ = world.release(1)
    results = pd.DataFrame({"user_id": ["ann"]})

    def crash(*args, **kwargs):
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_artifact", crash)
        with pytest.raises(RegistryError, match="logging round 1: disk full"):
            world.registry().log_round(release, results, {"mae": 1.0})
    [(broken, status, *_)] = contents(client)[2]
    assert status == "RUNNING"
    run_id = world.registry().log_round(release, results, {"mae": 1.0})
    assert run_id == broken
    [(found, status, _, metrics)] = contents(client)[2]
    assert (found, status) == (run_id, "FINISHED")
    assert metrics == [("mae", 1.0, 1), ("promoted", 7, 1), ("users", 7, 1)]


def test_the_same_number_of_another_store_is_another_round(world):
    first, _ = world.release(1)
    second = replace(world.release(2)[0], number=1)
    registry = world.registry()
    results = pd.DataFrame({"user_id": ["ann"]})
    assert registry.log_round(first, results, {}) != registry.log_round(second, results, {})
    assert registry.register_release(first, None) != registry.register_release(second, None)


def test_releases_move_the_aliases_of_their_cohort(world, client):
    registry = world.registry()
    name = "paaplus.main.c0000"
    seen = []
    for number, promoted in [(1, 0), (2, 3), (3, 0), (4, 1), (5, 0)]:
        release, _ = world.release(number, promoted=promoted)
        assert registry.register_release(release, None) == str(number)
        seen.append(aliases(client, name))
    assert seen == [
        {"challenger": "1"},
        {"challenger": "2", "champion": "2"},
        {"challenger": "3", "champion": "2"},
        {"challenger": "4", "champion": "4", "previous": "2"},
        {"challenger": "5", "champion": "4", "previous": "2"},
    ]
    assert client.get_model_version(name, "4").source == str(PackAddress(world.release(4)[0].pack))


def test_promotions_and_rollbacks_move_the_aliases_of_their_user(world, client):
    registry = world.registry()
    name = "paaplus.main.u.ann"
    seen = []
    for number in (1, 2, 3):
        release, rows = world.release(number)
        registry.mirror(world.promote("ann", release, rows), None)
        seen.append(aliases(client, name))
    back = world.roll_back("ann", 1)
    for _ in range(2):
        registry.mirror(back, None)
        seen.append(aliases(client, name))
    release, rows = world.release(4)
    registry.mirror(world.promote("ann", release, rows), None)
    seen.append(aliases(client, name))
    assert seen == [
        {"champion": "1"},
        {"champion": "2", "previous": "1"},
        {"champion": "3", "previous": "2"},
        {"champion": "1", "previous": "3"},
        {"champion": "1", "previous": "3"},
        {"champion": "4", "previous": "1"},
    ]
    tags = client.get_model_version(name, "1").tags
    assert tags["paaplus.ledger_id"] == "1"
    assert tags["paaplus.version"] == "1"
    assert tags["paaplus.reason"] == "because"
    assert tags["paaplus.figures"] == '{"gain": 0.25}'
    assert '"actor": "eve"' in tags["paaplus.rollback"]
    assert registry.reconcile(world.champions.values()) == []


@pytest.mark.parametrize("user_rows", ["all", "promoted", "off"])
def test_twice_is_once(world, client, user_rows):
    registry = world.registry(user_rows)
    results = pd.DataFrame({"user_id": ["ann"]})
    calls = []
    for number in (1, 2):
        release, rows = world.release(number, users=["ann", "bob", ".."])
        calls.append(lambda release=release: registry.log_round(release, results, {"mae": 1.0}))
        calls.append(lambda release=release: registry.register_release(release, None))
        for user_id in ("ann", ".."):
            entry = world.promote(user_id, release, rows)
            calls.append(lambda entry=entry: registry.mirror(entry, None))
    entry = world.roll_back("ann", 1)
    calls.append(lambda: registry.mirror(entry, None))
    for call in calls:
        first = call()
        after_one = contents(client)
        assert call() == first
        assert contents(client) == after_one
    # All over again, as an outbox does after a crash, ends in the same place.
    for call in calls:
        call()
    assert contents(client) == after_one
    names = {model[0] for model in after_one[0]}
    users = {"all": {"ann", "bob", ".."}, "promoted": {"ann", ".."}, "off": set()}[user_rows]
    assert names == {"paaplus.main.c0000"} | {f"paaplus.main.u.{user_id}" for user_id in users}


def test_a_promotion_points_at_the_run_of_its_round(world, client):
    registry = world.registry()
    runs = {}
    for number in (1, 2):
        release, rows = world.release(number)
        runs[number] = registry.log_round(release, pd.DataFrame(), {})
        for user_id in ("ann", "bob"):
            registry.mirror(world.promote(user_id, release, rows))
    for version in client.search_model_versions():
        assert version.run_id == runs[int(version.version)]
    release, rows = world.release(3)  # of which MLflow has no run
    registry.mirror(world.promote("ann", release, rows))
    assert not client.get_model_version("paaplus.main.u.ann", "3").run_id


def test_all_users_get_a_challenger_row(world, client):
    registry = world.registry("all")
    release, rows = world.release(1)
    registry.register_release(release, None)
    assert aliases(client, "paaplus.main.u.ann") == {"challenger": "1"}
    registry.mirror(world.promote("ann", release, rows), None)
    assert aliases(client, "paaplus.main.u.ann") == {"challenger": "1", "champion": "1"}
    assert client.get_model_version("paaplus.main.u.ann", "1").tags["paaplus.ledger_id"] == "1"
    assert aliases(client, "paaplus.main.u.bob") == {"challenger": "1"}


def test_reconcile_finds_what_a_human_moved(world, client):
    registry = world.registry()
    for number in (1, 2):
        release, rows = world.release(number)
        for user_id in ("ann", "bob", ".."):
            registry.mirror(world.promote(user_id, release, rows), None)
    champions = world.champions.values()
    assert registry.reconcile(champions) == []
    client.set_registered_model_alias("paaplus.main.u.ann", "champion", "1")
    client.delete_registered_model_alias("paaplus.main.u.bob", "champion")
    client.delete_registered_model("paaplus.main.u...")

    def source(user_id, number):
        entry = next(e for e in world.entries if (e.user_id, e.version) == (user_id, number))
        return str(PackAddress(entry.pack, entry.row, user_id))

    assert registry.reconcile(champions) == [
        Difference("ann", "paaplus.main.u.ann", 2, source("ann", 2), source("ann", 1)),
        Difference("bob", "paaplus.main.u.bob", 2, source("bob", 2), None),
        Difference("..", "paaplus.main.u...", 2, source("..", 2), None),
    ]
    for user_id in ("ann", "bob", ".."):
        registry.mirror([e for e in world.entries if e.user_id == user_id][-1], None)
    assert registry.reconcile(champions) == []


def test_off_means_no_user_rows(world, client):
    registry = world.registry("off")
    release, rows = world.release(1)
    registry.register_release(release, None)
    registry.mirror(world.promote("ann", release, rows), None)
    assert registry.reconcile(world.champions.values()) == []
    assert [m.name for m in client.search_registered_models()] == ["paaplus.main.c0000"]


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@127.0.0.1:9",
        "sqlite:////proc/no/such/folder/mlflow.db",
        "nonsense://user:secret@host",
    ],
)
def test_mlflow_being_down_is_a_registry_error(world, url):
    registry = Registry(url, fleet="main", artifacts=world.root, user_rows="all")
    release, rows = world.release(1)
    entry = world.promote("ann", release, rows)
    for call in (
        lambda: registry.log_round(release, pd.DataFrame(), {}),
        lambda: registry.register_release(release, None),
        lambda: registry.mirror(entry, None),
        lambda: registry.reconcile([world.champions["ann"]]),
    ):
        with pytest.raises(RegistryError, match="remedy") as caught:
            call()
        assert "secret" not in str(caught.value)


def test_a_refused_metric_is_a_registry_error(world):
    release, _ = world.release(1)
    with pytest.raises(RegistryError, match="logging round 1"):
        world.registry().log_round(release, pd.DataFrame({"a": [1]}), {"no*such*name": 1.0})


def test_a_deleted_experiment_is_named(world, client):
    release, _ = world.release(1)
    world.registry().register_release(release, None)
    client.delete_experiment(client.get_experiment_by_name("paaplus.main").experiment_id)
    with pytest.raises(RegistryError, match="mlflow experiments restore"):
        world.registry().register_release(release, None)


OPEN = """
import sys
from datetime import UTC, datetime
from pathlib import Path
import mlflow
import pandas as pd
from paaplus.registry import Registry
from paaplus.store.releases import Release
folder = Path(sys.argv[1])
registry = Registry(f"sqlite:///{folder}/new.db", fleet="f", artifacts=folder, user_rows="off")
release = Release(int(sys.argv[2]), "c", "a" * 64, "b" * 64, "s", datetime(2026, 1, 1, tzinfo=UTC), 1, 0)
print("ready", flush=True)
sys.stdin.readline()
print(len(registry.log_round(release, pd.DataFrame({"user_id": ["ann"]}), {})))
"""


@pytest.mark.slow
def test_four_processes_open_an_empty_database_at_once(tmp_path):
    command = [sys.executable, "-c", OPEN, str(tmp_path)]
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen([*command, str(n)], stdin=pipe, stdout=pipe, text=True)
            )
            for n in range(1, 5)
        ]
        assert [process.stdout.readline() for process in processes] == ["ready\n"] * 4
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        results = [process.stdout.read() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert results == ["32\n"] * 4  # ids of runs, all in one experiment


def test_importing_the_registry_imports_no_mlflow_and_sets_nothing():
    code = (
        "import os, sys\n"
        "before = dict(os.environ)\n"
        "import paaplus.registry\n"
        "print('mlflow' in sys.modules, 'torch' in sys.modules, before == dict(os.environ))\n"
        "from pathlib import Path\n"
        "paaplus.registry.Registry('http://x', fleet='f', artifacts=Path('/x'), user_rows='all')\n"
        "print('mlflow' in sys.modules, before == dict(os.environ))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True", "False", "True"]
