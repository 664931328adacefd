"""The schema: migrations and tables agree, several starters do not collide, settings are fixed."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, select, text

from paaplus.errors import ConfigError, StoreError, StoreVersionError
from paaplus.store import StoreSettings, open_store
from paaplus.store.schema import make_engine
from paaplus.store.tables import feedback, metadata


def test_migrations_make_the_tables_of_the_code(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/store.db")
    with engine.connect() as connection:
        difference = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert difference == []


def test_four_processes_open_a_store_that_is_not_there(tmp_path: Path) -> None:
    code = (
        "import sys, time; from paaplus.store import open_store; "
        "time.sleep(max(0, float(sys.argv[2]) - time.time())); "
        "s = open_store(sys.argv[1]); print(s.settings.cohorts); s.close()"
    )
    import time

    start = str(time.time() + 1.5)  # all at the same instant
    words = [sys.executable, "-c", code, f"sqlite:///{tmp_path}/deep/store.db", start]
    started = [
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    results = [process.communicate(timeout=60) for process in started]
    assert [out.strip() for out, _ in results] == ["1"] * 4, results


def test_settings_cannot_change(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    open_store(url, StoreSettings(0.3, "event", 4)).close()
    with open_store(url) as store:
        assert store.settings == StoreSettings(0.3, "event", 4)
    with pytest.raises(ConfigError, match="made with"):
        open_store(url, StoreSettings(0.2, "event", 4))


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(StoreVersionError, match="9999"):
        make_engine(url)


@pytest.mark.parametrize("url", ["nonsense", "sqlite://", "mysql://u@h/d"])
def test_unusable_urls(url: str) -> None:
    with pytest.raises(ConfigError):
        open_store(url)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is a text file, not a database" * 40)
    with pytest.raises(StoreError):
        open_store(f"sqlite:///{path}")


def test_holding_out_is_by_item_or_by_pair_and_near_its_fraction() -> None:
    items = [f"i{n}" for n in range(4000)]
    by_item = StoreSettings(0.2, "item")
    assert all(by_item.is_held_out("a", i) == by_item.is_held_out("b", i) for i in items)
    share = sum(by_item.is_held_out("a", i) for i in items) / len(items)
    assert abs(share - 0.2) < 0.03
    by_pair = StoreSettings(0.2, "event")
    assert any(by_pair.is_held_out("a", i) != by_pair.is_held_out("b", i) for i in items)
    assert not any(StoreSettings(0.0).is_held_out("a", i) for i in items)


def test_a_store_of_the_first_schema_is_numbered_anew(tmp_path: Path) -> None:
    from alembic import command
    from alembic.config import Config

    import paaplus.store

    path = tmp_path / "store.db"
    engine = create_engine(f"sqlite:///{path}")
    config = Config()
    folder = Path(paaplus.store.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    ids = [uuid.UUID(int=n) for n in range(1, 7)]
    common = {"schema_version": 1, "occurred_at": "2026-10-31T12:00:00Z", "user_id": "ann"}
    bodies = [
        {"kind": "rating", "item_id": "i", "scores": {"health": 4.0}},
        {"kind": "comment", "item_id": "i", "text": "stands upright"},
        {"kind": "survey", "answers": {"sport": "daily"}},
        {"kind": "rating", "item_id": "j", "scores": {"health": 6.0}},
        {"kind": "survey", "answers": {"sport": "never"}},
        {"kind": "retraction", "retracts": str(ids[0])},
    ]
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            text("INSERT INTO app_user VALUES ('ann', 'c0000', 6, 2, 0)"),
        )
        for key, value in {"holdout_fraction": "0.0", "holdout_by": "item", "cohorts": "1"}.items():
            connection.execute(text("INSERT INTO setting VALUES (:k, :v)"), {"k": key, "v": value})
        for n, (event_id, body) in enumerate(zip(ids, bodies, strict=True)):
            rated = body["kind"] == "rating"
            connection.execute(
                text(
                    "INSERT INTO feedback (event_id, user_id, seq, rating_no, held_out, kind, item_id,"
                    " health, occurred_at, body) VALUES (:e, 'ann', :s, :r, 0, :k, :i, :h, 0, :b)"
                ),
                {
                    "e": event_id.bytes,
                    "s": n + 1,
                    "r": {0: 1, 3: 2}.get(n),
                    "k": body["kind"],
                    "i": body.get("item_id"),
                    "h": body["scores"]["health"] if rated else None,
                    "b": json.dumps(common | body | {"event_id": str(event_id)}).encode(),
                },
            )
    engine.dispose()
    with open_store(f"sqlite:///{path}") as store, store.read() as connection:
        rows = connection.execute(select(feedback).order_by(feedback.c.seq)).mappings().all()
        counts = store.feedback.user_counts(connection, "ann")
        left = store.feedback.next_observations(connection, ["ann"], [0], 10)
    assert [row["number"] for row in rows] == [1, 2, 3, 4, 5, None]
    assert [row["retracted_by"] for row in rows] == [6, None, 5, None, None, None]
    assert [row["channel"] for row in rows][:3] == ["rating", "comment", "survey"]
    assert rows[1]["posture"] > 0
    assert rows[0]["health"] == 4.0
    assert counts == {
        "events": 6, "ratings": 1, "held_out": 0, "observations": 5, "retracted": 2,
    }  # fmt: skip
    assert left.seq.tolist() == [2, 4, 5]
