"""The schema: migrations and tables agree, several starters do not collide, settings are fixed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from paaplus.errors import ConfigError, StoreError, StoreVersionError
from paaplus.store import StoreSettings, open_store
from paaplus.store.schema import make_engine
from paaplus.store.tables import metadata


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
