"""What simulated users do besides rating: they compare, comment, act, answer a survey, take back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal
from uuid import uuid5

import numpy as np
from numpy.typing import NDArray

from paaplus.events import (
    ATTRIBUTES,
    Comment,
    Comparison,
    Interaction,
    Rating,
    Survey,
    encode,
    partition_key,
)

Array = NDArray[np.float64]

HABITS = {"comparison": 1.0, "comment": 0.5, "interaction": 2.0, "retraction": 0.05, "survey": 1.0}
"""Events per user and round, on average; the survey is answered once, in the first round, or never."""

TIE = 0.5
"""Points of score within which two items are the same to a user."""

WORDS = {
    "appearance": (
        ["a beautiful figure", "really attractive", "比例匀称很好看", "looks great"],
        ["not attractive", "I don't like the figure", "不好看", "an ugly outfit"],
    ),
    "health": (
        ["strong and fit", "looks healthy", "很健康肌肉结实", "well toned"],
        ["far too thin", "looks unhealthy", "太瘦了", "flabby"],
    ),
    "posture": (
        ["stands upright", "great posture", "站姿挺拔", "a straight back"],
        ["slouched", "a hunched back", "有点驼背", "bad posture"],
    ),
}
"""Praise and blame, of one attribute each."""

GENERAL = (
    ["I like it", "very nice!", "喜欢", "lovely"],
    ["not for me", "awful", "不喜欢", "meh, bad"],
)
FREQUENCIES = ("never", "weekly", "daily")


def comparison(
    common: dict[str, Any], items: Sequence[str], felt: Array, rng: np.random.Generator
) -> Comparison:
    """Which of two items is preferred, in one attribute or overall.

    Args:
        common: `event_id`, `occurred_at`, `schema_version`, `user_id`.
        items: Two ids, and `felt` [2, A], what the user thinks of them now.
        felt: See `items`.
        rng: Draws the attribute.
    """
    names: tuple[Literal["appearance", "health", "posture", "overall"], ...]
    names = ("appearance", "health", "posture", "overall")
    attribute = names[int(rng.integers(len(names)))]
    scores = felt.mean(axis=1) if attribute == "overall" else felt[:, names.index(attribute)]
    difference = float(scores[0] - scores[1])
    choice: Literal["a", "b"] = "a" if difference > 0 else "b"
    return Comparison(
        **common,
        item_a=items[0],
        item_b=items[1],
        attribute=attribute,
        preferred="tie" if abs(difference) < TIE else choice,
    )


def comment(common: dict[str, Any], item: str, liking: Array, rng: np.random.Generator) -> Comment:
    """Words on what strikes most; `liking` [A] is in standard deviations from what the user usually finds."""
    a = int(np.abs(liking).argmax())
    praise, blame = GENERAL if rng.random() < 0.2 else WORDS[ATTRIBUTES[a]]
    words = praise if liking[a] > 0 else blame
    text = words[int(rng.integers(len(words)))]
    return Comment(**common, item_id=item, text=text, language="en" if text.isascii() else "zh")


def interaction(
    common: dict[str, Any], item: str, liking: Array, rng: np.random.Generator
) -> Interaction:
    """What the user does with an item, by how much it is liked on the whole."""
    much = float(liking.mean())
    if rng.random() < 0.3:
        seconds = float(np.exp(1.5 + 0.8 * much + 0.8 * rng.normal()))
        return Interaction(**common, item_id=item, action="dwell", value=round(seconds, 1))
    if rng.random() < 0.3:
        return Interaction(**common, item_id=item, action="view")
    liked: tuple[Literal["like", "save", "share"], ...] = ("like", "save", "share")
    passed: tuple[Literal["skip", "hide", "report"], ...] = ("skip", "hide", "report")
    which = int(rng.choice(3, p=[0.7, 0.2, 0.1]))
    likes = rng.random() < 1 / (1 + np.exp(-2 * much))
    return Interaction(**common, item_id=item, action=liked[which] if likes else passed[which])


def survey(common: dict[str, Any], leaning: Array, rng: np.random.Generator) -> Survey:
    """Answers that tell a little of the user's taste; `leaning` [5] is in standard deviations."""
    told = 1 / (1 + np.exp(-(leaning + 0.7 * rng.normal(size=5))))
    often = FREQUENCIES[int(np.clip(round(1 + leaning[2] + 0.7 * rng.normal()), 0, 2))]
    first, second, third, fourth, fifth = (round(float(share), 1) for share in told)
    return Survey(
        **common,
        answers={"exercises": often, "age": int(rng.integers(18, 70))},
        preference=(first, second, third, fourth, fifth),
    )


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
