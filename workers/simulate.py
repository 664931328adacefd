"""A world of simulated users with hidden tastes: the events they emit, and what they truly think."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from paaplus.events import (
    ATTRIBUTES,
    Comment,
    Comparison,
    FeedbackEvent,
    Interaction,
    Item,
    Rating,
    Retraction,
    Scores,
    Survey,
    encode,
    partition_key,
)
from workers.bodies import PARAMETERS, draw_body

START = datetime(2026, 1, 5, 8, tzinfo=UTC)
"""When the simulated feedback begins."""

EXAM_SHARE = 0.2
"""Share of the items that nobody is asked about: on them the served scores are examined."""

NOISE = 0.7
"""Standard deviation of a rating around what the user truly thinks, on 0..10."""

GROUPS, SPREAD = 4, 0.6
"""Users fall into groups of like taste, and differ within a group by that much."""

Message = tuple[bytes, bytes]
"""Key and value of a record."""


@dataclass(slots=True)
class Expected:
    """What a faithful ingest must count."""

    accepted: int = 0
    duplicates: int = 0
    dead: int = 0


class SimulatedWorld:
    """Items with bodies, users with tastes; everything follows from the seed.

    Args:
        users: How many users.
        items: How many pictures.
        seed: Of everything.
    """

    def __init__(self, *, users: int = 200, items: int = 400, seed: int = 7) -> None:
        rng = np.random.default_rng(seed)
        self.seed = seed
        self.user_ids = [f"u{n:04d}" for n in range(users)]
        self.item_ids = [f"item-{n:04d}" for n in range(items)]
        self.bodies = rng.uniform(0, 1, (items, len(PARAMETERS)))
        self.exam_items = sorted(rng.choice(items, int(items * EXAM_SHARE), replace=False).tolist())
        self.shown_items = sorted(set(range(items)) - set(self.exam_items))
        self.true = _true_scores(self.bodies, users, rng)  # [users, items, A]
        self.expected = Expected()
        self._shown = {u: rng.permutation(self.shown_items) for u in range(users)}
        self._asked = dict.fromkeys(range(users), 0)
        self._rng = rng

    def item_events(self, images: Path) -> Iterator[Message]:
        """Draw every picture into `images` and announce it."""
        images.mkdir(parents=True, exist_ok=True)
        for n, item_id in enumerate(self.item_ids):
            name = f"{item_id}.png"
            draw_body(self.bodies[n], np.random.default_rng((self.seed, n))).save(images / name)
            yield self._announce(Item(**self._envelope(), item_id=item_id, image_uri=name))

    def given_items(self) -> Iterator[Message]:
        """Announce every item with a feature vector (a noisy view of its body) instead of a picture."""
        rng = np.random.default_rng((self.seed, 1))
        bent = np.concatenate([self.bodies, self.bodies**2], axis=1) - 0.5
        mixing = rng.normal(size=(bent.shape[1], 32))
        vectors = bent @ mixing + 0.1 * rng.normal(size=(len(bent), 32))
        for item_id, vector in zip(self.item_ids, vectors.round(4).tolist(), strict=True):
            yield self._announce(Item(**self._envelope(), item_id=item_id, features=vector))

    def round_events(self, number: int, ratings_per_user: int = 10) -> Iterator[Message]:
        """One round of feedback in the order of time: ratings, a few events of every other kind, a few
        duplicates and a few that are broken. Rounds are asked for one after another.
        """
        when = START + timedelta(days=number)
        events = [
            e for u in range(len(self.user_ids)) for e in self._ratings(u, ratings_per_user, when)
        ]
        events += list(self._others(when))
        for event in sorted(events, key=lambda event: event.occurred_at):
            self.expected.accepted += 1
            yield partition_key(event), encode(event)
            if self._rng.random() < 0.005:
                self.expected.duplicates += 1
                yield partition_key(event), encode(event)
        for user, value in self._broken(when):
            self.expected.dead += 1
            yield user.encode(), value

    def exam(self) -> tuple[list[str], NDArray[np.float64]]:
        """Fresh ratings of the pictures that nobody was asked about.

        Returns:
            Item ids, and scores [U, I, A] as the users would give them, with their noise.
        """
        rng = np.random.default_rng((self.seed, 2))
        truth = self.true[:, self.exam_items]
        scores = _as_given(truth + NOISE * rng.normal(size=truth.shape))
        return [self.item_ids[n] for n in self.exam_items], scores

    def _announce(self, event: Item) -> Message:
        self.expected.accepted += 1
        return partition_key(event), encode(event)

    def _ratings(self, user: int, count: int, when: datetime) -> Iterator[Rating]:
        first = self._asked[user]
        self._asked[user] += count
        for n, item in enumerate(self._shown[user][first : first + count]):
            felt = self.true[user, item] + NOISE * self._rng.normal(size=len(ATTRIBUTES))
            given = _as_given(felt)
            # Appearance is always rated, the others mostly.
            asked = [True, *(self._rng.random(2) < 0.8)]
            scores = {
                a: float(s) for a, s, yes in zip(ATTRIBUTES, given, asked, strict=True) if yes
            }
            yield Rating(
                **self._envelope(when + timedelta(minutes=3 * n)),
                user_id=self.user_ids[user],
                item_id=self.item_ids[item],
                scores=Scores(**scores),
            )

    def _others(self, when: datetime) -> Iterator[FeedbackEvent]:
        """One event of each other kind, by a random user each."""
        users = [self.user_ids[u] for u in self._rng.integers(len(self.user_ids), size=5)]
        items = [self.item_ids[i] for i in self._rng.choice(self.shown_items, 4, replace=False)]
        times = [self._envelope(when + timedelta(hours=9, minutes=n)) for n in range(5)]
        yield Comparison(
            **times[0], user_id=users[0], item_a=items[0], item_b=items[1],
            attribute="appearance", preferred="a",
        )  # fmt: skip
        yield Comment(**times[1], user_id=users[1], item_id=items[2], text="stands very upright")
        yield Interaction(**times[2], user_id=users[2], item_id=items[3], action="like")
        yield Survey(**times[3], user_id=users[3], answers={"exercises": "weekly"})
        yield Retraction(**times[4], user_id=users[4], retracts=self._uuid())

    def _broken(self, when: datetime) -> Iterator[tuple[str, bytes]]:
        """One broken event of each of several sorts."""
        user = self.user_ids[int(self._rng.integers(len(self.user_ids)))]
        good = Rating(
            **self._envelope(when + timedelta(hours=10)),
            user_id=user,
            item_id=self.item_ids[self.shown_items[0]],
            scores=Scores(appearance=5.0),
        )
        body = json.loads(encode(good))
        yield user, encode(good)[:-9]
        yield user, json.dumps(body | {"kind": "applause"}).encode()
        yield user, json.dumps(body | {"scores": {"appearance": 11}}).encode()
        yield user, json.dumps(body | {"item_id": "item-never-announced"}).encode()
        yield user, json.dumps(body | {"occurred_at": "2026-01-05T08:00:00"}).encode()
        yield user, encode(good).replace(b"rating", b"rat\xffng")

    def _envelope(self, when: datetime = START) -> dict[str, Any]:
        return {"event_id": self._uuid(), "occurred_at": when, "schema_version": 1}

    def _uuid(self) -> UUID:
        return UUID(bytes=self._rng.bytes(16), version=4)


def _true_scores(
    bodies: NDArray[np.float64], users: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """What every user thinks of every item: [users, items, A] on about 0..10.

    Everybody shares a taste per attribute, partly for the middle of a parameter rather than an end; each
    user departs from it with a group and alone, and uses the scale in an own way.
    """
    centred = bodies - 0.5
    bent = 0.08 - centred**2
    traits = np.concatenate([centred, bent / bent.std() * centred.std()], axis=1)
    traits /= traits.std(axis=0)
    attributes, width = len(ATTRIBUTES), traits.shape[1]
    shared = rng.normal(size=(attributes, width)) * 0.22
    slouch, lean = PARAMETERS.index("slouch"), PARAMETERS.index("lean")
    shared[ATTRIBUTES.index("posture"), slouch] = -1.0
    shared[ATTRIBUTES.index("posture"), lean] = -0.3
    shared[ATTRIBUTES.index("health"), PARAMETERS.index("muscle")] = 0.8
    shared[ATTRIBUTES.index("appearance"), PARAMETERS.index("shoulders")] = 0.5
    groups = rng.normal(size=(GROUPS, attributes, width)) * 0.4
    own = groups[rng.integers(GROUPS, size=users)]
    own = own + SPREAD * 0.4 * rng.normal(size=(users, attributes, width))
    weights = shared[None] + own * rng.gamma(4, 0.25, size=(users, 1, 1))
    mean = 5.2 + 0.8 * rng.normal(size=(users, 1, 1))
    scale = np.exp(0.2 * rng.normal(size=(users, 1, 1)))
    return mean + scale * np.einsum("it,uat->uia", traits, weights)


def _as_given(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores as people give them: halves, within 0..10."""
    return np.clip(np.round(scores * 2) / 2, 0, 10)
