"""Bytes <-> events. Whatever the bytes are, the outcome is an event or an `EventError`."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import msgspec

from paaplus.errors import EventError
from paaplus.events.types import Comparison, Event, FeedbackEvent, Item, Rating, Scores

MAX_EVENT_BYTES = 1 << 20
"""Larger records are refused before they are parsed; Kafka's own default limit is the same."""

CLOCK_SKEW = timedelta(minutes=5)
"""By how much a producer's clock may be ahead."""

SHOWN = 80
"""Characters of the input that a message may repeat."""

REASONS = {
    "too_large": "Send less: put pictures and texts elsewhere and refer to them.",
    "invalid_utf8": "Encode the JSON as UTF-8.",
    "invalid_json": "Send one JSON object per record, written by a JSON library.",
    "unsupported_version": "Send schema_version 1.",
    "unknown_kind": "Send one of the kinds of this page, to the topic it belongs to.",
    "missing_field": "Add the field.",
    "unknown_field": "Leave the field out, or check its spelling.",
    "wrong_type": "Send the type that this page gives for the field.",
    "out_of_range": "Keep the value within its range.",
    "invalid_id": "Map such ids to others, for instance to their sha256 in hex.",
    "naive_time": "Add the zone to the time, for instance a final Z.",
    "future_time": "Set the producer's clock; 5 minutes ahead are forgiven.",
    "no_scores": "Give at least one of appearance, health, posture.",
    "same_item": "Compare two different items.",
    "no_content": "Give the item an image_uri or features.",
    "key_mismatch": "Use the user_id as the record's key, so that a user's events stay in order.",
    "unknown_item": "Emit the item's event first, then `paaplus dead-letters redrive`.",
    "item_changed": "An item never changes: announce the new content under a new item_id.",
    "unknown_event": "Retract by the event_id of an accepted event of the same user.",
    "not_retractable": "Send the feedback again under a new event_id.",
    "unreadable_text": "Mend the comment analyser, then `paaplus dead-letters redrive`.",
}
"""Why an event can be refused, and the remedy. The last five are found by ingest and the store."""


