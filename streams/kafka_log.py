"""A log on Apache Kafka, through kafka-python: the one place that talks to a broker.

Offsets live with the reader's own data, never in Kafka: a consumer starts where its `positions` say, and
what it commits is advice to lag tools ("Storing Offsets Outside Kafka" in the Javadoc of KafkaConsumer).
Values are taken as bytes: in kafka-python 3.0 a deserializer that raises makes the next poll spin.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice

import kafka.errors
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from streams.kafka_client import PATIENCE_MS, connect, naming_causes, partitions_of
from streams.kafka_consumer import KafkaLogConsumer
from streams.kafka_settings import KafkaSettings
from streams.log import DEFAULT_PARTITIONS, Positions
from streams.topics import FEEDBACK, ITEMS

_CONFIGS = {
    # An item's last word is kept for ever; feedback may never be compacted, since that would keep one
    # event of each user.
    ITEMS: {"cleanup.policy": "compact"},
    FEEDBACK: {"cleanup.policy": "delete"},
}
_CHUNK = 5_000


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
        with self._append_lock, naming_causes(self._settings, f"appending to {name}"):
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
        with naming_causes(self._settings, f"reading {self._settings.topic(topic)}"):
            self._ensure(topic)
            return KafkaLogConsumer(self._settings, topic, positions, group)

    def end_offsets(self, topic: str) -> dict[int, int]:
        """For each partition the offset that its next record gets."""
        name = self._settings.topic(topic)
        with self._read_lock, naming_causes(self._settings, f"looking at {name}"):
            self._ensure(topic)
            if self._reader is None:
                self._reader = connect(
                    KafkaConsumer, self._settings, allow_auto_create_topics=False
                )
            ends = self._reader.end_offsets(
                partitions_of(self._reader, name), timeout_ms=PATIENCE_MS
            )
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
