"""The events of schema version 1: what a backend may tell us. Types, ranges and nothing else.

These types are the contract: the JSON Schema and docs/events.md are generated from them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import Meta, Struct

ATTRIBUTES = ("appearance", "health", "posture")
"""What is scored, in the order of every array of scores."""

# `\Z`, not `$`: the latter lets a trailing newline through.
UserId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._-]{1,128}\Z",
        description="opaque, 1..128 of A-Z a-z 0-9 . _ -; never an e-mail address",
    ),
]
ItemId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._:/@+=-]{1,256}\Z",
        description="opaque, never read as a path, 1..256 of A-Z a-z 0-9 . _ : / @ + = -",
    ),
]
TrunkName = Annotated[
    str,
    Meta(
        pattern=r"^given[A-Za-z0-9._-]{0,59}\Z",
        description="`given`, or `given` with a suffix: one name per kind of feature vector",
    ),
]
Score = Annotated[float, Meta(ge=0, le=10, description="0..10")]
Share = Annotated[float, Meta(ge=0, le=1, description="0..1")]
EventId = Annotated[
    UUID,
    Meta(description="UUID that the producer makes, version 7 recommended; one id counts once"),
]
Time = Annotated[datetime, Meta(tz=True, description="RFC 3339 with zone, not in the future")]
Text = Annotated[str, Meta(min_length=1, max_length=10_000)]
Language = Annotated[str, Meta(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}\Z")]
Question = Annotated[str, Meta(min_length=1, max_length=200)]
# Larger integers are not exact in other readers of JSON, and Python refuses to read the longest.
Whole = Annotated[int, Meta(ge=-(2**53), le=2**53)]
Answer = Annotated[str, Meta(max_length=2_000)] | Whole | float | bool
# A NUL is legal JSON, but neither PostgreSQL nor a file system takes one.
Uri = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f\x7f]{1,2048}\Z",
        description="1..2,048 characters, no control characters",
    ),
]
Preference = tuple[Share, Share, Share, Share, Share]
# Far within float32, as which features are kept, and their squares.
Feature = Annotated[float, Meta(ge=-1e6, le=1e6, description="-1,000,000..1,000,000")]
Features = Annotated[list[Feature], Meta(min_length=1, max_length=16_384)]
Joints = Annotated[list[tuple[float, float]], Meta(min_length=1, max_length=256)]
Action = Literal["view", "dwell", "like", "save", "share", "skip", "hide", "report"]


class Scores(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Scores of one item, at least one of the three."""

    appearance: Score | None = None
    health: Score | None = None
    posture: Score | None = None


class _Envelope(
    Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    omit_defaults=True,
):
    """Fields of every event.

    Attributes:
        event_id: The producer's UUID, version 7 recommended; the same id counts once.
        schema_version: 1.
        occurred_at: When the user acted, with zone.
    """

    event_id: EventId
    occurred_at: Time
    schema_version: Literal[1]


class _Feedback(
    _Envelope, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Fields of every event that a user causes; the record's key is the `user_id`."""

    user_id: UserId


class Rating(_Feedback, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="rating"):
    """The user scores an item, on at least one attribute."""

    item_id: ItemId
    scores: Scores


class Comparison(
    _Feedback, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="comparison"
):
    """The user prefers one of two items."""

    item_a: ItemId
    item_b: ItemId
    attribute: Literal["appearance", "health", "posture", "overall"]
    preferred: Literal["a", "b", "tie"]


class Comment(
    _Feedback,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag="comment",
):
    """The user writes about an item."""

    item_id: ItemId
    text: Text
    language: Language | None = None


class Interaction(
    _Feedback,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag="interaction",
):
    """The user does something with an item; `value` is seconds for `dwell`; a `view` says it was shown."""

    item_id: ItemId
    action: Action
    value: float | None = None


class Survey(
    _Feedback,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    tag="survey",
):
    """The user answers the survey of stage 2; `preference` is their preference vector."""

    answers: Annotated[dict[Question, Answer], Meta(max_length=200)]
    preference: Preference | None = None


class Retraction(
    _Feedback, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="retraction"
):
    """The user takes an event back."""

    retracts: Annotated[UUID, Meta(description="the `event_id` of the event")]


class Item(
    _Envelope, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag="item"
):
    """An item is announced: a picture, or its features, or both. The record's key is the `item_id`.

    An item never changes: another picture is another item.
    """

    item_id: ItemId
    image_uri: Uri | None = None
    features: Features | None = None
    trunk: TrunkName = "given"
    mesh: Uri | None = None
    joints: Joints | None = None
    preference: Preference | None = None
    bmi: Annotated[float, Meta(gt=0, lt=200)] | None = None


FeedbackEvent = Rating | Comparison | Comment | Interaction | Survey | Retraction
Event = FeedbackEvent | Item
KINDS: tuple[type[Struct], ...] = (
    Rating,
    Comparison,
    Comment,
    Interaction,
    Survey,
    Retraction,
    Item,
)


def kind_of(event: Event) -> str:
    """The event's `kind` on the wire."""
    return str(event.__struct_config__.tag)
