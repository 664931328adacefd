"""The reader of a Kafka log: positions come from its owner's data, never from Kafka.

Kafka moves partitions between the members of a group on a thread of its own, while the owner's is
inside `poll` or `close`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress

import kafka.errors
from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord

from paaplus.errors import LogError
from streams.kafka_client import PATIENCE_MS, connect, naming_causes, partitions_of
from streams.kafka_settings import KafkaSettings
from streams.log import Positions, Record

_BAD_RECORD = (kafka.errors.CorruptRecordError, kafka.errors.UnsupportedCodecError)


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
                pairs = partitions_of(self._consumer, self._name)
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
        with naming_causes(self._settings, f"reading {self._name}"):
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
