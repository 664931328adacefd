"""What an event is evidence of: a channel and a signal per attribute. What a signal is worth is learned
(`paaplus.population.channels`), so nothing here is a score but a rating's own.

| kind | channel | signal |
|---|---|---|
| rating | `rating` | the score, 0..10 |
| comparison | `comparison`, `comparison.overall` | 1: preferred to the other, -1: the other is, 0: tie |
| comment | `comment`, `comment.overall` | polarity, -1..1 |
| interaction | `interaction.<action>`, `interaction.dwell.<0..3>` | 1: it happened |
| survey | `survey` | none: the answers speak of the user |
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import singledispatch

from paaplus.comments import Analyser
from paaplus.events import (
    ATTRIBUTES,
    Comment,
    Comparison,
    FeedbackEvent,
    Interaction,
    Rating,
    Retraction,
    Survey,
)

RATING, SURVEY = "rating", "survey"

DWELL_SECONDS = (2.0, 8.0, 32.0)
"""Dwelling is told apart by these limits: a glance, a look, a long look, study."""

ACTIONS = ("view", "like", "save", "share", "skip", "hide", "report")
CHANNELS = (
    RATING,
    "comparison",
    "comparison.overall",
    "comment",
    "comment.overall",
    *(f"interaction.{action}" for action in ACTIONS),
    *(f"interaction.dwell.{n}" for n in range(len(DWELL_SECONDS) + 1)),
    SURVEY,
)
"""Every channel there is; its place here is its number in arrays."""

Signals = tuple[float | None, float | None, float | None]
"""One per attribute, in the order of `ATTRIBUTES`; None = it says nothing of that one."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What one event says.

    Attributes:
        channel: One of `CHANNELS`.
        signals: Per attribute.
        detail: The other item of a comparison; `answers` and `preference` of a survey as JSON.
    """

    channel: str
    signals: Signals
    detail: str | None = None


@singledispatch
def observe(event: FeedbackEvent, analyser: Analyser) -> Observation | None:
    """What an event says; None if there is nothing to learn from it.

    Args:
        event: Any feedback.
        analyser: Reads comments.

    Raises:
        CommentError: The analyser cannot read a comment.
    """
    raise TypeError(f"{type(event).__name__} is no feedback")


@observe.register
def _(event: Rating, analyser: Analyser) -> Observation:
    scores = event.scores
    return Observation(RATING, (scores.appearance, scores.health, scores.posture))


@observe.register
def _(event: Comparison, analyser: Analyser) -> Observation:
    signal = {"a": 1.0, "b": -1.0, "tie": 0.0}[event.preferred]
    if event.attribute == "overall":
        return Observation("comparison.overall", (signal, signal, signal), event.item_b)
    return Observation("comparison", _only(event.attribute, signal), event.item_b)


@observe.register
def _(event: Comment, analyser: Analyser) -> Observation | None:
    opinion = analyser.analyse(event.text, event.language)
    named = (opinion.appearance, opinion.health, opinion.posture)
    if any(polarity is not None for polarity in named):
        return Observation("comment", named)
    if opinion.overall is not None:
        return Observation("comment.overall", (opinion.overall,) * 3)
    return None


@observe.register
def _(event: Interaction, analyser: Analyser) -> Observation | None:
    channel = f"interaction.{event.action}"
    if event.action == "dwell":
        if event.value is None:
            return None
        channel += f".{sum(event.value >= limit for limit in DWELL_SECONDS)}"
    return Observation(channel, (1.0, 1.0, 1.0))


@observe.register
def _(event: Survey, analyser: Analyser) -> Observation | None:
    if not event.answers and event.preference is None:
        return None
    said = {"answers": event.answers, "preference": event.preference}
    return Observation(SURVEY, (None, None, None), json.dumps(said, sort_keys=True))


@observe.register
def _(event: Retraction, analyser: Analyser) -> None:
    return None


def _only(attribute: str, signal: float) -> Signals:
    first, second, third = (signal if attribute == name else None for name in ATTRIBUTES)
    return first, second, third
