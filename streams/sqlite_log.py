"""Temporary (to be replaced)."""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

from streams.log import Positions, Record


class SqliteLog:
    def __init__(self, url: str, *, partitions: int | None = None) -> None:
        self.url = url
        path = Path(url.removeprefix("sqlite:///"))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._n = partitions or 6
        self._db = sqlite3.connect(path, isolation_level=None, timeout=60)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS log(topic TEXT, part INT, off INT, ts INT, key BLOB, value BLOB, PRIMARY KEY(topic, part, off)) WITHOUT ROWID"
        )

    def append(self, topic: str, messages: Iterable[tuple[bytes, bytes]]) -> int:
        self._db.execute("BEGIN IMMEDIATE")
        ends = self.end_offsets(topic)
        n = 0
        for key, value in messages:
            part = zlib.crc32(key) % self._n
            self._db.execute(
                "INSERT INTO log VALUES (?,?,?,?,?,?)",
                (topic, part, ends[part], int(time.time() * 1000), key, value),
            )
            ends[part] += 1
            n += 1
        self._db.execute("COMMIT")
        return n

    def end_offsets(self, topic: str) -> dict[int, int]:
        rows = dict(
            self._db.execute(
                "SELECT part, max(off)+1 FROM log WHERE topic=? GROUP BY part", (topic,)
            )
        )
        return {p: rows.get(p, 0) for p in range(self._n)}

    def consumer(self, topic: str, *, positions: Positions, group: str | None) -> SqliteConsumer:
        return SqliteConsumer(self, topic, positions(topic, list(range(self._n))))

    def close(self) -> None:
        self._db.close()


class SqliteConsumer:
    def __init__(self, log: SqliteLog, topic: str, positions: dict[int, int]) -> None:
        self._log, self._topic, self._pos = log, topic, positions

    def poll(self, max_records: int, timeout_ms: int) -> list[Record]:
        out: list[Record] = []
        for part, off in self._pos.items():
            rows = self._log._db.execute(
                "SELECT off, ts, key, value FROM log WHERE topic=? AND part=? AND off>=? ORDER BY off LIMIT ?",
                (self._topic, part, off, max_records - len(out)),
            ).fetchall()
            out += [Record(self._topic, part, o, ts, k, v) for o, ts, k, v in rows]
            if rows:
                self._pos[part] = rows[-1][0] + 1
        if not out:
            time.sleep(timeout_ms / 1000)
        return out

    def seek(self, positions: dict[int, int]) -> None:
        self._pos.update(positions)

    def commit(self, positions: dict[int, int]) -> None: ...
    def close(self) -> None: ...
