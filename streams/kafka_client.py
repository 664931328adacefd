"""Clients of kafka-python that leave nothing behind and say why they fail."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import kafka.errors
from kafka import KafkaConsumer, TopicPartition
from kafka.net.compat import KafkaNetClient

from paaplus.errors import LogError, LogUnavailableError
from streams.kafka_settings import KafkaSettings

PATIENCE_MS = 8_000
"""How long one request may take before the log counts as unavailable."""

_CAUSES = 3
_TOO_LARGE = (kafka.errors.MessageSizeTooLargeError, kafka.errors.RecordListTooLargeError)


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


def partitions_of(consumer: KafkaConsumer, name: str) -> list[TopicPartition]:
    """All partitions of a topic, sorted.

    Raises:
        kafka.errors.UnknownTopicOrPartitionError: There is no such topic.
    """
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
def naming_causes(settings: KafkaSettings, doing: str) -> Iterator[None]:
    """Turn what the client raises into errors of ours, with what it logged meanwhile as the cause.

    Raises:
        LogError: A message is too large.
        LogUnavailableError: Anything else that Kafka's client raised.
    """
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
