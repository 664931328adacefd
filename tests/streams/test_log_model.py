"""SQLite and JSONL logs against a list, under any order of use."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streams.log import EventLog, open_log
from streams.topics import FEEDBACK, ITEMS

TOPICS = st.sampled_from([FEEDBACK, ITEMS])
NAMES = st.text("abcäé-", min_size=1, max_size=4)


def message(topic: str, name: str, payload: str) -> tuple[bytes, bytes]:
    kind = {"kind": "item", "item_id": name} if topic == ITEMS else {"user_id": name}
    return name.encode(), json.dumps({**kind, "text": payload}, ensure_ascii=False).encode()


class LogMachine(RuleBasedStateMachine):
    """`known` is the model: all that was appended, in order; `taken` is what a reader has had."""

    form = "sqlite:///{}/log.db"

    @initialize(partitions=st.integers(1, 3))
    def begin(self, partitions: int) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.partitions = partitions
        self.url = self.form.format(self.folder)
        self.log = open_log(self.url, partitions=partitions)
        self.known: dict[str, list[tuple[bytes, bytes]]] = {FEEDBACK: [], ITEMS: []}
        self.position: dict[str, dict[int, int]] = {FEEDBACK: {}, ITEMS: {}}
        self.taken: dict[str, dict[int, list[Any]]] = {FEEDBACK: {}, ITEMS: {}}
        self.add(FEEDBACK, [("a", "")])
        self.reader: dict[str, Any] = {t: self.consumer(self.log, t) for t in (FEEDBACK, ITEMS)}

    def consumer(self, log: EventLog, topic: str) -> Any:
        return log.consumer(topic, positions=lambda t, _: self.position[t], group=None)

    @rule(topic=TOPICS, batch=st.lists(st.tuples(NAMES, st.text(max_size=8)), max_size=5))
    def add(self, topic: str, batch: list[tuple[str, str]]) -> None:
        messages = [message(topic, *one) for one in batch]
        assert self.log.append(topic, messages) == len(messages)
        self.known[topic] += messages

    @rule(topic=TOPICS, most=st.integers(1, 6))
    def take(self, topic: str, most: int) -> None:
        records = self.reader[topic].poll(most, 0)
        assert len(records) <= most
        behind = self.count(self.taken[topic]) < len(self.known[topic])
        assert bool(records) == behind
        for record in records:
            assert record.offset >= self.position[topic].get(record.partition, 0)
            self.position[topic][record.partition] = record.offset + 1
            self.taken[topic].setdefault(record.partition, []).append(record)

    @rule(topic=TOPICS, back=st.integers(0, 4))
    def go_back(self, topic: str, back: int) -> None:
        for part, records in self.taken[topic].items():
            if records and back:
                at = records[-back:][0].offset
                self.position[topic][part] = at
                del records[-back:]
                self.reader[topic].seek({part: at})

    @rule()
    def reopen(self) -> None:
        self.log.close()
        self.log = open_log(self.url, partitions=self.partitions + 1)
        self.reader = {t: self.consumer(self.log, t) for t in (FEEDBACK, ITEMS)}

    @invariant()
    def the_whole_is_there(self) -> None:
        for topic, known in self.known.items():
            start: dict[int, int] = {}
            records = self.log.consumer(
                topic, positions=lambda _, parts, start=start: start, group=None
            ).poll(10_000, 0)
            assert sorted((r.key, r.value) for r in records) == sorted(known)
            ends = self.log.end_offsets(topic)
            for part, end in ends.items():
                mine = [r for r in records if r.partition == part]
                keys = {r.key for r in mine}
                assert [(r.key, r.value) for r in mine] == [m for m in known if m[0] in keys]
                assert end == (mine[-1].offset + 1 if mine else 0)
                taken = self.taken[topic].get(part, [])
                assert taken == mine[: len(taken)]

    def count(self, taken: dict[int, list[Any]]) -> int:
        return sum(map(len, taken.values()))

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.close()
            shutil.rmtree(self.folder)


class FileMachine(LogMachine):
    form = "file://{}/log.jsonl"

    @rule(start=st.sampled_from([b"{", b'{"user_id":"a"', b"x"]))
    def crash_of_another_writer(self, start: bytes) -> None:
        path = self.folder / "log.jsonl"
        with path.open("ab") as file:
            file.write(start)
        # Not read until the next append has ended it.
        self.known_after = start
        assert self.log.append(FEEDBACK, [message(FEEDBACK, "z", "")]) == 1
        data = path.read_bytes().splitlines()
        assert data[-2] == start
        # A broken line has no key, so the model, which goes by keys, starts anew without it.
        path.write_bytes(b"".join(line + b"\n" for line in data if line != start))
        self.known[FEEDBACK].append(message(FEEDBACK, "z", ""))
        self.reopen()


TestSqliteLog = LogMachine.TestCase
TestSqliteLog.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
TestFileLog = FileMachine.TestCase
TestFileLog.settings = settings(max_examples=25, stateful_step_count=15, deadline=None)
