"""What only the JSONL log promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from paaplus.errors import LogError, LogUnavailableError
from streams import file_log
from streams.file_log import FileLog
from streams.log import Record
from streams.topics import FEEDBACK, ITEMS


def read(log: FileLog, topic: str = FEEDBACK, start: int = 0) -> list[Record]:
    consumer = log.consumer(topic, positions=lambda _, parts: {0: start}, group=None)
    return consumer.poll(1000, 0)


def test_lines_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [
        b'{"kind": "rating", "user_id": "ann", "item_id": "i1"}',
        b'{"kind": "item", "item_id": "i1"}',
        b"not json",
        b'{"user_id": 5}',
        b"[" * 5000,
        b'{"user_id": "bob"}\r',
        b"\xff\xfe",
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")
    log = FileLog(path)
    records = read(log)
    assert [r.value for r in records] == [lines[0], *lines[2:]]
    assert [r.key for r in records] == [b"ann", None, None, None, b"bob", None]
    data = path.read_bytes()
    assert all(data[r.offset :].startswith(r.value + b"\n") for r in records)
    assert [(r.key, r.value) for r in read(log, ITEMS)] == [(b"i1", lines[1])]
    assert {p.name for p in tmp_path.iterdir()} == {"log.jsonl"}  # reading writes nothing


def test_a_torn_last_line_is_not_read_and_ended_by_the_next_append(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log = FileLog(path)
    log.append(FEEDBACK, [(b"u", b'{"user_id":"u"}')])
    with path.open("ab") as file:
        file.write(b'{"user_id":"u","sc')
    assert len(read(log)) == 1
    assert log.end_offsets(FEEDBACK) == {0: 1}
    assert log.append(FEEDBACK, [(b"v", b'{"user_id":"v"}')]) == 1
    assert [r.value for r in read(log)] == [
        b'{"user_id":"u"}',
        b'{"user_id":"u","sc',
        b'{"user_id":"v"}',
    ]


def test_what_cannot_be_a_line_is_refused_whole(tmp_path: Path) -> None:
    log = FileLog(tmp_path / "log.jsonl")
    log.append(FEEDBACK, [(b"u", b"{}")])
    for topic, bad, said in [
        (FEEDBACK, b'{"a":\n1}', "line end"),
        (FEEDBACK, b'{"kind":"item"}', "would be read as 'items'"),
        (ITEMS, b'{"kind":"rating"}', "would be read as 'feedback'"),
    ]:
        with pytest.raises(LogError, match=said):
            log.append(topic, [(b"u", b"{}"), (b"u", bad)][topic == ITEMS :])
    assert len(read(log)) == 1
    assert read(log, ITEMS) == []


def test_a_huge_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert file_log.MAX_LINE == 64 * 2**20
    monkeypatch.setattr(file_log, "MAX_LINE", 1000)
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"{}\n" + b"x" * 1001 + b"\n{}\n")
    log = FileLog(path)
    with pytest.raises(LogError, match="the line at byte 3 is longer"):
        read(log)
    with pytest.raises(LogError, match="1000 bytes or more"):
        log.append(FEEDBACK, [(b"u", b"x" * 1000)])
    assert [r.offset for r in read(log, start=4)] == [1005]  # who seeks into it gets past it


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    log = FileLog(tmp_path / "log.jsonl")
    with pytest.raises(LogUnavailableError, match="no such file"):
        log.end_offsets(FEEDBACK)
    with pytest.raises(LogUnavailableError, match="no such file"):
        read(log)
    with pytest.raises(LogUnavailableError):
        FileLog(tmp_path).append(FEEDBACK, [(b"u", b"{}")])


def test_a_file_replaced_by_a_shorter_one(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"{}\n" * 9)
    log = FileLog(path)
    assert log.end_offsets(FEEDBACK) == {0: 25}
    path.write_bytes(b"{}\n" * 2)
    assert log.end_offsets(FEEDBACK) == {0: 4}


def test_a_full_disk_leaves_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    log = FileLog(path)
    log.append(FEEDBACK, [(b"u", b"{}")])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(file_log.os, "fsync", full)
        with pytest.raises(LogUnavailableError, match="No space left"):
            log.append(FEEDBACK, [(b"u", b"{}"), (b"u", b"{}")])
    assert path.read_bytes() == b"{}\n"
