"""What interactions teach when users are shown what their own heads like, and when they are shown anything.

Simulated users as in `benchmarks.modalities`. Every item shown brings one interaction; items are drawn with
probability in proportion to exp(strength * score of the user's head so far), strength 0 = at random. With
`views`, some interactions are views, which say what was shown; without, the backend never emits them.
"""

from __future__ import annotations

import sys
from typing import Any
from uuid import UUID

import numpy as np

from benchmarks.frame import parser_of, show, working
from benchmarks.modalities import COUNTS, Event, Learners, emitted, taught_population
from paaplus.comments import open_analyser
from paaplus.observations import observe
from paaplus.population.channels import VIEW
from workers.other_events import interaction
from workers.simulate import NOISE, SimulatedWorld

STRENGTHS = (0.0, 0.5, 1.0)
TAUGHT = {10: 16, 40: 16}
"""Ratings of a teacher -> interactions with what the head shows by then."""

LEARNED = (20, 100)
"""Interactions of a learner."""


def shown(
    world: SimulatedWorld, users: Learners, ratings: int, count: int, strength: float, seed: int
) -> list[Event]:
    """What users do with `count` items each that their heads after some ratings show them."""
    rng, analyser, acts = np.random.default_rng(seed), open_analyser(), []
    pull = strength * users.scores({"rating": ratings}, world.shown_items)
    share = np.exp(pull - pull.max(axis=1, keepdims=True))
    for user, weights in zip(users.users, share, strict=True):
        common = {
            "event_id": UUID(int=0), "occurred_at": world.start, "schema_version": 1,
            "user_id": world.user_ids[user],
        }  # fmt: skip
        usual, spread = world.true[user].mean(axis=0), world.true[user].std(axis=0)
        for item in rng.choice(world.shown_items, count, p=weights / weights.sum()):
            liking = (world.true[user, item] + NOISE * rng.normal(size=3) - usual) / spread
            name = world.item_ids[item]
            said = observe(interaction(common, name, liking, rng), analyser)
            if said is not None:
                acts.append(Event(user, name, said))
    return acts


def study(*, users: int, items: int, seed: int) -> dict[str, Any]:
    """What interactions add to ratings, by how items are shown."""
    world = SimulatedWorld(users=users, items=items, seed=seed, habits={})
    events = emitted(world)
    count = users * 2 // 3
    ratings = [[e for e in events if (e.user < count) == teach] for teach in (True, False)]
    base = taught_population(world, ratings[0], seed)
    teachers = Learners(world, base, list(range(count)), ratings[0])
    learners = Learners(world, base, list(range(count, users)), ratings[1])
    alone = {n: learners.judged({"rating": n}) for n in COUNTS}
    rows = []
    for strength in STRENGTHS:
        taught = [
            act
            for n, acts in TAUGHT.items()
            for act in shown(world, teachers, n, acts, strength, n)
        ]
        learned = {n: shown(world, learners, n, max(LEARNED), strength, 100 + n) for n in COUNTS}
        for views in (True, False):
            kept = [act for act in taught if views or act.said.channel != VIEW]
            population = taught_population(world, ratings[0] + kept, seed)
            for n in COUNTS:
                acts = [act for act in learned[n] if views or act.said.channel != VIEW]
                judge = Learners(world, population, learners.users, ratings[1] + acts)
                for many in LEARNED:
                    gain = judge.judged({"rating": n, "interaction": many}) - alone[n]
                    error = gain.std(axis=0, ddof=1) / np.sqrt(len(gain))
                    figures = {
                        "gain": gain[:, 0].mean(), "gain_se": error[0],
                        "mae": gain[:, 1].mean(), "mae_se": error[1],
                    }  # fmt: skip
                    rows.append(
                        {"strength": strength, "views": views, "n": n, "interactions": many}
                        | {name: round(float(value), 4) for name, value in figures.items()}
                    )
    return {"users": users, "learners": len(learners.users), "seed": seed, "rows": rows}


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("exposure", __doc__, seed=11)
    parser.add_argument("--users", type=int, default=450)
    parser.add_argument("--items", type=int, default=500)
    given = parser.parse_args(words)
    with working("simulating, fitting, learning"):
        result = study(users=given.users, items=given.items, seed=given.seed)
    columns = ("strength", "views", "ratings", "interactions", "SRCC gained", "±", "MAE", "±")
    rows = (
        (
            f"{row['strength']:g}", "yes" if row["views"] else "no", str(row["n"]),
            str(row["interactions"]), f"{row['gain']:+.4f}", f"{row['gain_se']:.4f}",
            f"{row['mae']:+.4f}", f"{row['mae_se']:.4f}",
        )
        for row in result["rows"]
    )  # fmt: skip
    return show(given.json, result, columns, rows)


if __name__ == "__main__":
    sys.exit(main())
