"""What each kind of feedback adds to ratings alone, on simulated users whose taste is known.

Two thirds of the users teach: the population model, and what each kind is worth, are fitted on what they
gave. The others learn: n ratings, with and without some events of one other kind. Heads are judged by what
their users truly think of pictures that nobody was asked about. `saved` is how many more ratings it takes
without those events to rank as well (interpolated between the counts of ratings alone).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frame import parser_of, show, working
from paaplus.comments import open_analyser
from paaplus.errors import EventError
from paaplus.events import ATTRIBUTES, Rating, decode_feedback, decode_item
from paaplus.metrics import srcc
from paaplus.observations import RATING, Observation, observe
from paaplus.population import ItemFeatures, Population, Ratings, Taught, fit_population
from workers.simulate import SimulatedWorld

Array = NDArray[np.float64]

COUNTS = (0, 3, 10, 30)
CURVE = (0, 1, 2, 3, 5, 7, 10, 14, 20, 30, 40, 50, 60, 80)
"""Ratings at which the curve of ratings alone is measured."""

EVENTS = {"comparison": 10, "comment": 10, "interaction": 20, "survey": 1}
"""Of each kind per learner; as many of all for `all`."""

ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a user: the item, and what it says."""

    user: int
    item: str | None
    said: Observation


def emitted(world: SimulatedWorld) -> list[Event]:
    """What everybody gave in all rounds, in order; broken events and duplicates left out."""
    analyser, place = open_analyser(), {user: u for u, user in enumerate(world.user_ids)}
    seen, events = set(), []
    for number in range(ROUNDS):
        for key, value in world.round_events(number):
            try:
                event = decode_feedback(value, key=key)
            except EventError:
                continue
            said = observe(event, analyser)
            item = getattr(event, "item_id", getattr(event, "item_a", None))
            known = item is None or item in world.item_ids
            if said is None or event.event_id in seen or not known:
                continue
            seen.add(event.event_id)
            events.append(Event(place[event.user_id], item, said))
            assert isinstance(event, Rating) == (said.channel == RATING)
    return events


def taught_population(world: SimulatedWorld, events: list[Event], seed: int) -> Population:
    """The population model of the teachers' events."""
    items = [decode_item(value) for _, value in world.given_items()]
    vectors = np.array([item.features for item in items], dtype=np.float32)
    ratings = [event for event in events if event.said.channel == RATING]
    others = [event for event in events if event.said.channel != RATING]

    def column(values: list[Any]) -> NDArray[np.object_]:
        array = np.empty(len(values), dtype=object)
        array[:] = values
        return array

    def signals(some: list[Event]) -> Array:
        return np.array([event.said.signals for event in some], dtype=np.float64).reshape(-1, 3)

    def users(some: list[Event]) -> NDArray[np.object_]:
        return column([world.user_ids[event.user] for event in some])

    return fit_population(
        Ratings(users(ratings), column([e.item for e in ratings]), signals(ratings)),
        ItemFeatures(column(world.item_ids), vectors),
        trunk="given",
        seed=seed,
        taught=Taught(
            users(others), column([e.item for e in others]), column([e.said.channel for e in others]),
            signals(others), column([e.said.detail for e in others]),
        ),
    )  # fmt: skip


