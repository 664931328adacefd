"""What a backend sends besides ratings: the other kinds of feedback, and broken events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal
from uuid import uuid5

from paaplus.events import (
    Comment,
    Comparison,
    FeedbackEvent,
    Interaction,
    Rating,
    Retraction,
    Survey,
    encode,
    partition_key,
)

HABITS = ("never", "weekly", "daily")


def other_event(
    n: int,
    *,
    envelope: dict[str, Any],
    user_id: str,
    items: tuple[str, str],
    likes: tuple[float, float],
    rating: Rating,
) -> FeedbackEvent:
    """The n-th event that is not a rating; the kinds take turns.

    Args:
        n: 0, 1, …
        envelope: `event_id`, `occurred_at`, `schema_version`.
        user_id: Whose it is, unless it is a retraction.
        items: Two items.
        likes: How much the user likes each more than the average item, in points of score.
        rating: An earlier one, of any user, to be taken back.
    """
    by_user = {**envelope, "user_id": user_id}
    liked = likes[0] > 0
    match n % 5:
        case 0:
            choice: Literal["a", "b"] = "a" if likes[0] > likes[1] else "b"
            return Comparison(
                **by_user,
                item_a=items[0],
                item_b=items[1],
                attribute="appearance",
                preferred="tie" if abs(likes[0] - likes[1]) < 0.5 else choice,
            )
        case 1:
            text = "I like the build" if liked else "not for me"
            return Comment(**by_user, item_id=items[0], text=text, language="en")
        case 2:
            return Interaction(**by_user, item_id=items[0], action="like" if liked else "skip")
        case 3:
            return Survey(**by_user, answers={"exercises": HABITS[n // 5 % len(HABITS)]})
        case _:
            return Retraction(**envelope, user_id=rating.user_id, retracts=rating.event_id)


def broken_events(good: Rating) -> Iterator[tuple[str, bytes, bytes]]:
    """One event of each of several sorts of broken.

    Args:
        good: What they are made from; itself not among them.

    Yields:
        The reason of the dead letter, key and value.
    """
    key, value = partition_key(good), encode(good)
    body = json.loads(value)
    yield "invalid_json", key, value[:-9]
    yield "invalid_utf8", key, value.replace(b"item", b"it\xffm", 1)
    for reason, change in (
        ("unknown_kind", {"kind": "applause"}),
        ("out_of_range", {"scores": {"appearance": 11}}),
        ("unknown_item", {"item_id": "item-never-announced"}),
        ("naive_time", {"occurred_at": body["occurred_at"].removesuffix("Z")}),
    ):
        # An id each, since each could be accepted after a fix.
        event_id = str(uuid5(good.event_id, reason))
        yield reason, key, json.dumps(body | change | {"event_id": event_id}).encode()
