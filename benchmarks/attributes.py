"""What the joint prior over attributes adds: what users think of health tells what they think of posture.

Simulated users whose taste is known, two thirds to fit on and a third to learn. Heads of the same population
model with its correlations between attributes (`joint`) and without (`alone`), after n ratings: of all
attributes (`rated: all`), or of appearance only, where the others are judged (`rated: appearance`). The
second world is a control: each attribute's scores are another user's, so that nothing goes together, and
joint must not be worse.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frame import parser_of, show, working
from paaplus.events import ATTRIBUTES, decode_item
from paaplus.metrics import srcc
from paaplus.population import ItemFeatures, Ratings, fit_population
from paaplus.population.prior import Prior
from workers.simulate import NOISE, SimulatedWorld

Array = NDArray[np.float64]

COUNTS = (0, 1, 3, 10, 30)
TAUGHT = 40
"""Ratings of each user who is fitted on."""


def strangers(true: Array, rng: np.random.Generator) -> Array:
    """Every attribute's scores given to other users: [U, I, A], the same tastes and none together."""
    orders = [rng.permutation(len(true)) for _ in ATTRIBUTES]
    return np.stack([true[order, :, a] for a, order in enumerate(orders)], axis=2)


def study(*, users: int, items: int, seed: int) -> dict[str, Any]:
    """Both worlds at every count."""
    world = SimulatedWorld(users=users, items=items, seed=seed, habits={})
    vectors = np.array(
        [decode_item(value).features for _, value in world.given_items()], np.float32
    )
    rng = np.random.default_rng(seed)
    rows, found = [], {}
    for name, true in (("one taste", world.true), ("strangers", strangers(world.true, rng))):
        given = np.clip(true + NOISE * rng.normal(size=true.shape), 0, 10)
        asked = np.stack([rng.permutation(world.shown_items) for _ in range(users)])
        teachers = users * 2 // 3
        ids = np.array(world.item_ids, dtype=object)
        place = np.repeat(np.arange(teachers), TAUGHT)
        shown = asked[:teachers, :TAUGHT].reshape(-1)
        population = fit_population(
            Ratings(np.array([f"u{u:06d}" for u in place], object), ids[shown], given[place, shown]),
            ItemFeatures(ids, vectors), trunk="given", seed=seed,
        )  # fmt: skip
        found[name] = population.report["together"]
        psi = population.rows(world.item_ids, vectors)
        learners = np.arange(teachers, users)
        for rated in ("all", "appearance"):
            known = np.array([1.0 if rated in ("all", a) else 0.0 for a in ATTRIBUTES])
            judged = [a for a, name in enumerate(ATTRIBUTES) if rated == "all" or name != rated]
            for n in COUNTS:
                levels = {}
                for kind, prior in (
                    ("alone", replace(population.prior, cross=None)),
                    ("joint", population.prior),
                ):
                    heads = _heads(prior, psi, given, asked, learners, n, known)
                    levels[kind] = _judge(
                        heads, psi[world.exam_items], true[learners][:, world.exam_items], judged
                    )
                gain = levels["joint"] - levels["alone"]
                rows.append(
                    {
                        "world": name,
                        "rated": rated,
                        "n": n,
                        "srcc_alone": _round(levels["alone"][:, 0].mean()),
                        "srcc_joint": _round(levels["joint"][:, 0].mean()),
                        "gain": _round(gain[:, 0].mean()),
                        "gain_se": _round(gain[:, 0].std(ddof=1) / np.sqrt(len(gain))),
                        "mae_alone": _round(levels["alone"][:, 1].mean()),
                        "mae_joint": _round(levels["joint"][:, 1].mean()),
                    }
                )
    return {"users": users, "learners": len(learners), "seed": seed, "fit": found, "rows": rows}


def _heads(
    prior: Prior, psi: Array, given: Array, asked: NDArray[np.intp], users: NDArray[np.intp], n: int,
    known: Array,
) -> Array:  # fmt: skip
    """Means [U, A, m] after each user's first n ratings of the known attributes."""
    grams, moments = [], []
    for u in users:
        x, y = psi[asked[u, :n]], given[u, asked[u, :n]]
        grams.append(np.einsum("nam,nak,a->amk", x, x, known))
        moments.append(np.einsum("nam,na,a->am", x, y, known))
    return prior.posterior_mean(np.stack(grams), np.stack(moments))


def _judge(heads: Array, psi: Array, truth: Array, judged: list[int]) -> Array:
    """SRCC and MAE with the truth per user, [U, 2], over the judged attributes."""
    scores = np.clip(np.einsum("iam,uam->uia", psi, heads), 0, 10)
    return np.array(
        [
            (
                np.mean([srcc(mine[:, a], true[:, a]) for a in judged]),
                np.abs(mine - true)[:, judged].mean(),
            )
            for mine, true in zip(scores, truth, strict=True)
        ]
    )


def _round(value: float) -> float:
    return round(float(value), 4)


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("attributes", __doc__, seed=11)
    parser.add_argument("--users", type=int, default=450)
    parser.add_argument("--items", type=int, default=400)
    given = parser.parse_args(words)
    with working("simulating, fitting, learning"):
        result = study(users=given.users, items=given.items, seed=given.seed)
    columns = ("world", "rated", "n", "SRCC alone", "joint", "gain", "±", "MAE alone", "joint")
    rows = (
        (
            row["world"], row["rated"], str(row["n"]), f"{row['srcc_alone']:.3f}",
            f"{row['srcc_joint']:.3f}", f"{row['gain']:+.4f}", f"{row['gain_se']:.4f}",
            f"{row['mae_alone']:.3f}", f"{row['mae_joint']:.3f}",
        )
        for row in result["rows"]
    )  # fmt: skip
    return show(given.json, result, columns, rows, result["fit"])


if __name__ == "__main__":
    sys.exit(main())
