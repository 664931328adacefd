"""Fixtures that several packages' tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from streams.kafka_broker import KafkaBroker


def pytest_configure(config: pytest.Config) -> None:
    for ignored in (
        # Of kafka-python: how it reads its schemas, and sockets that it leaves to the collector when
        # a broker has gone.
        "ignore:(read|open)_text is deprecated:DeprecationWarning",
        "ignore:unclosed <socket:ResourceWarning",
    ):
        config.addinivalue_line("filterwarnings", ignored)


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker]:
    """A real broker; its tests carry the marks `kafka` and `xdist_group("kafka")`."""
    # Here, where the filters above hold; and most tests need no Kafka.
    from streams import kafka_jars
    from streams.kafka_broker import KafkaBroker

    missing = kafka_jars.missing()
    if missing is not None:
        if os.environ.get("PAAPLUS_REQUIRE_SERVICES") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    with KafkaBroker() as broker:
        yield broker