@cache
def _decoder(wanted: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(wanted)


def decode_feedback(value: bytes, *, key: bytes | None = None) -> FeedbackEvent:
    """A user's event from a record of the feedback topic.

    Args:
        value: The record's bytes.
        key: The record's key; None where the record has none. It must be the user id, because the
            key decides the partition and only one partition is in order.

    Raises:
        EventError: It is none; `field` says where, `remedy` how to mend it.
    """
    event: FeedbackEvent = _decode(value, FeedbackEvent)
    if key is not None and key != event.user_id.encode():
        raise _error("key_mismatch", "$.user_id", f"the record's key is {_shown(key)}")
    return event


def decode_item(value: bytes) -> Item:
    """An item from a record of the items topic.

    Raises:
        EventError: It is none.
    """
    event: Item = _decode(value, Item)
    return event


def decode(value: bytes) -> Event:
    """An event of any kind.

    Raises:
        EventError: It is none.
    """
    event: Event = _decode(value, Event)
    return event


def encode(event: Event) -> bytes:
    """Compact JSON in UTF-8; the same fields give the same bytes, in whatever order they came.

    The event is not checked: JSON has no NaN, so one in an event made by hand becomes null.
    """
    return msgspec.json.encode(event, order="deterministic")


def partition_key(event: Event) -> bytes:
    """Key of the event's record: the user id, or the item id of an item."""
    return (event.item_id if isinstance(event, Item) else event.user_id).encode()


def check_time(event: Event, *, not_after: datetime) -> None:
    """Refuse an event from the future.

    Raises:
        EventError: It happened more than `CLOCK_SKEW` after `not_after`.
    """
    if event.occurred_at - CLOCK_SKEW > not_after:
        raise _error("future_time", "$.occurred_at", f"{event.occurred_at.isoformat()} is to come")


def _decode(value: bytes, wanted: Any) -> Any:
    if len(value) > MAX_EVENT_BYTES:
        raise _error("too_large", "$", f"{len(value):,} bytes, {MAX_EVENT_BYTES:,} are allowed")
    try:
        event = _decoder(wanted).decode(value)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_json(value, str(error)) from None
    except RecursionError:
        raise _error("invalid_json", "$", "it is nested too deeply") from None
    except OverflowError:
        # A time whose zone moves it out of the calendar.
        raise _error(
            "out_of_range", "$.occurred_at", "the time is outside the years 1..9999"
        ) from None
    _check(event)
    return event


def _check(event: Event) -> None:
    """What types cannot say."""
    if isinstance(event, Rating) and event.scores == Scores():
        raise _error("no_scores", "$.scores", "no score is given")
    if isinstance(event, Comparison) and event.item_a == event.item_b:
        raise _error("same_item", "$.item_b", "it is the same as item_a")
    if isinstance(event, Item) and event.image_uri is None and event.features is None:
        raise _error("no_content", "$", "neither image_uri nor features")
    if not 1970 <= event.occurred_at.year <= 9998:
        raise _error("out_of_range", "$.occurred_at", "it lies outside 1970..9998")


def _not_json(value: bytes, text: str) -> EventError:
    """Bytes that are no UTF-8 are told from JSON that is malformed, which msgspec often calls both."""
    try:
        value.decode()
    except UnicodeDecodeError as error:
        return _error("invalid_utf8", "$", f"byte {error.start} is not UTF-8")
    return _error("invalid_json", "$", text)


# The path ends the text and is made of our own field names; keys of a map are `[...]` in it. Linear time:
# every attempt ends at the next backtick.
_AT = re.compile(r" - at (?:`key` in )?`(\$(?:\.[a-z_]+|\[\d+\]|\[\.\.\.\])*)`\Z")
_MISSING = "Object missing required field `"
_UNKNOWN = "Object contains unknown field `"
_VALUE = re.compile(r"Invalid (?:enum )?value ")


def _invalid(text: str) -> EventError:
    """The reason behind msgspec's words, e.g. "Expected `float` <= 10.0 - at `$.scores.health`"."""
    found = _AT.search(text)
    what, path = (text[: found.start()], found[1]) if found else (text, "$")
    if what.startswith(_MISSING):
        return _error("missing_field", f"{path}.{what[len(_MISSING) : -1]}", "it is missing")
    if what.startswith(_UNKNOWN):
        # The name is the input's, so it may itself end like a path. Only `scores` has fields within;
        # and it is quoted unless plain, so that no line break or colour reaches a terminal.
        if path != "$.scores":
            what, path = text, "$"
        name = what[len(_UNKNOWN) : -1]
        step = f".{name}" if _PLAIN.fullmatch(name) else f"[{_shown(name)}]"
        return _error("unknown_field", path + step, "there is no such field")
    if value := _VALUE.match(what):
        given = what[value.end() :]
        shown = _shown(given.strip("'"))
        if path == "$.kind":
            return _error("unknown_kind", path, f"{shown} is none of this topic")
        if path == "$.schema_version":
            return _error("unsupported_version", path, f"version {given[:SHOWN]}")
        return _error("out_of_range", path, f"{shown} is none of the known values")
    if "matching regex" in what:
        reason = "invalid_id" if path.endswith(("_id", "item_a", "item_b")) else "out_of_range"
        return _error(reason, path, "it does not have the allowed form")
    if "with a timezone" in what or "timezone component" in what:
        return _error("naive_time", path, "the time has no zone")
    if re.search(r"of length|<=|>=|<|>|out of range", what):
        return _error("out_of_range", path, what)
    return _error("wrong_type", path, what)


_PLAIN = re.compile(r"\w{1,80}", re.ASCII)


def _shown(value: object) -> str:
    """At most `SHOWN` characters of it, escaped."""
    if isinstance(value, str | bytes):
        value = value[:SHOWN]
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _error(reason: str, field: str, message: str) -> EventError:
    return EventError(reason, field, message, REASONS[reason])
