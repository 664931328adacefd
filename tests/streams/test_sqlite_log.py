"""What only the SQLite log promises."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from paaplus.errors import LogError, LogUnavailableError
from streams.sqlite_log import SqliteLog


def test_the_clock_is_the_timestamp(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", partitions=1, clock=lambda: 1234.5678)
    log.append("feedback", [(b"u", b"1")])
    assert [r.timestamp_ms for r in log.read("feedback", 0, 0, 9)] == [1234567]
    log.close()


def test_a_failing_append_leaves_nothing(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    with pytest.raises(LogError):
        log.append("feedback", [(b"u", b"1"), (b"u", None)])  # type: ignore[list-item]

    def broken() -> object:
        yield b"u", b"2"
        raise RuntimeError("source")

    with pytest.raises(RuntimeError, match="source"):
        log.append("feedback", broken())  # type: ignore[arg-type]
    assert set(log.end_offsets("feedback").values()) == {0}
    assert log.append("feedback", [(b"u", b"3")]) == 1
    log.close()


def test_it_syncs_each_append(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db")
    assert log._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert log._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    log.close()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be looked at" * 40)
    with pytest.raises(LogError, match=r"notes\.txt.*not a database"):
        SqliteLog(path)
    assert path.read_text().startswith("not a database")


def test_a_database_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE log(message TEXT)")
    other.close()
    with pytest.raises(LogError, match="not a log of ours"):
        SqliteLog(path)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogUnavailableError, match="folder"):
        SqliteLog(tmp_path / "file" / "log.db")


def test_threads_share_one_log(tmp_path: Path) -> None:
    log = SqliteLog(tmp_path / "log.db", partitions=2)

    def work(name: bytes) -> None:
        for n in range(20):
            log.append("feedback", [(name, b"%d" % n)])
            log.end_offsets("feedback")

    threads = [threading.Thread(target=work, args=(b"t%d" % n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    records = [r for part in (0, 1) for r in log.read("feedback", part, 0, 100)]
    for n in range(4):
        mine = [r.value for r in records if r.key == b"t%d" % n]
        assert mine == [b"%d" % i for i in range(20)]
    log.close()
