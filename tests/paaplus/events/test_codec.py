"""Bytes become an event or an `EventError` that names field and remedy; nothing else ever happens."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paaplus.errors import EventError
from paaplus.events import (
    ATTRIBUTES,
    MAX_EVENT_BYTES,
    REASONS,
    check_time,
    decode,
    decode_feedback,
    decode_item,
    encode,
    partition_key,
)
from paaplus.events.schema import EXAMPLES, json_schema

GOOD: dict[str, Any] = {
    "kind": "rating",
    "schema_version": 1,
    "event_id": "0192f0c1-7e3b-7c4d-9a5e-0d1f2a3b4c5d",
    "user_id": "u-42",
    "occurred_at": "2026-11-01T09:30:00Z",
    "item_id": "photo-981",
    "scores": {"appearance": 7.5},
}


def body(**changes: Any) -> bytes:
    return json.dumps(GOOD | changes).encode()


def without(field: str) -> bytes:
    return json.dumps({k: v for k, v in GOOD.items() if k != field}).encode()


BAD: list[tuple[bytes, str, str]] = [
    (b"", "invalid_json", "$"),
    (body()[:-5], "invalid_json", "$"),
    (body() + b" x", "invalid_json", "$"),
    (b"[]", "wrong_type", "$"),
    (b"null", "wrong_type", "$"),
    (b'"rating"', "wrong_type", "$"),
    (b"\xff\xfe", "invalid_utf8", "$"),
    (body().replace(b"photo", b"ph\xffto"), "invalid_utf8", "$"),
    (b'{"a":' * 100_000, "invalid_json", "$"),
    (b"x" * (10 << 20), "too_large", "$"),
    (body(padding="x" * MAX_EVENT_BYTES), "too_large", "$"),
    (body(kind="applause"), "unknown_kind", "$.kind"),
    (body(kind="item"), "unknown_kind", "$.kind"),
    (body(kind=7), "wrong_type", "$.kind"),
    *((without(f), "missing_field", f"$.{f}") for f in GOOD),
    (body(colour="red"), "unknown_field", "$.colour"),
    (body(scores={"beauty": 3}), "unknown_field", "$.scores.beauty"),
    (body(schema_version=2), "unsupported_version", "$.schema_version"),
    (body(schema_version="1"), "wrong_type", "$.schema_version"),
    (body(event_id="42"), "wrong_type", "$.event_id"),
    (body(scores={"health": 11}), "out_of_range", "$.scores.health"),
    (body(scores={"health": -0.1}), "out_of_range", "$.scores.health"),
    (body(scores={"health": "7"}), "wrong_type", "$.scores.health"),
    (body(scores={"health": True}), "wrong_type", "$.scores.health"),
    (body(scores={"health": [7]}), "wrong_type", "$.scores.health"),
    (body(scores={"health": math.nan}), "invalid_json", "$"),
    (body(scores={"health": math.inf}), "invalid_json", "$"),
    (body().replace(b"7.5", b"1e999"), "out_of_range", "$.scores.appearance"),
    (body().replace(b"7.5", b"9" * 5000), "out_of_range", "$.scores.appearance"),
    (body(scores={}), "no_scores", "$.scores"),
    (body(scores={"health": None}), "no_scores", "$.scores"),
    (body(occurred_at="2026-11-01T09:30:00"), "naive_time", "$.occurred_at"),
    (body(occurred_at="yesterday"), "wrong_type", "$.occurred_at"),
    (body(occurred_at=1_760_000_000), "wrong_type", "$.occurred_at"),
    (body(occurred_at="1969-12-31T23:59:59Z"), "out_of_range", "$.occurred_at"),
    (body(occurred_at="0001-01-01T00:00:00+10:00"), "out_of_range", "$.occurred_at"),
    (body(occurred_at="9999-12-31T23:59:59-10:00"), "out_of_range", "$.occurred_at"),
    *(
        (body(user_id=hostile), "invalid_id", "$.user_id")
        for hostile in ("", "../etc", "a'; drop table", 'a"b', "a\n", "a\0b", "😀", "x" * 129, " a")
    ),
    (body(user_id="a\ud800b"), "invalid_json", "$"),
    (body(item_id="a b"), "invalid_id", "$.item_id"),
    (body(item_id="x" * 257), "invalid_id", "$.item_id"),
]


@pytest.mark.parametrize(("value", "reason", "field"), BAD, ids=lambda v: repr(v)[:60])
def test_bad_bytes_name_field_and_remedy(value: bytes, reason: str, field: str) -> None:
    with pytest.raises(EventError) as refused:
        decode_feedback(value)
    assert (refused.value.reason, refused.value.field) == (reason, field)
    assert refused.value.remedy == REASONS[reason]
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"features": []}, "out_of_range", "$.features"),
        ({"features": [1.0, "2"]}, "wrong_type", "$.features[1]"),
        ({}, "no_content", "$"),
        ({"features": [1.0], "trunk": "../x"}, "out_of_range", "$.trunk"),
        ({"image_uri": "a.jpg", "preference": [0.5] * 4}, "out_of_range", "$.preference"),
        (
            {"image_uri": "a.jpg", "preference": [0.5] * 4 + [2]},
            "out_of_range",
            "$.preference[...]",
        ),
        ({"image_uri": "a.jpg", "user_id": "u"}, "unknown_field", "$.user_id"),
    ],
)
def test_bad_items(changes: dict[str, Any], reason: str, field: str) -> None:
    item = {k: GOOD[k] for k in ("schema_version", "event_id", "occurred_at", "item_id")}
    with pytest.raises(EventError) as refused:
        decode_item(json.dumps(item | {"kind": "item"} | changes).encode())
    assert refused.value.reason == reason
    assert refused.value.field == field or "..." in field


def test_comparison_of_an_item_with_itself() -> None:
    comparison = {k: v for k, v in GOOD.items() if k not in ("item_id", "scores")} | {
        "kind": "comparison",
        "item_a": "a",
        "item_b": "a",
        "attribute": "overall",
        "preferred": "tie",
    }
    with pytest.raises(EventError, match="same as item_a"):
        decode_feedback(json.dumps(comparison).encode())


def test_the_key_is_the_user() -> None:
    assert decode_feedback(body(), key=b"u-42").user_id == "u-42"
    with pytest.raises(EventError) as refused:
        decode_feedback(body(), key=b"u-43")
    assert refused.value.reason == "key_mismatch"


def test_time_to_come() -> None:
    event = decode_feedback(body())
    now = datetime(2026, 11, 1, 9, 30, tzinfo=UTC)
    check_time(event, not_after=now - timedelta(minutes=5))
    with pytest.raises(EventError) as refused:
        check_time(event, not_after=now - timedelta(minutes=5, seconds=1))
    assert refused.value.reason == "future_time"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: type(e).__name__)
def test_examples_round_trip_and_fit_the_json_schema(example: Any) -> None:
    value = encode(example)
    assert decode(value) == example
    assert encode(decode(value)) == value
    jsonschema.validate(json.loads(value), json_schema())
    owner = example.item_id if type(example).__name__ == "Item" else example.user_id
    assert partition_key(example) == owner.encode()


ids = st.from_regex(r"[A-Za-z0-9._-]{1,128}", fullmatch=True)
times = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
ratings = st.fixed_dictionaries(
    {
        "kind": st.just("rating"),
        "schema_version": st.just(1),
        "event_id": st.uuids().map(str),
        "user_id": ids,
        "occurred_at": times.map(lambda t: t.isoformat()),
        "item_id": ids,
        "scores": st.dictionaries(
            st.sampled_from(ATTRIBUTES), st.floats(0, 10) | st.integers(0, 10), min_size=1
        ),
    }
)
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=500, deadline=None)
@given(ratings)
def test_every_valid_rating_is_accepted_and_kept(rating: dict[str, Any]) -> None:
    event = decode_feedback(json.dumps(rating).encode())
    again = json.loads(encode(event))
    assert again["scores"] == {k: float(v) for k, v in rating["scores"].items()}
    assert {k: again[k] for k in ("event_id", "user_id", "item_id")} == {
        k: rating[k] for k in ("event_id", "user_id", "item_id")
    }
    assert datetime.fromisoformat(again["occurred_at"]) == datetime.fromisoformat(
        rating["occurred_at"]
    )
    jsonschema.validate(again, json_schema())


def outcome(value: bytes) -> None:
    """Decoding ends in an event or an EventError with a known reason."""
    for read in (decode_feedback, decode_item, decode):
        try:
            read(value)
        except EventError as error:
            refused = error
        else:
            continue
        assert refused.reason in REASONS
        assert refused.field.startswith("$")


@settings(max_examples=2000, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(value: bytes) -> None:
    outcome(value)


@settings(max_examples=2000, deadline=None)
@given(ratings, st.sampled_from(sorted(GOOD)), junk)
def test_any_field_replaced_by_anything(rating: dict[str, Any], field: str, value: Any) -> None:
    text = json.dumps(rating | {field: value})
    outcome(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=2000, deadline=None)
@given(ratings, st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_any_bytes_overwritten(rating: dict[str, Any], place: int, patch: bytes) -> None:
    value = bytearray(json.dumps(rating).encode())
    value[place : place + len(patch)] = patch
    outcome(bytes(value))