class Learners:
    """Users whose heads are learned: statistics of every event, to be added up in any selection.

    Args:
        world: Where they live.
        population: Of the teachers.
        users: Indices.
        events: Of everybody.
    """

    def __init__(
        self, world: SimulatedWorld, population: Population, users: list[int], events: list[Event]
    ) -> None:
        self._prior, self._item_ids = population.prior, world.item_ids
        vectors = np.array([decode_item(value).features for _, value in world.given_items()])
        self._table = dict(
            zip(world.item_ids, population.rows(world.item_ids, vectors), strict=True)
        )
        self._wanted = np.stack([self._table[world.item_ids[n]] for n in world.exam_items])
        self._truth = world.true[:, world.exam_items]
        self.users = users
        self._rows: dict[tuple[int, str], tuple[Array, Array, Array]] = {}
        for user in users:
            mine = [event for event in events if event.user == user]
            for kind in ("rating", *EVENTS):
                some = [e for e in mine if e.said.channel.split(".")[0] == kind]
                self._rows[user, kind] = self._observed(population, some, kind)

    def heads(self, counts: dict[str, int]) -> Array:
        """Means after so many events of each kind: [U, A, m]."""
        result = []
        for user in self.users:
            parts = [
                tuple(array[:count] for array in self._rows[user, kind])
                for kind, count in counts.items()
            ]
            x, y, w = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
            gram = np.einsum("nam,nak,na->amk", x, x, w)
            moment = np.einsum("nam,na->am", x, w * y)
            result.append(self._prior.posterior_mean(gram, moment))
        return np.stack(result)

    def judged(self, counts: dict[str, int]) -> Array:
        """SRCC, and MAE, with the truth after so many events of each kind: [U, 2]."""
        result = []
        for user, mean in zip(self.users, self.heads(counts), strict=True):
            scores = np.einsum("iam,am->ia", self._wanted, mean)
            truth = self._truth[user]
            ranks = [srcc(scores[:, a], truth[:, a]) for a in range(len(ATTRIBUTES))]
            result.append((np.mean(ranks), np.abs(np.clip(scores, 0, 10) - truth).mean()))
        return np.array(result)

    def scores(self, counts: dict[str, int], items: list[int]) -> Array:
        """What those heads say of items, mean over the attributes: [U, I']."""
        rows = np.stack([self._table[self._item_ids[n]] for n in items])
        found: Array = np.einsum("iam,uam->ui", rows, self.heads(counts)) / len(ATTRIBUTES)
        return found

    def _observed(
        self, population: Population, events: list[Event], kind: str
    ) -> tuple[Array, Array, Array]:
        """Rows [n, A, m], targets and weights [n, A]."""
        blank = np.zeros(self._prior.mean.shape)
        rows = np.array([self._table.get(e.item or "", blank) for e in events])
        rows = rows.reshape(-1, *blank.shape)
        signals = np.array([e.said.signals for e in events], dtype=np.float64).reshape(-1, 3)
        if kind == "rating":
            return rows, np.nan_to_num(signals), (~np.isnan(signals)) * 1.0
        against = np.array([self._table.get(e.said.detail or "", blank) for e in events])
        channels = np.array([e.said.channel for e in events], dtype=object)
        details = np.array([e.said.detail for e in events], dtype=object)
        return population.observe(channels, signals, rows, against.reshape(rows.shape), details)


def study(*, users: int, items: int, seed: int) -> dict[str, Any]:
    """Every kind at every count of ratings."""
    habits = {"comparison": 2.0, "comment": 2.0, "interaction": 4.0, "survey": 1.0}
    world = SimulatedWorld(users=users, items=items, seed=seed, habits=habits)
    events = emitted(world)
    teachers = range(users * 2 // 3)
    population = taught_population(world, [e for e in events if e.user in teachers], seed)
    learners = Learners(world, population, list(range(len(teachers), users)), events)
    alone = {n: learners.judged({"rating": n}) for n in sorted({*CURVE, *COUNTS})}
    curve = np.maximum.accumulate([alone[n][:, 0].mean() for n in CURVE])
    rows = []
    for n in COUNTS:
        for kind in ("ratings alone", *EVENTS, "all"):
            more = {k: count for k, count in EVENTS.items() if kind in (k, "all")}
            found = learners.judged({"rating": n} | more)
            gain = found - alone[n]
            level = float(found[:, 0].mean())
            rows.append(
                {
                    "kind": kind,
                    "n": n,
                    "events": sum(more.values()),
                    "srcc": round(level, 4),
                    "mae": round(float(found[:, 1].mean()), 4),
                    "gain": round(float(gain[:, 0].mean()), 4),
                    "gain_se": round(float(gain[:, 0].std(ddof=1) / np.sqrt(len(gain))), 4),
                    "saved": round(float(np.interp(level, curve, CURVE)) - n, 1) if more else 0.0,
                }
            )
    return {
        "users": users,
        "learners": len(learners.users),
        "seed": seed,
        "rows": rows,
        "curve": [
            {"n": n, "srcc": round(float(level), 4)} for n, level in zip(CURVE, curve, strict=True)
        ],
        "teaching": population.report.get("teaching", {}),
    }


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("modalities", __doc__, seed=11)
    parser.add_argument("--users", type=int, default=450)
    parser.add_argument("--items", type=int, default=500)
    given = parser.parse_args(words)
    with working("simulating, fitting, learning"):
        result = study(users=given.users, items=given.items, seed=given.seed)
    columns = ("ratings", "and", "events", "SRCC", "MAE", "gain", "±", "ratings saved")
    rows = (
        (
            str(row["n"]), row["kind"], str(row["events"]), f"{row['srcc']:.3f}", f"{row['mae']:.3f}",
            f"{row['gain']:+.3f}", f"{row['gain_se']:.3f}", f"{row['saved']:.1f}",
        )
        for row in result["rows"]
    )  # fmt: skip
    return show(given.json, result, columns, rows)


if __name__ == "__main__":
    sys.exit(main())
