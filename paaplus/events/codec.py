"""Bytes <-> events. Whatever the bytes are, the outcome is an event or an `EventError`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
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
}
"""Why an event can be refused, and the remedy. The last two are found by the store."""


@cache
def _decoder(wanted: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(wanted)


def decode_feedback(value: bytes, *, key: bytes | None = None) -> FeedbackEvent:
    """A user's event from a record of the feedback topic.

    Args:
        value: The record's bytes.
        key: The record's key, if it has one; it must be the user id.

    Raises:
        EventError: It is none; `field` says where, `remedy` how to mend it.
    """
    event: FeedbackEvent = _decode(value, FeedbackEvent)
    if key and key != event.user_id.encode():
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
    """Compact JSON, the same bytes for the same event."""
    return msgspec.json.encode(event)


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
        raise _invalid(value, str(error)) from None
    except msgspec.DecodeError as error:
        raise _error("invalid_json", "$", str(error)) from None
    except UnicodeDecodeError as error:
        raise _error("invalid_utf8", "$", f"byte {error.start} is not UTF-8") from None
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
    if isinstance(event, Item):
        if event.image_uri is None and event.features is None:
            raise _error("no_content", "$", "neither image_uri nor features")
        _check_finite("$.features", event.features or ())
    if not 1970 <= event.occurred_at.year <= 9998:
        raise _error("out_of_range", "$.occurred_at", "it lies outside 1970..9998")


def _check_finite(field: str, values: Iterable[float]) -> None:
    """JSON has no infinity, but 1e999 is read as one."""
    for place, value in enumerate(values):
        if not math.isfinite(value):
            raise _error("out_of_range", f"{field}[{place}]", "it is not a finite number")


_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?\Z", re.DOTALL)


def _invalid(value: bytes, text: str) -> EventError:
    """The reason behind msgspec's words, e.g. "Expected `float` <= 10.0 - at `$.scores.health`"."""
    found = _AT.match(text)
    assert found is not None
    what, path = found["what"], found["path"] or "$"
    name = re.search(r"field `([^`]*)`", what)
    if what.startswith("Object missing required field") and name:
        return _error("missing_field", f"{path}.{name[1]}", "it is missing")
    if what.startswith("Object contains unknown field") and name:
        return _error("unknown_field", f"{path}.{name[1][:SHOWN]}", "there is no such field")
    if what.startswith(("Invalid value", "Invalid enum value")):
        if path == "$.kind":
            return _error("unknown_kind", path, f"{_field(value, 'kind')} is none of this topic")
        if path == "$.schema_version":
            return _error("unsupported_version", path, f"version {_field(value, 'schema_version')}")
        return _error("out_of_range", path, "it is none of the known values")
    if "matching regex" in what:
        reason = "invalid_id" if path.endswith(("_id", "item_a", "item_b")) else "out_of_range"
        return _error(reason, path, "it does not have the allowed form")
    if "with a timezone" in what or "timezone component" in what:
        return _error("naive_time", path, "the time has no zone")
    if re.search(r"of length|<=|>=|<|>|out of range", what):
        return _error("out_of_range", path, what[:200])
    return _error("wrong_type", path, what[:200])


def _field(value: bytes, name: str) -> str:
    """A field of JSON that parses, for a message."""
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return "it"
    return _shown(parsed.get(name)) if isinstance(parsed, dict) else "it"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _error(reason: str, field: str, message: str) -> EventError:
    return EventError(reason, field, message, REASONS[reason])
