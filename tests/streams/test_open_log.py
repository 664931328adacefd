"""URLs of logs, and the partitioner."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.partitioner.default import murmur2 as kafkas_murmur2

from paaplus.errors import ConfigError, LogUnavailableError
from streams.kafka_settings import KafkaSettings
from streams.log import open_log
from streams.partition import murmur2, partition_of


@given(st.binary(max_size=70), st.integers(1, 100))
def test_murmur2_is_kafkas(key: bytes, partitions: int) -> None:
    assert murmur2(key) == kafkas_murmur2(key)
    assert partition_of(key, partitions) == (kafkas_murmur2(key) & 0x7FFFFFFF) % partitions


def test_relative_and_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url, where in [
        ("sqlite:///a/rel.db", f"sqlite:///{tmp_path}/a/rel.db"),
        (f"sqlite:///{tmp_path}/abs.db", f"sqlite:///{tmp_path}/abs.db"),
        ("file://rel.jsonl", f"file://{tmp_path}/rel.jsonl"),
        (f"file://{tmp_path}/abs.jsonl", f"file://{tmp_path}/abs.jsonl"),
    ]:
        log = open_log(url)
        assert log.url == where
        assert log.append("feedback", [(b"u", b"{}")]) == 1
        log.close()
        assert Path(where.partition("://")[2].replace("//", "/")).is_file()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "log.db",
        "redis://h:1/x",
        "sqlite://log.db",
        "sqlite:///",
        "file://",
        "postgresql://u:pw@h",
    ],
)
def test_other_urls_are_refused_with_the_three_forms(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_log(url)
    assert all(form in str(caught.value) for form in ("sqlite:///", "file:///", "kafka://"))
    assert "pw" not in str(caught.value)


def test_no_partitions_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        open_log("sqlite:///never.db", partitions=0)
    assert not Path("never.db").exists()


SECRET = {"PAAPLUS_KAFKA_PASSWORD": "hush-hush"}


def test_a_kafka_url_in_full() -> None:
    settings = KafkaSettings.from_url(
        "kafka://a:9092,b:9093/team.one?session_timeout_ms=1500&security_protocol=SASL_SSL"
        "&sasl_mechanism=SCRAM-SHA-512&sasl_username=worker",
        SECRET,
    )
    assert settings.identity == "kafka://a:9092,b:9093/team.one"
    assert settings.topic("items") == "team.one.items"
    assert (settings.session_timeout_ms, settings.heartbeat_interval_ms) == (1500, 500)
    config = settings.client_config()
    assert config["bootstrap_servers"] == ["a:9092", "b:9093"]
    assert config["sasl_plain_password"] == "hush-hush"
    assert (config["sasl_plain_username"], config["sasl_mechanism"]) == ("worker", "SCRAM-SHA-512")
    assert "hush" not in repr(settings) + repr(config)


def test_a_kafka_url_in_short() -> None:
    settings = KafkaSettings.from_url("kafka://broker:9092", {})
    assert settings.identity == "kafka://broker:9092/paaplus"
    assert "sasl_mechanism" not in settings.client_config()


@pytest.mark.parametrize(
    ("rest", "named"),
    [
        ("u:hush@h:1", "PAAPLUS_KAFKA_PASSWORD"),
        ("h:1?sasl_password=hush", "PAAPLUS_KAFKA_PASSWORD"),
        ("h", "kafka://host:port"),
        ("h:0", "kafka://host:port"),
        ("h:1,", "kafka://host:port"),
        ("h:1/a b", "namespace"),
        ("h:1?sesion_timeout_ms=3", "session_timeout_ms"),
        ("h:1?session_timeout_ms=soon", "milliseconds"),
        ("h:1?session_timeout_ms=100&heartbeat_interval_ms=100", "below"),
        ("h:1?security_protocol=TLS", "SASL_SSL"),
        ("h:1?security_protocol=SASL_SSL&sasl_username=u", "PAAPLUS_KAFKA_PASSWORD"),
        ("h:1?sasl_username=u", "no effect"),
        ("h:1?ssl_cafile=/nowhere.pem", "no effect"),
        ("h:1?security_protocol=SSL&ssl_cafile=/nowhere.pem", "no file"),
    ],
)
def test_a_wrong_kafka_url_is_refused(rest: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        KafkaSettings.from_url("kafka://" + rest, {})
    assert "hush" not in str(caught.value)


def test_a_broker_that_is_not_there_is_named_with_the_cause() -> None:
    log = open_log("kafka://127.0.0.1:9/x")
    with pytest.raises(LogUnavailableError, match=r"127\.0\.0\.1:9.*ECONNREFUSED"):
        log.end_offsets("feedback")
    log.close()
