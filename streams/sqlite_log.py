"""A log in one SQLite file: the default, durable, and cut into the same partitions as a Kafka topic."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from paaplus.errors import LogError, LogUnavailableError
from streams.log import DEFAULT_PARTITIONS, Positions, Record
from streams.partition import partition_of

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS log(topic TEXT NOT NULL, part INTEGER NOT NULL, off INTEGER NOT NULL,"
    " ts INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,"
    " PRIMARY KEY(topic, part, off)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
)
_BUSY_S = 60.0
_WAIT_S = 0.02


class SqliteLog:
    """See `streams.log.EventLog`. May be used from several threads and by several processes at once.

    Args:
        path: Of the database; it and its folder are created.
        partitions: Of a log that is created; one that exists keeps its number.
        clock: Unix time in seconds, for the records' timestamps.

    Raises:
        LogError: The file is no SQLite database, or some other program's.
        LogUnavailableError: It cannot be opened or written.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        partitions: int = DEFAULT_PARTITIONS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = Path(path).absolute()
        self._clock = clock
        self._lock = threading.RLock()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LogUnavailableError(
                f"log {self._path}: its folder cannot be made: {error}",
                "choose a path in a folder that this account may write to",
            ) from error
        with self._errors():
            self._db = sqlite3.connect(
                self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
        try:
            with self._errors():
                self._partitions = self._prepare(partitions)
        except BaseException:
            self._db.close()
            raise

    @property
    def url(self) -> str:
        """Of this log, with its absolute path."""
        return f"sqlite:///{self._path}"

    @property
    def partitions(self) -> int:
        """Partitions of every topic."""
        return self._partitions

    def append(self, topic: str, messages: Iterable[tuple[bytes, bytes]]) -> int:
        """Append all in one transaction, synced to disk, or none."""
        batch = [(partition_of(key, self._partitions), key, value) for key, value in messages]
        if not batch:
            return 0
        with self._lock, self._errors(), self._transaction():
            # After the write lock is ours, or another process could take the same offsets.
            ends = self._ends(topic)
            stamp = int(self._clock() * 1000)
            rows = []
            for part, key, value in batch:
                rows.append((topic, part, ends[part], stamp, key, value))
                ends[part] += 1
            self._db.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?)", rows)
        return len(batch)

    def consumer(self, topic: str, *, positions: Positions, group: str | None) -> SqliteConsumer:
        """A reader of all partitions; there are no groups, so `group` is not looked at."""
        return SqliteConsumer(self, topic, positions(topic, range(self._partitions)))

    def end_offsets(self, topic: str) -> dict[int, int]:
        """For each partition the offset that its next record gets."""
        with self._lock, self._errors():
            return self._ends(topic)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._db.close()

    def read(self, topic: str, part: int, start: int, limit: int) -> list[Record]:
        """At most `limit` records of one partition from offset `start` on."""
        with self._lock, self._errors():
            rows = self._db.execute(
                "SELECT off, ts, key, value FROM log WHERE topic = ? AND part = ? AND off >= ?"
                " ORDER BY off LIMIT ?",
                (topic, part, start, limit),
            ).fetchall()
        return [Record(topic, part, off, ts, key, value) for off, ts, key, value in rows]

    def _prepare(self, partitions: int) -> int:
        self._db.execute("PRAGMA synchronous = FULL")  # in WAL mode, the default syncs too late
        self._enter_wal()
        with self._transaction():
            for statement in _SCHEMA:
                self._db.execute(statement)
            self._db.execute(
                "INSERT INTO meta VALUES ('partitions', ?) ON CONFLICT DO NOTHING", (partitions,)
            )
            row = self._db.execute("SELECT value FROM meta WHERE name = 'partitions'").fetchone()
            # A table `log` of other columns would only be noticed at the first append.
            self._db.execute("SELECT topic, part, off, ts, key, value FROM log LIMIT 0")
        return int(row[0])

    def _enter_wal(self) -> None:
        # Changing the mode does not wait for other processes, whatever the busy timeout.
        deadline = time.monotonic() + _BUSY_S
        while True:
            try:
                self._db.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(_WAIT_S)

    def _ends(self, topic: str) -> dict[int, int]:
        # One look at the end of the key each; max() ... GROUP BY would read the whole topic.
        return {
            part: self._db.execute(
                "SELECT coalesce(max(off) + 1, 0) FROM log WHERE topic = ? AND part = ?",
                (topic, part),
            ).fetchone()[0]
            for part in range(self._partitions)
        }

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "no such column" in str(error) or "has no column" in str(error):
                raise self._not_ours(error) from error
            raise LogUnavailableError(
                f"log {self._path}: {error}",
                "check that the folder exists, may be written to and has room, and that no other"
                " program holds the file",
            ) from error
        except sqlite3.DatabaseError as error:
            raise self._not_ours(error) from error

    def _not_ours(self, error: sqlite3.Error) -> LogError:
        return LogError(
            f"log {self._path}: {error}",
            "this file is not a log of ours, or is damaged: name another path, or restore it from a"
            " copy",
        )


class SqliteConsumer:
    """See `streams.log.Consumer`; reads all partitions."""

    def __init__(self, log: SqliteLog, topic: str, positions: dict[int, int]) -> None:
        self._log = log
        self._topic = topic
        self._next = {part: positions.get(part, 0) for part in range(log.partitions)}
        self._first = 0

    def poll(self, max_records: int, timeout_ms: int) -> list[Record]:
        """Records in offset order within each partition; the first partition takes turns."""
        deadline = time.monotonic() + timeout_ms / 1000
        while True:
            records = self._read(max_records)
            left = deadline - time.monotonic()
            if records or left <= 0:
                return records
            time.sleep(min(_WAIT_S, left))

    def seek(self, positions: dict[int, int]) -> None:
        """Read these partitions from these offsets on."""
        self._next.update((part, at) for part, at in positions.items() if part in self._next)

    def commit(self, positions: dict[int, int]) -> None:
        """Nothing: nobody else asks this log about readers."""

    def close(self) -> None:
        """Nothing: the connection is the log's."""

    def _read(self, limit: int) -> list[Record]:
        records: list[Record] = []
        count = len(self._next)
        for step in range(count):
            part = (self._first + step) % count
            if len(records) < limit:
                some = self._log.read(self._topic, part, self._next[part], limit - len(records))
                if some:
                    self._next[part] = some[-1].offset + 1
                    records += some
        self._first = (self._first + 1) % count
        return records
