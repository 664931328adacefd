"""Temporary minimal types (to be replaced)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

ATTRIBUTES = ("appearance", "health", "posture")
UserId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,128}\Z")]
ItemId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:/@+-]{1,256}\Z")]
Score = Annotated[float, Meta(ge=0, le=10)]
When = Annotated[datetime, Meta(tz=True)]


class Scores(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    appearance: Score | None = None
    health: Score | None = None
    posture: Score | None = None


class _E(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    event_id: UUID
    schema_version: Literal[1] = 1
    occurred_at: When


class _F(_E, frozen=True, kw_only=True, forbid_unknown_fields=True):
    user_id: UserId


class Rating(_F, frozen=True, kw_only=True, tag="rating"):
    item_id: ItemId
    scores: Scores


class Comparison(_F, frozen=True, kw_only=True, tag="comparison"):
    item_a: ItemId
    item_b: ItemId
    attribute: Literal["appearance", "health", "posture", "overall"]
    preferred: Literal["a", "b", "tie"]


class Comment(_F, frozen=True, kw_only=True, tag="comment"):
    item_id: ItemId
    text: str
    language: str | None = None


class Interaction(_F, frozen=True, kw_only=True, tag="interaction"):
    item_id: ItemId
    action: Literal["view", "dwell", "like", "save", "share", "skip", "hide", "report"]
    value: float | None = None


class Survey(_F, frozen=True, kw_only=True, tag="survey"):
    answers: dict[str, str | float]
    preference: tuple[float, float, float, float, float] | None = None


class Retraction(_F, frozen=True, kw_only=True, tag="retraction"):
    retracts: UUID


class Item(_E, frozen=True, kw_only=True, tag="item"):
    item_id: ItemId
    image_uri: str | None = None
    features: list[float] | None = None
    trunk: str = "given"


FeedbackEvent = Rating | Comparison | Comment | Interaction | Survey | Retraction
Event = FeedbackEvent | Item


def kind_of(event: Event) -> str:
    """Kind."""
    return str(type(event).__struct_config__.tag)
