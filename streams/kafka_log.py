"""A log on Apache Kafka, through kafka-python: the one place that talks to a broker.

Offsets live with the reader's own data, never in Kafka: a consumer starts where its `positions` say, and
what it commits is advice to lag tools ("Storing Offsets Outside Kafka" in the Javadoc of KafkaConsumer).
Values are taken as bytes: in kafka-python 3.0 a deserializer that raises makes the next poll spin.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import kafka.errors
from kafka import (
    ConsumerRebalanceListener,
    KafkaAdminClient,
    KafkaConsumer,
    KafkaProducer,
    OffsetAndMetadata,
    TopicPartition,
)
from kafka.consumer.fetcher import ConsumerRecord
from kafka.net.compat import KafkaNetClient

from paaplus.errors import LogError, LogUnavailableError
from streams.kafka_settings import KafkaSettings
from streams.log import DEFAULT_PARTITIONS, Positions, Record
from streams.topics import FEEDBACK, ITEMS

PATIENCE_MS = 8_000
"""How long one request may take before the log counts as unavailable."""

_CONFIGS = {
    # An item's last word is kept for ever; feedback may never be compacted, since that would keep one
    # event of each user.
    ITEMS: {"cleanup.policy": "compact"},
    FEEDBACK: {"cleanup.policy": "delete"},
}
_CHUNK = 5_000
_CAUSES = 3
_TOO_LARGE = (kafka.errors.MessageSizeTooLargeError, kafka.errors.RecordListTooLargeError)
_BAD_RECORD = (kafka.errors.CorruptRecordError, kafka.errors.UnsupportedCodecError)


class KafkaLog:
    """See `streams.log.EventLog`. Connects at the first use; create it after a fork, not before.

    Args:
        settings: Brokers, namespace, credentials.
        partitions: Of topics that are created; one that exists keeps its number.
    """

    def __init__(self, settings: KafkaSettings, *, partitions: int = DEFAULT_PARTITIONS) -> None:
        self._settings = settings
        self._partitions = partitions
        self._known: set[str] = set()
        self._producer: KafkaProducer | None = None
        self._reader: KafkaConsumer | None = None
        self._append_lock = threading.RLock()
        self._read_lock = threading.RLock()

    @property
    def url(self) -> str:
        """Brokers and namespace, without credentials and tuning."""
        return self._settings.identity

    def append(self, topic: str, messages: Iterable[tuple[bytes, bytes]]) -> int:
        """Append; returns once every broker in sync has acknowledged all.

        Raises:
            LogError: A message is larger than the broker takes. Earlier ones may have been appended.
            LogUnavailableError: Not all were acknowledged in time. Some may have been appended.
        """
        name = self._settings.topic(topic)
        count = 0
        with self._append_lock, _naming_causes(self._settings, f"appending to {name}"):
            self._ensure(topic)
            waiting = iter(messages)
            while chunk := list(islice(waiting, _CHUNK)):
                try:
                    self._send(name, chunk)
                except BaseException:
                    # What it still holds must not reach the log after we have said that it failed.
                    self._drop_producer()
                    raise
                count += len(chunk)
        return count

    def consumer(self, topic: str, *, positions: Positions, group: str | None) -> KafkaLogConsumer:
        """A member of `group`, or a reader of all partitions."""
        with _naming_causes(self._settings, f"reading {self._settings.topic(topic)}"):
            self._ensure(topic)
            return KafkaLogConsumer(self._settings, topic, positions, group)

    def end_offsets(self, topic: str) -> dict[int, int]:
        """For each partition the offset that its next record gets."""
        name = self._settings.topic(topic)
        with self._read_lock, _naming_causes(self._settings, f"looking at {name}"):
            self._ensure(topic)
            if self._reader is None:
                self._reader = connect(
                    KafkaConsumer, self._settings, allow_auto_create_topics=False
                )
            ends = self._reader.end_offsets(_partitions(self._reader, name), timeout_ms=PATIENCE_MS)
            return {pair.partition: int(end) for pair, end in ends.items()}

    def close(self) -> None:
        """Close all connections of this log; its consumers are closed on their own."""
        with self._append_lock:
            self._drop_producer()
        with self._read_lock:
            if self._reader is not None:
                self._reader.close(autocommit=False, timeout_ms=PATIENCE_MS)
                self._reader = None

    def _send(self, name: str, chunk: Sequence[tuple[bytes, bytes]]) -> None:
        if self._producer is None:
            self._producer = connect(
                KafkaProducer,
                self._settings,
                acks="all",
                enable_idempotence=True,
                compression_type="lz4",
                linger_ms=20,
                batch_size=128 * 1024,
                max_block_ms=PATIENCE_MS,
                request_timeout_ms=PATIENCE_MS // 2,
                delivery_timeout_ms=PATIENCE_MS,
                allow_auto_create_topics=False,
            )
        futures = [self._producer.send(name, key=key, value=value) for key, value in chunk]
        self._producer.flush(timeout=PATIENCE_MS / 1000 + 1)
        for future in futures:
            future.get(timeout=1)

    def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(kafka.errors.KafkaError):  # it flushes first, in no time
                producer.close(timeout=0)

    def _ensure(self, topic: str) -> None:
        name = self._settings.topic(topic)
        if name in self._known:
            return
        admin = connect(KafkaAdminClient, self._settings, request_timeout_ms=PATIENCE_MS)
        try:
            # Looked up first: the right to create topics is not needed where they exist.
            if admin.describe_topics([name])[0]["error_code"] != 0:
                new = {"num_partitions": self._partitions, "configs": _CONFIGS.get(topic, {})}
                with suppress(kafka.errors.TopicAlreadyExistsError):
                    admin.create_topics({name: new}, timeout_ms=PATIENCE_MS)
                admin.wait_for_topics([name], timeout_ms=PATIENCE_MS)
        finally:
            admin.close()
        self._known.add(name)


class KafkaLogConsumer:
    """See `streams.log.Consumer`."""

    def __init__(
        self, settings: KafkaSettings, topic: str, positions: Positions, group: str | None
    ) -> None:
        self._settings = settings
        self._topic = topic
        self._name = settings.topic(topic)
        self._positions = positions
        self._group = group
        self._next: dict[int, int] = {}
        self._unplaced: set[int] = set()
        self._consumer: KafkaConsumer = connect(
            KafkaConsumer,
            settings,
            group_id=group,
            enable_auto_commit=False,
            # For a position that retention has overtaken. New partitions are placed by us.
            auto_offset_reset="earliest",
            session_timeout_ms=settings.session_timeout_ms,
            heartbeat_interval_ms=settings.heartbeat_interval_ms,
            allow_auto_create_topics=False,
        )
        try:
            if group is None:
                pairs = _partitions(self._consumer, self._name)
                self._consumer.assign(pairs)
                self._unplaced = {pair.partition for pair in pairs}
                self._place()
            else:
                self._consumer.subscribe([self._name], listener=_Listener(self))
        except BaseException:
            self.close()
            raise

    def poll(self, max_records: int, timeout_ms: int) -> list[Record]:
        """Records, in offset order within each partition.

        Raises:
            LogError: A record is damaged; the message says where. The next poll says it again.
            LogUnavailableError: The broker refuses us. A broker that is away gives no records.
        """
        self._place()
        with _naming_causes(self._settings, f"reading {self._name}"):
            try:
                batches = self._consumer.poll(timeout_ms=timeout_ms, max_records=max_records)
            except (*_BAD_RECORD, RuntimeError) as error:
                # Without a seek, kafka-python's next poll would never return.
                self.seek(dict(self._next))
                if isinstance(error, _BAD_RECORD):
                    raise self._damaged(error) from error
                raise
        return [
            self._record(message)
            for pair, messages in batches.items()
            for message in messages
            if self._take(pair.partition, message.offset)
        ]

    def seek(self, positions: dict[int, int]) -> None:
        """Read these partitions from these offsets on; one not assigned to us is left alone."""
        assigned = self._consumer.assignment()
        for part, offset in positions.items():
            pair = TopicPartition(self._name, part)
            if pair in assigned:
                self._consumer.seek(pair, offset)
                self._next[part] = offset

    def commit(self, positions: dict[int, int]) -> None:
        """Tell the broker how far we are, without waiting for its answer."""
        if self._group is None:
            return
        offsets = {
            TopicPartition(self._name, part): OffsetAndMetadata(offset, "", -1)
            for part, offset in positions.items()
            if part in self._next
        }
        with suppress(kafka.errors.KafkaError):
            if offsets:
                self._consumer.commit_async(offsets)

    def close(self) -> None:
        """Leave the group at once, so that others take over."""
        with suppress(kafka.errors.KafkaError):
            self._consumer.close(autocommit=False, timeout_ms=PATIENCE_MS)

    def assigned(self, parts: Sequence[int]) -> None:
        """Called on Kafka's thread, while ours is inside `poll`: place these partitions."""
        self._unplaced |= set(parts)
        try:
            self._place()
        except Exception:  # noqa: BLE001 - nobody is above us here; the next poll tries again
            # Otherwise Kafka would go on from its own committed offsets, which may be ahead.
            self._consumer.pause(*(TopicPartition(self._name, part) for part in parts))

    def revoked(self, parts: Sequence[int]) -> None:
        """Called on Kafka's thread, while ours is inside `poll` or `close`."""
        for part in parts:
            self._next.pop(part, None)
            self._unplaced.discard(part)

    def _place(self) -> None:
        if not self._unplaced:
            return
        parts = sorted(self._unplaced)
        positions = self._positions(self._topic, parts)
        self.seek({part: positions.get(part, 0) for part in parts})
        self._consumer.resume(*(TopicPartition(self._name, part) for part in parts))
        self._unplaced.clear()

    def _take(self, part: int, offset: int) -> bool:
        # False for what was fetched before a seek or a revocation.
        if part not in self._next or offset < self._next[part]:
            return False
        self._next[part] = offset + 1
        return True

    def _record(self, message: ConsumerRecord) -> Record:
        stamp = message.timestamp
        return Record(
            self._topic,
            message.partition,
            message.offset,
            stamp if stamp is not None and stamp >= 0 else None,
            message.key,
            message.value or b"",  # a tombstone says as little as an empty message
        )

    def _damaged(self, error: Exception) -> LogError:
        found = re.search(r"partition=(\d+)\) at offset (\d+)", str(error))
        where = (
            f"partition {found[1]}, offset {found[2]}"
            if found
            else f"one of the partitions, at or after its offset in {self._next}"
        )
        return LogError(
            f"log {self._settings.identity}: topic {self._name}, {where} cannot be read: {error}",
            "restore the partition from a replica, or let kafka-delete-records.sh delete up to and"
            " with that offset",
        )


