"""Temporary (to be replaced)."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from paaplus.errors import EventError
from paaplus.events.types import Event, FeedbackEvent, Item


def decode_feedback(value: bytes, *, key: bytes | None = None) -> FeedbackEvent:
    try:
        return msgspec.json.decode(value, type=FeedbackEvent)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise EventError("invalid_json", "$", str(e), "mend it") from e


def decode_item(value: bytes) -> Item:
    try:
        return msgspec.json.decode(value, type=Item)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise EventError("invalid_json", "$", str(e), "mend it") from e


def decode(value: bytes) -> Event:
    try:
        return msgspec.json.decode(value, type=Event)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise EventError("invalid_json", "$", str(e), "mend it") from e


def encode(event: Event) -> bytes:
    return msgspec.json.encode(event)


def partition_key(event: Event) -> bytes:
    return (event.item_id if isinstance(event, Item) else event.user_id).encode()


def check_time(event: Event, *, not_after: datetime) -> None:
    if event.occurred_at > not_after + timedelta(minutes=5):
        raise EventError("future_time", "$.occurred_at", "future", "fix the clock")
