"""A world of simulated users with hidden tastes: the events they emit, and what they truly think."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from paaplus.errors import ConfigError
from paaplus.events import ATTRIBUTES, FeedbackEvent, Item, Rating, Retraction, Scores
from workers.bodies import PARAMETERS, draw_body
from workers.other_events import HABITS, comment, comparison, interaction, survey
from workers.records import Message, Records
from workers.tastes import true_scores

START = datetime(2026, 1, 5, 8, tzinfo=UTC)
"""When the simulated feedback begins."""

EXAM_SHARE = 0.2
"""Share of the items that nobody is asked about: on them the served scores are examined."""

NOISE = 0.7
"""Standard deviation of a rating around what the user truly thinks, on 0..10."""

RATED = (1.0, 0.8, 0.8)
"""How often a rating holds each attribute."""

WORLD, PICTURE, FEATURES, ROUND, EXAM = range(5)
"""Streams of random numbers: what one draws does not move another."""


class SimulatedWorld:
    """Items with bodies, users with tastes; everything follows from the arguments.

    Args:
        users: How many users.
        items: How many pictures.
        seed: Of everything, 0 or more.
        start: Time of the first event, with zone; a round is a day.
        habits: Events of each other kind, per user and round on average; of each at least one. A kind
            that is not named does not occur.

    Attributes:
        user_ids: [U].
        item_ids: [I].
        bodies: [I, P], 0..1, in the order of `bodies.PARAMETERS`.
        exam_items: Indices of the items that nobody is asked about, sorted.
        shown_items: Indices of the others.
        true: What users think, [U, I, A].
        expected: Counts of what has been emitted; ask for each round, and for the items, once.

    Raises:
        ConfigError: An argument is out of range.
    """

    def __init__(
        self,
        *,
        users: int = 200,
        items: int = 400,
        seed: int = 7,
        start: datetime = START,
        habits: Mapping[str, float] = HABITS,
    ) -> None:
        if users < 1 or items < 5 or seed < 0 or start.tzinfo is None:
            raise ConfigError(
                f"simulation: {users} users, {items} items, seed {seed}, start {start}",
                "it takes 1 user, 5 items, a seed of 0 or more, a start with a zone",
            )
        self.seed, self.start = seed, start
        rng = self._random(WORLD)
        self.user_ids = [f"u{n:04d}" for n in range(users)]
        self.item_ids = [f"item-{n:04d}" for n in range(items)]
        self.bodies = rng.uniform(0, 1, (items, len(PARAMETERS)))
        self.exam_items = sorted(rng.choice(items, int(items * EXAM_SHARE), replace=False).tolist())
        self.shown_items = sorted(set(range(items)) - set(self.exam_items))
        self.true = true_scores(self.bodies, users, rng)
        self._order = np.stack([rng.permutation(self.shown_items) for _ in range(users)])
        self._records = Records(f"{seed}/{users}/{items}", start)
        self.expected = self._records.expected
        self._habits = dict(habits)
        self._emitted = 0
        own = self.true[:, :, 0] - self.true[:, :, 0].mean(axis=0)
        slopes = own @ (self.bodies[:, :5] - 0.5)
        self._leanings = (slopes - slopes.mean(axis=0)) / np.maximum(slopes.std(axis=0), 1e-9)

    def item_events(self, images: Path) -> Iterator[Message]:
        """Draw every picture into the folder `images` and announce it by its name there."""
        images.mkdir(parents=True, exist_ok=True)
        for n, item_id in enumerate(self.item_ids):
            name = f"{item_id}.png"
            draw_body(self.bodies[n], self._random(PICTURE, n)).save(
                images / name, compress_level=1
            )
            yield self._records.of(Item(**self._records.item(item_id), image_uri=name))

    def given_items(self) -> Iterator[Message]:
        """Announce every item with 32 features (a noisy view of its body) instead of a picture."""
        rng = self._random(FEATURES)
        bent = np.concatenate([self.bodies, self.bodies**2], axis=1) - 0.5
        vectors = bent @ rng.normal(size=(bent.shape[1], 32))
        vectors += 0.1 * rng.normal(size=vectors.shape)
        for item_id, vector in zip(self.item_ids, vectors.round(4).tolist(), strict=True):
            yield self._records.of(Item(**self._records.item(item_id), features=vector))

    def round_events(self, number: int, ratings_per_user: int = 10) -> Iterator[Message]:
        """One round of feedback in the order of time.

        Ratings, events of every other kind, a few duplicates, and one broken event of each of several
        sorts. The same number gives the same bytes; users go through the shown items in an
        order of their own, and begin again when they have rated all.

        Args:
            number: 0, 1, …; the day.
            ratings_per_user: The same in every round.
        """
        rng = self._random(ROUND, number)
        events: list[FeedbackEvent] = []
        for user in range(len(self.user_ids)):
            events += self._ratings(rng, user, number, ratings_per_user)
        self._emitted = 0
        events += self._others(rng, number, [e for e in events if isinstance(e, Rating)])
        yield from self._records.of_day(events, rng)
        good = Rating(
            **self._records.envelope(number, "broken", minutes=900),
            user_id=self.user_ids[int(rng.integers(len(self.user_ids)))],
            item_id=self.item_ids[self.shown_items[0]],
            scores=Scores(appearance=5.0),
        )
        yield from self._records.broken(good)

    def exam(self) -> tuple[list[str], NDArray[np.float64]]:
        """Fresh ratings of the pictures that nobody was asked about.

        Returns:
            Item ids [I'], and scores [U, I', A] as the users would give them, with their noise.
        """
        truth = self.true[:, self.exam_items]
        felt = truth + NOISE * self._random(EXAM).normal(size=truth.shape)
        return [self.item_ids[n] for n in self.exam_items], _as_given(felt)

    def _random(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, *stream))

    def _ratings(
        self, rng: np.random.Generator, user: int, number: int, count: int
    ) -> Iterator[Rating]:
        places = np.arange(number * count, (number + 1) * count) % len(self.shown_items)
        items = self._order[user, places]
        felt = self.true[user, items] + NOISE * rng.normal(size=(count, len(ATTRIBUTES)))
        asked = rng.random(felt.shape) < RATED
        for n, (item, scores) in enumerate(zip(items, _as_given(felt).tolist(), strict=True)):
            rated = zip(ATTRIBUTES, scores, asked[n], strict=True)
            yield Rating(
                **self._records.envelope(
                    number, f"rating/{user}/{n}", minutes=n * min(3, 540 / count) + user % 3
                ),
                user_id=self.user_ids[user],
                item_id=self.item_ids[item],
                scores=Scores(**{name: score for name, score, yes in rated if yes}),
            )

    def _others(
        self, rng: np.random.Generator, number: int, ratings: list[Rating]
    ) -> Iterator[FeedbackEvent]:
        """Events of the other kinds, later in the day, so that a retraction follows its rating."""
        if number == 0 and "survey" in self._habits:
            for user, user_id in enumerate(self.user_ids):
                common = self._records.envelope(number, f"survey/{user}", minutes=590 + user % 9)
                yield survey(common | {"user_id": user_id}, self._leanings[user], rng)
        for kind, often in self._habits.items():
            if kind == "survey":
                continue
            count = rng.poisson(often, len(self.user_ids))
            for user in np.repeat(np.arange(len(count)), count).tolist() or [0]:
                yield self._other(rng, number, kind, int(user), ratings)

    def _other(
        self,
        rng: np.random.Generator,
        number: int,
        kind: str,
        user: int,
        ratings: list[Rating],
    ) -> FeedbackEvent:
        self._emitted += 1
        common = self._records.envelope(
            number, f"{kind}/{self._emitted}", minutes=600 + self._emitted % 300
        )
        if kind == "retraction":
            taken = ratings[int(rng.integers(len(ratings)))]
            return Retraction(**common, user_id=taken.user_id, retracts=taken.event_id)
        common["user_id"] = self.user_ids[user]
        items = rng.choice(self.shown_items, 2, replace=False)
        names = [self.item_ids[item] for item in items]
        felt = self.true[user, items] + NOISE * rng.normal(size=(2, len(ATTRIBUTES)))
        liking = (felt[0] - self.true[user].mean(axis=0)) / self.true[user].std(axis=0)
        if kind == "comparison":
            return comparison(common, names, felt, rng)
        if kind == "comment":
            return comment(common, names[0], liking, rng)
        return interaction(common, names[0], liking, rng)


def _as_given(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scores as people give them: halves, within 0..10."""
    return np.clip(np.round(scores * 2) / 2, 0, 10)
