"""What an event log is, and `open_log`, which opens one by its URL.

A log holds topics; a topic is a fixed number of partitions; a partition is a sequence of records whose
offsets rise strictly but need not be contiguous (compaction and transactions leave gaps in Kafka, and
the offset of a JSONL line is where it begins). Readers keep their own positions, in the transaction of
whatever they write; a position is the lowest offset not yet taken, so `last offset + 1` always serves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import msgspec

from paaplus.errors import ConfigError

DEFAULT_PARTITIONS = 6
"""Partitions of a topic that we create, unless asked otherwise."""

FORMS = (
    "sqlite:///relative.db or sqlite:////absolute/path.db",
    "file:///absolute/path.jsonl or file://relative.jsonl",
    "kafka://host:port[,host:port][/namespace][?session_timeout_ms=10000]",
)
"""The URLs that `open_log` understands."""


class Record(msgspec.Struct, frozen=True):
    """One message of a log.

    Args:
        topic: Name without namespace.
        partition: From 0.
        offset: Position in the partition.
        timestamp_ms: When the log took it, Unix time in milliseconds; None where the log keeps none.
        key: Decides the partition; None where there is none.
        value: Its bytes, exactly as appended.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int | None
    key: bytes | None
    value: bytes


Positions = Callable[[str, Sequence[int]], dict[int, int]]
"""(topic, partitions) -> the next offset to read of each; a partition left out is read from its start.

Kafka calls it from its own thread, whenever partitions are assigned: it must not use a connection that
belongs to another thread, and must take less than a second.
"""


class Consumer(Protocol):
    """Reads one topic. Not thread-safe."""

    def poll(self, max_records: int, timeout_ms: int) -> list[Record]:
        """At most `max_records` records, each partition's in offset order.

        Waits up to `timeout_ms` for the first; `[]` when there is none.

        Raises:
            LogError: A record cannot be read, or the log has gone.
        """

    def seek(self, positions: dict[int, int]) -> None:
        """Read these partitions from these offsets on; one not assigned to us is left alone."""

    def commit(self, positions: dict[int, int]) -> None:
        """Tell the log how far we are, as advice to lag tools; never fails, never read back."""

    def close(self) -> None:
        """Stop reading and leave the group."""


class EventLog(Protocol):
    """A durable log of events. `append` and `end_offsets` may be called from any thread."""

    @property
    def url(self) -> str:
        """Which log this is: absolute, without credentials and tuning. Stored beside positions."""

    def append(self, topic: str, messages: Iterable[tuple[bytes, bytes]]) -> int:
        """Append (key, value) pairs; durable once this returns.

        Returns:
            How many were appended.

        Raises:
            LogError: A message cannot be stored. SQLite and JSONL then took none of them; Kafka may
                have taken some, so send all again: events carry ids.
        """

    def consumer(self, topic: str, *, positions: Positions, group: str | None) -> Consumer:
        """A reader that starts where `positions` says.

        Args:
            topic: What to read.
            positions: Asked for the partitions that this reader is given.
            group: Name of a group whose members share the partitions out among themselves, where the
                log can do that (Kafka); None: this reader reads all partitions.
        """

    def end_offsets(self, topic: str) -> dict[int, int]:
        """For each partition an offset after its last record: who has read up to it has read all."""

    def close(self) -> None:
        """Let go of files and connections."""


def open_log(url: str, *, partitions: int | None = None) -> EventLog:
    """Open the log at `url`; a SQLite log and Kafka topics are created if they are not there.

    Args:
        url: One of `FORMS`.
        partitions: Of what is created; None = `DEFAULT_PARTITIONS`. What exists keeps its own number,
            since another would send a user's events to another partition.

    Raises:
        ConfigError: The URL is none of the forms, or `partitions` is below 1.
        LogError: What is there is no log.
        LogUnavailableError: It cannot be reached; Kafka says so at the first use, not here.
    """
    if partitions is not None and partitions < 1:
        raise ConfigError(f"log: {partitions} partitions", "ask for at least 1")
    scheme, separator, rest = url.partition("://")
    count = DEFAULT_PARTITIONS if partitions is None else partitions
    if separator and scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        from streams.sqlite_log import SqliteLog

        return SqliteLog(rest[1:], partitions=count)
    if separator and scheme == "file" and rest:
        from streams.file_log import FileLog

        return FileLog(rest)
    if separator and scheme == "kafka":
        # Loading the client takes a while and is needed by Kafka's users only.
        from streams.kafka_log import KafkaLog
        from streams.kafka_settings import KafkaSettings

        return KafkaLog(KafkaSettings.from_url(url), partitions=count)
    # The URL itself is not repeated: it may hold a password.
    raise ConfigError(
        f"log: no event log has a URL that begins with {scheme + separator!r}"
        if separator and scheme not in ("sqlite", "file")
        else "log: the URL names no file, or has the wrong number of slashes",
        "write one of: " + "; ".join(FORMS),
    )