class _Listener(ConsumerRebalanceListener):
    def __init__(self, consumer: KafkaLogConsumer) -> None:
        self._consumer = consumer

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._consumer.assigned([pair.partition for pair in assigned])

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._consumer.revoked([pair.partition for pair in revoked])


def connect(kind: Callable[..., Any], settings: KafkaSettings, **config: Any) -> Any:
    """A `KafkaConsumer`, `KafkaProducer` or `KafkaAdminClient`, connected.

    Raises:
        kafka.errors.KafkaTimeoutError: No broker answered; nothing is left running.
    """
    clients: list[KafkaNetClient] = []

    def client(**given: Any) -> KafkaNetClient:
        clients.append(KafkaNetClient(**given))
        return clients[-1]

    try:
        return kind(
            **settings.client_config(),
            metadata_max_age_ms=30_000,
            reconnect_backoff_max_ms=1_000,
            bootstrap_timeout_ms=PATIENCE_MS,
            kafka_client=client,
            **config,
        )
    except BaseException:
        # A constructor that fails would leave its thread and sockets behind.
        for left in clients:
            left.close()
        raise


def _partitions(consumer: KafkaConsumer, name: str) -> list[TopicPartition]:
    # The consumer may not have heard yet of a topic that another client has just seen.
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while True:
        parts = consumer.partitions_for_topic(name)
        if parts:
            return [TopicPartition(name, part) for part in sorted(parts)]
        if time.monotonic() > deadline:
            raise kafka.errors.UnknownTopicOrPartitionError(f"topic {name}")
        time.sleep(0.1)


