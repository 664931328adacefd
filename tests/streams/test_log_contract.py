"""What every event log promises, on each kind of log."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from kafka.partitioner.default import murmur2 as kafkas_murmur2

from streams.log import EventLog, Record, open_log
from streams.topics import FEEDBACK, ITEMS

PARTITIONS = 3
KAFKA = pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.xdist_group("kafka")])
Open = Callable[[], EventLog]


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "kafka":
        broker = request.getfixturevalue("kafka_broker")
        return f"{broker.url}/t{time.time_ns()}?session_timeout_ms=1500"
    return {"sqlite": f"sqlite:///{tmp_path}/log.db", "file": f"file://{tmp_path}/l.jsonl"}[
        request.param
    ]


@pytest.fixture
def opened(url: str) -> Iterator[Open]:
    logs: list[EventLog] = []

    def open_another() -> EventLog:
        logs.append(open_log(url, partitions=PARTITIONS))
        return logs[-1]

    yield open_another
    for log in logs:
        log.close()


every_log = pytest.mark.parametrize("url", ["sqlite", "file", KAFKA], indirect=True)
partitioned_logs = pytest.mark.parametrize("url", ["sqlite", KAFKA], indirect=True)


def said(user: str, number: int) -> tuple[bytes, bytes]:
    return user.encode(), json.dumps({"user_id": user, "n": number}).encode()


def shown(item: str) -> tuple[bytes, bytes]:
    return item.encode(), json.dumps({"kind": "item", "item_id": item}).encode()


SAID = [said(f"user-{n % 7}", n) for n in range(60)]


def read_all(
    log: EventLog,
    topic: str = FEEDBACK,
    start: dict[int, int] | None = None,
    max_records: int = 1000,
) -> list[Record]:
    """To the end as the log names it, and a look beyond."""
    consumer = log.consumer(topic, positions=lambda _, parts: start or {}, group=None)
    try:
        position = {part: (start or {}).get(part, 0) for part in log.end_offsets(topic)}
        records: list[Record] = []
        deadline = time.monotonic() + 20
        while any(position[part] < end for part, end in log.end_offsets(topic).items()):
            assert time.monotonic() < deadline, (position, log.end_offsets(topic))
            some = consumer.poll(max_records, 200)
            assert len(some) <= max_records
            for record in some:
                position[record.partition] = record.offset + 1
            records += some
        assert consumer.poll(max_records, 50) == []
        return records
    finally:
        consumer.close()


def by_partition(records: list[Record]) -> dict[int, list[Record]]:
    parts: dict[int, list[Record]] = {}
    for record in records:
        parts.setdefault(record.partition, []).append(record)
    return parts


@every_log
def test_what_is_read_is_what_was_appended_in_order(opened: Open) -> None:
    log = opened()
    before = time.time() * 1000 - 1
    assert log.append(FEEDBACK, SAID[:25]) == 25
    assert log.append(FEEDBACK, iter(SAID[25:])) == 35
    records = read_all(log)
    after = time.time() * 1000 + 1
    assert sorted((r.key, r.value) for r in records) == sorted(SAID)
    for part, some in by_partition(records).items():
        mine = {r.value for r in some}
        assert [(r.key, r.value) for r in some] == [m for m in SAID if m[1] in mine]
        assert all(a.offset < b.offset for a, b in pairwise(some))
        assert part in log.end_offsets(FEEDBACK)
    for record in records:
        assert record.topic == FEEDBACK
        assert record.timestamp_ms is None or before <= record.timestamp_ms <= after


@every_log
def test_each_position_is_honoured(opened: Open) -> None:
    log = opened()
    log.append(FEEDBACK, SAID[:20])
    records = read_all(log)
    for at in records[::3]:
        for start in (at.offset, at.offset + 1):
            expected = [r for r in records if r.partition != at.partition or r.offset >= start]
            got = read_all(log, start={at.partition: start})
            assert by_partition(got) == by_partition(expected)


@every_log
def test_positions_are_asked_for_this_topic_and_its_partitions(opened: Open) -> None:
    log = opened()
    log.append(FEEDBACK, SAID[:1])
    asked: list[tuple[str, list[int]]] = []

    def positions(topic: str, parts: object) -> dict[int, int]:
        asked.append((topic, sorted(parts)))  # type: ignore[call-overload]
        return {}

    log.consumer(FEEDBACK, positions=positions, group=None).close()
    assert asked == [(FEEDBACK, sorted(log.end_offsets(FEEDBACK)))]


@every_log
def test_seek_goes_back_and_forth(opened: Open) -> None:
    log = opened()
    log.append(FEEDBACK, SAID)
    records = read_all(log)
    part, some = max(by_partition(records).items(), key=lambda entry: len(entry[1]))
    consumer = log.consumer(FEEDBACK, positions=lambda _, parts: {}, group=None)
    try:
        consumer.poll(7, 2000)
        for at in (len(some) // 2, 0, len(some) - 1):
            consumer.seek(log.end_offsets(FEEDBACK) | {part: some[at].offset, 99: 5})
            got: list[Record] = []
            while more := consumer.poll(4, 2000 if len(got) < len(some) - at else 50):
                got += more
            assert got == some[at:]
    finally:
        consumer.close()


@every_log
def test_nothing_is_lost_or_doubled_over_reopening(opened: Open) -> None:
    position: dict[int, int] = {}
    got: list[bytes] = []
    for turn in range(4):
        log = opened()
        log.append(FEEDBACK, SAID[turn * 15 : turn * 15 + 15])
        consumer = log.consumer(FEEDBACK, positions=lambda _, parts: dict(position), group=None)
        wanted = 8 if turn < 3 else 60 - len(got)
        deadline = time.monotonic() + 20
        while wanted and time.monotonic() < deadline:
            for record in consumer.poll(min(3, wanted), 500):
                position[record.partition] = record.offset + 1
                got.append(record.value)
                wanted -= 1
        consumer.close()
        log.close()
    assert sorted(got) == sorted(value for _, value in SAID)


@every_log
def test_end_offsets_follow_the_last_record(opened: Open) -> None:
    log = opened()
    log.append(FEEDBACK, SAID[:1])
    assert set(log.end_offsets(ITEMS).values()) == {0}
    for at in range(1, 10):
        log.append(FEEDBACK, SAID[at : at + 1])
        log.append(ITEMS, [shown(f"item-{at}")])
        last = {p: some[-1].offset + 1 for p, some in by_partition(read_all(log)).items()}
        ends = log.end_offsets(FEEDBACK)
        assert {part: end for part, end in ends.items() if end} == last
        assert opened().end_offsets(FEEDBACK) == ends


@every_log
@pytest.mark.parametrize("most", [1, 4])
def test_a_poll_gives_no_more_than_asked(opened: Open, most: int) -> None:
    log = opened()
    log.append(FEEDBACK, SAID[:10])
    assert len(read_all(log, max_records=most)) == 10  # each poll is checked there


@every_log
def test_topics_are_apart(opened: Open) -> None:
    log = opened()
    items = [shown(f"item-{n}") for n in range(9)]
    for a, b in zip(SAID[:9], items, strict=True):
        log.append(FEEDBACK, [a])
        log.append(ITEMS, [b])
    assert sorted((r.key, r.value) for r in read_all(log)) == sorted(SAID[:9])
    got = read_all(log, ITEMS)
    assert sorted((r.key, r.value) for r in got) == sorted(items)
    assert {r.topic for r in got} == {ITEMS}


@every_log
def test_empty_things(opened: Open) -> None:
    log = opened()
    assert log.append(FEEDBACK, []) == 0
    assert log.append(FEEDBACK, [(b"", b"")]) == 1
    assert [r.value for r in read_all(log)] == [b""]


@every_log
def test_poll_waits_for_what_another_thread_appends(opened: Open) -> None:
    log = opened()
    log.append(FEEDBACK, SAID[:1])
    end = log.end_offsets(FEEDBACK)
    consumer = log.consumer(FEEDBACK, positions=lambda _, parts: end, group=None)
    started = time.monotonic()
    assert consumer.poll(10, 100) == []
    assert 0.08 < time.monotonic() - started < 5
    timer = threading.Timer(0.2, lambda: log.append(FEEDBACK, SAID[1:2]))
    timer.start()
    assert [r.value for r in consumer.poll(10, 20_000)] == [SAID[1][1]]
    timer.join()
    consumer.close()


@every_log
def test_commit_is_only_advice(opened: Open) -> None:
    log = opened()
    log.append(FEEDBACK, SAID)
    consumer = log.consumer(FEEDBACK, positions=lambda _, parts: {}, group="advice")
    while not (got := consumer.poll(1000, 1000)):
        pass
    consumer.commit({r.partition: r.offset + 1 for r in got} | {99: 3})
    consumer.poll(1000, 300)
    consumer.close()
    assert len(read_all(opened())) == 60
    again = log.consumer(FEEDBACK, positions=lambda _, parts: {}, group="advice")
    records: list[Record] = []
    deadline = time.monotonic() + 20
    while len(records) < 60 and time.monotonic() < deadline:
        records += again.poll(1000, 500)
    again.close()
    assert sorted(r.value for r in records) == sorted(value for _, value in SAID)


@every_log
def test_the_url_leads_back_and_has_no_options(opened: Open) -> None:
    log = opened()
    log.append(FEEDBACK, SAID[:3])
    assert "?" not in log.url
    again = open_log(log.url)
    try:
        assert again.url == log.url
        assert again.end_offsets(FEEDBACK) == log.end_offsets(FEEDBACK)
    finally:
        again.close()


@partitioned_logs
def test_a_key_has_one_partition_and_it_is_kafkas(opened: Open) -> None:
    log = opened()
    for _ in range(2):
        log.append(FEEDBACK, SAID)
    assert set(log.end_offsets(FEEDBACK)) == set(range(PARTITIONS))
    records = read_all(log)
    assert len(records) == 120
    for record in records:
        assert record.key is not None
        assert record.partition == (kafkas_murmur2(record.key) & 0x7FFFFFFF) % PARTITIONS


@partitioned_logs
def test_the_number_of_partitions_is_fixed_at_creation(opened: Open, url: str) -> None:
    opened().append(FEEDBACK, SAID[:3])
    other = open_log(url, partitions=PARTITIONS + 4)
    try:
        other.append(FEEDBACK, SAID[3:20])
        assert set(other.end_offsets(FEEDBACK)) == set(range(PARTITIONS))
    finally:
        other.close()
    assert len(read_all(opened())) == 20


APPENDER = """
import json, sys
from streams.log import open_log
url, who = sys.argv[1:]
log = open_log(url, partitions=3)
for batch in range(10):
    log.append("feedback", [
        (who.encode(), json.dumps({"user_id": who, "n": 20 * batch + n}).encode()) for n in range(20)
    ])
log.close()
"""


@every_log
def test_processes_append_and_read_at_once(opened: Open, url: str) -> None:
    log = opened()
    log.append(FEEDBACK, [said("first", 0)])
    consumer = log.consumer(FEEDBACK, positions=lambda _, parts: {}, group=None)
    names = ["ada", "bob", "cyd"]
    command = [sys.executable, "-W", "ignore", "-c", APPENDER, url]
    processes = [subprocess.Popen([*command, name]) for name in names]
    records: list[Record] = []
    deadline = time.monotonic() + 120
    while len(records) < 601 and time.monotonic() < deadline:
        records += consumer.poll(50, 200)
    assert [process.wait(30) for process in processes] == [0, 0, 0]
    assert consumer.poll(50, 100) == []
    consumer.close()
    assert len({(r.partition, r.offset) for r in records}) == 601
    for name in names:
        mine = [json.loads(r.value)["n"] for r in records if r.key == name.encode()]
        assert mine == list(range(200))
    assert by_partition(read_all(log)) == by_partition(records)
