"""Bad input ends as a dead letter with its reason; the good events around it are taken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from paaplus.store import open_store
from paaplus.store.tables import dead_letter
from streams.topics import FEEDBACK, ITEMS
from workers.cli import main
from workers.config import Config, load_config
from workers.simulate import SimulatedWorld
from workers.tasks import ingest_once

ITEM = "item-0000"
Append = Callable[..., None]


def rating(number: int, **changes: Any) -> bytes:
    body = {
        "kind": "rating",
        "schema_version": 1,
        "event_id": str(UUID(int=number)),
        "user_id": "ann",
        "occurred_at": "2026-01-05T09:30:00Z",
        "item_id": ITEM,
        "scores": {"appearance": 7.5},
    }
    return json.dumps(body | changes).encode()


BAD: dict[str, tuple[bytes, str]] = {
    "malformed": (rating(1)[:-3], "invalid_json"),
    "empty": (b"", "invalid_json"),
    "not UTF-8": (rating(2).replace(b"item-0000", b"item-\xff"), "invalid_utf8"),
    "unknown kind": (rating(3, kind="applause"), "unknown_kind"),
    "an item among feedback": (rating(4, kind="item"), "unknown_kind"),
    "score 11": (rating(5, scores={"appearance": 11}), "out_of_range"),
    "NaN": (rating(6).replace(b"7.5", b"NaN"), "invalid_json"),
    "infinity": (rating(7).replace(b"7.5", b"1e999"), "out_of_range"),
    "text for a number": (rating(8, scores={"appearance": "7"}), "wrong_type"),
    "no scores": (rating(9, scores={}), "no_scores"),
    "unknown field": (rating(10, mood="good"), "unknown_field"),
    "missing field": (rating(11).replace(b'"item_id": "item-0000", ', b""), "missing_field"),
    "no zone": (rating(12, occurred_at="2026-01-05T09:30:00"), "naive_time"),
    "tomorrow": (rating(13, occurred_at="2100-01-01T00:00:00Z"), "future_time"),
    "unknown item": (rating(14, item_id="nobody-announced-this"), "unknown_item"),
    "10 MB": (rating(15, mood="x" * 10_000_000), "too_large"),
    "huge string": (rating(16, user_id="x" * 5_000), "invalid_id"),
    "a path": (rating(17, user_id="../../etc/passwd"), "invalid_id"),
    "quotes": (rating(18, user_id="'; drop table feedback; --"), "invalid_id"),
    "a line end": (rating(19, user_id="ann\nbob"), "invalid_id"),
    "an emoji": (rating(20, user_id="😀"), "invalid_id"),
    "NUL": (rating(21, user_id="ann\0"), "invalid_id"),
    "colours for the terminal": (rating(22, **{"\x1b[31mred": 1}), "unknown_field"),
    "version 2": (rating(23, schema_version=2), "unsupported_version"),
    "nested": (b"[" * 100_000, "wrong_type"),
}


@pytest.fixture
def config(make_config: Callable[..., Config], append: Append) -> Config:
    found = make_config()
    append(found, ITEMS, SimulatedWorld(users=1, items=5, seed=0).given_items())
    return found


def letters(config: Config) -> list[Any]:
    with open_store(config.store_url) as store, store.read() as connection:
        return list(connection.execute(select(dead_letter).order_by(dead_letter.c.id)))


def test_each_becomes_a_dead_letter_and_the_others_go_on(config: Config, append: Append) -> None:
    messages = []
    for number, (value, _) in enumerate(BAD.values()):
        messages += [(b"ann", value), (b"ann", rating(1000 + number))]
    messages.append((b"not ann", rating(999)))
    append(config, FEEDBACK, messages)
    result = ingest_once(config, quiet=True)
    assert result["dead_letters"] == len(BAD) + 1
    assert result["accepted"] == len(BAD) + 5
    found = {row.value: row.reason for row in letters(config)}
    assert found == {value: reason for value, reason in BAD.values()} | {
        rating(999): "key_mismatch"
    }
    again = ingest_once(config, quiet=True)
    assert (again["accepted"], again["dead_letters"]) == (0, 0)


def test_the_list_prints_nothing_that_a_terminal_obeys(
    config: Config, append: Append, capsys: pytest.CaptureFixture[str]
) -> None:
    append(config, FEEDBACK, [(b"ann", value) for value, _ in BAD.values()])
    ingest_once(config, quiet=True)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["dead-letters", "list", "--home", str(config.home), "--limit", "100"])
    out = capsys.readouterr().out
    assert [c for c in out if not c.isprintable() and c != "\n"] == []
    for reason in {reason for _, reason in BAD.values()}:
        assert reason in out
    assert max(len(line) for line in out.splitlines()) < 1000


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)
names = ["kind", "schema_version", "event_id", "user_id", "occurred_at", "item_id", "scores"]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    value = rating(draw(st.integers(0, 50)))
    match draw(st.integers(0, 4)):
        case 0:
            body = json.loads(value)
            body[draw(st.sampled_from([*names, "more"]))] = draw(junk)
            value = json.dumps(body).encode("utf-8", "surrogatepass")
        case 1:
            place = draw(st.integers(0, len(value) - 1))
            value = value[:place] + draw(st.binary(max_size=4)) + value[place + 1 :]
        case 2:
            value = value[: draw(st.integers(0, len(value)))]
        case 3:
            value = draw(st.binary(max_size=40))
    return value


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(mutated(), min_size=50, max_size=150))
def test_thousands_of_mutations_lose_nothing(
    tmp_path_factory: pytest.TempPathFactory, append: Append, values: list[bytes]
) -> None:
    config = load_config(home=tmp_path_factory.mktemp("any"), trunk={"name": "given"})
    append(config, ITEMS, SimulatedWorld(users=1, items=5, seed=0).given_items())
    append(config, FEEDBACK, [(b"ann", value) for value in values])
    result = ingest_once(config, quiet=True)
    dead = [row.value for row in letters(config)]
    assert result["accepted"] - 5 + result["duplicates"] + len(dead) == len(values)
    remaining = list(values)
    for value in dead:
        remaining.remove(value)  # the bytes as they were appended
    assert len(remaining) == result["accepted"] - 5 + result["duplicates"]


def test_an_emit_of_bad_lines_names_the_line(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = SimulatedWorld(users=2, items=5, seed=0)
    good = [value for _, value in world.round_events(0, 1)][:2]
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join([*good, rating(5, scores={"appearance": 11})]) + b"\n")
    with pytest.raises(SystemExit):
        main(["emit", str(path), "--home", str(config.home)])
    assert "line 3: $.scores.appearance" in capsys.readouterr().err