class _Causes(logging.Handler):
    """Keeps what the client logs: its exceptions do not say why."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.seen: dict[str, None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        # Waiting times differ from one try to the next.
        text = re.sub(r"\s*\(backoff [\d.]+ secs\)", "", record.getMessage())
        if "not ready; waiting" not in text and not text.startswith("Bootstrap failed"):
            self.seen.pop(text, None)
            self.seen[text] = None


@contextmanager
def _naming_causes(settings: KafkaSettings, doing: str) -> Iterator[None]:
    causes = _Causes()
    logger = logging.getLogger("kafka")
    logger.addHandler(causes)
    try:
        yield
    except _TOO_LARGE as error:
        raise LogError(
            f"log {settings.identity}: {doing}: {error}",
            "make the message smaller (the client takes 1 MiB; the broker's limit is"
            " max.message.bytes of the topic)",
        ) from error
    except kafka.errors.KafkaError as error:
        told = "; ".join(list(causes.seen)[-_CAUSES:]) or "the client gave no cause"
        raise LogUnavailableError(
            f"log {settings.identity}: {doing}: {type(error).__name__}: {error}. Cause: {told}",
            "check that the broker runs and that host, port, security_protocol and credentials fit it",
        ) from error
    finally:
        logger.removeHandler(causes)
