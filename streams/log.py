"""Temporary (to be replaced): the protocols and sqlite only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from paaplus.errors import ConfigError


class Record(msgspec.Struct, frozen=True):
    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None
    key: bytes | None
    value: bytes


Positions = Callable[[str, Sequence[int]], dict[int, int]]


class Consumer(Protocol):
    def poll(self, max_records: int, timeout_ms: int) -> list[Record]: ...
    def seek(self, positions: dict[int, int]) -> None: ...
    def commit(self, positions: dict[int, int]) -> None: ...
    def close(self) -> None: ...


class EventLog(Protocol):
    @property
    def url(self) -> str: ...
    def append(self, topic: str, messages: Iterable[tuple[bytes, bytes]]) -> int: ...
    def consumer(self, topic: str, *, positions: Positions, group: str | None) -> Consumer: ...
    def end_offsets(self, topic: str) -> dict[int, int]: ...
    def close(self) -> None: ...


def open_log(url: str, *, partitions: int | None = None) -> EventLog:
    if url.startswith("sqlite:///"):
        from streams.sqlite_log import SqliteLog

        return SqliteLog(url, partitions=partitions)
    raise ConfigError("log: scheme")
