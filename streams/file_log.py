"""A JSONL file as a log: one event per line. For import, replay and bug reports.

There is one partition, 0, and the offset of a record is where its line begins, in bytes. A line goes to
the topic that its `kind` says, so one file holds items and feedback in the order they came in; what
cannot be decoded is feedback, where it becomes a dead letter. Keys are not stored: a record's key is
its `user_id`, or `item_id` for an item. A last line without a line end is still being written, and is
not read until something follows it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
from filelock import FileLock, Timeout

from paaplus.errors import LogError, LogUnavailableError
from streams.log import Positions, Record
from streams.topics import FEEDBACK, ITEMS

MAX_LINE = 64 * 2**20
"""Longest line in bytes; a longer one is no event, and reading it would take all memory."""

_LOCK_S = 60.0
_WAIT_S = 0.02


class _Head(msgspec.Struct):
    kind: object = None
    user_id: object = None
    item_id: object = None


_DECODER = msgspec.json.Decoder(_Head)


class FileLog:
    """See `streams.log.EventLog`. Several processes may append and read at once.

    Args:
        path: Of the file; the first append creates it. Reading needs no right to write.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).absolute()
        self._lock = threading.Lock()
        self._scanned = 0
        self._ends = {FEEDBACK: 0, ITEMS: 0}

    @property
    def url(self) -> str:
        """Of this log, with its absolute path."""
        return f"file://{self._path}"

    def append(self, topic: str, messages: Iterable[tuple[bytes, bytes]]) -> int:
        """Append all and sync them to disk, or none; a torn last line is ended first.

        Raises:
            LogError: A value has a line end in it, is too long, or belongs to the other topic.
            LogUnavailableError: The file cannot be written.
        """
        lines = [self._line(topic, number, value) for number, (_, value) in enumerate(messages)]
        if not lines:
            return 0
        with self._errors():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self._path}.lock", timeout=_LOCK_S), self._path.open("ab+") as file:
                size = file.seek(0, os.SEEK_END)
                if size and _byte(file, size - 1) != b"\n":
                    lines.insert(0, b"\n")
                    count = len(lines) - 1
                else:
                    count = len(lines)
                try:
                    file.write(b"".join(lines))
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    os.ftruncate(file.fileno(), size)
                    raise
        return count

    def consumer(self, topic: str, *, positions: Positions, group: str | None) -> FileConsumer:
        """A reader of the file; there are no groups, so `group` is not looked at."""
        return FileConsumer(self, topic, positions(topic, [0]).get(0, 0))

    def end_offsets(self, topic: str) -> dict[int, int]:
        """One past the beginning of the topic's last line; reads only what has been added since."""
        with self._lock:
            with self._open() as file:
                if file.seek(0, os.SEEK_END) < self._scanned:  # replaced by a shorter file
                    self._scanned = 0
                    self._ends = {FEEDBACK: 0, ITEMS: 0}
                for at, line in self.lines(file, self._scanned):
                    self._ends[_record(at, line).topic] = at + 1
                    self._scanned = at + len(line) + 1
            return {0: self._ends.get(topic, 0)}

    def close(self) -> None:
        """Nothing: the file is open only while it is read or written."""

    def read(self, topic: str, position: int, limit: int) -> tuple[list[Record], int]:
        """At most `limit` records of `topic` in lines that begin at `position` or later.

        Returns:
            The records, and the position after the last line looked at.
        """
        records: list[Record] = []
        with self._open() as file:
            for at, line in self.lines(file, position):
                record = _record(at, line)
                if record.topic == topic:
                    if len(records) == limit:
                        break
                    records.append(record)
                position = at + len(line) + 1
        return records, position

    def lines(self, file: BinaryIO, position: int) -> Iterator[tuple[int, bytes]]:
        """Whole lines that begin at `position` or later: where, and what without the line end."""
        file.seek(max(0, position - 1))
        if position > 0:
            # A position after an offset lies within that offset's line.
            while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
            if not rest:
                return
        while True:
            at = file.tell()
            line = file.readline(MAX_LINE + 1)
            if not line.endswith(b"\n"):
                if len(line) > MAX_LINE:
                    raise LogError(
                        f"log {self._path}: the line at byte {at} is longer than"
                        f" {MAX_LINE // 2**20} MiB",
                        "this is no file of one event per line: mend or remove that line",
                    )
                return
            yield at, line[:-1]

    def _line(self, topic: str, number: int, value: bytes) -> bytes:
        if b"\n" in value or len(value) >= MAX_LINE:
            raise LogError(
                f"log {self._path}: message {number} has a line end in it, or {MAX_LINE} bytes or more",
                "write the event as JSON on one line",
            )
        found = _record(0, value).topic
        if found != topic:
            raise LogError(
                f"log {self._path}: message {number} for topic {topic!r} would be read as {found!r}",
                'a JSONL log takes "kind": "item" as items and all else as feedback; use a sqlite:///'
                " log for other topics",
            )
        return value + b"\n"

    def _open(self) -> BinaryIO:
        with self._errors():
            return self._path.open("rb")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except LogError:
            raise
        except Timeout as error:
            raise LogUnavailableError(
                f"log {self._path}: another process has been appending for {_LOCK_S:.0f} s",
                f"end the process that holds {self._path}.lock",
            ) from error
        except FileNotFoundError as error:
            raise LogUnavailableError(
                f"log {self._path}: there is no such file",
                "check the path; the first append makes it",
            ) from error
        except OSError as error:
            raise LogUnavailableError(
                f"log {self._path}: {error}",
                "check that it is a file that this account may use, and that the disk has room",
            ) from error


class FileConsumer:
    """See `streams.log.Consumer`; reads the one partition."""

    def __init__(self, log: FileLog, topic: str, position: int) -> None:
        self._log = log
        self._topic = topic
        self._position = position

    def poll(self, max_records: int, timeout_ms: int) -> list[Record]:
        """Records in the order of the file."""
        deadline = time.monotonic() + timeout_ms / 1000
        while True:
            records, self._position = self._log.read(self._topic, self._position, max_records)
            left = deadline - time.monotonic()
            if records or left <= 0:
                return records
            time.sleep(min(_WAIT_S, left))

    def seek(self, positions: dict[int, int]) -> None:
        """Read the lines that begin at this byte or later."""
        self._position = positions.get(0, self._position)

    def commit(self, positions: dict[int, int]) -> None:
        """Nothing: a file does not know its readers."""

    def close(self) -> None:
        """Nothing is open."""


def _byte(file: BinaryIO, at: int) -> bytes:
    file.seek(at)
    return file.read(1)


def _record(at: int, line: bytes) -> Record:
    try:
        head = _DECODER.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # What is wrong is ingest's to say, in a dead letter.
        head = _Head()
    topic = ITEMS if head.kind == "item" else FEEDBACK
    key = head.item_id if topic == ITEMS else head.user_id
    return Record(topic, 0, at, None, key.encode() if isinstance(key, str) else None, line)
