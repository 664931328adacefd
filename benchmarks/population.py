"""The whole population fitted: seconds and memory against users, from nothing and from the last model.

Users of random tastes rate 2,000 items in all three attributes, 20 ratings each. `first` fits on the first 16
of everybody's, `cold` on all from nothing, `warm` on all from where `first` ended; all in one process per
size, which reports its peak memory. `density_cold` and `density_warm` are the mean log predictive density of
held-out users under the form that was chosen: what going on from the last model may not cost.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np

from benchmarks.frame import parser_of, show, working
from paaplus.events import ATTRIBUTES
from paaplus.population import ItemFeatures, Population, Ratings, fit_population

ITEMS, FEATURES, RATINGS, BEFORE = 2000, 256, 20, 16
TRAITS, TASTES = 24, 8
"""What features tell of items, and in how many of these directions users differ."""


def world(users: int, seed: int) -> tuple[Ratings, ItemFeatures]:
    """Everybody's ratings, each user's together."""
    rng = np.random.default_rng(seed)
    traits = rng.normal(size=(ITEMS, TRAITS))
    mixed = traits @ rng.normal(size=(TRAITS, FEATURES)) + rng.normal(size=(ITEMS, FEATURES))
    vectors = mixed.astype(np.float32)
    shared, own = rng.normal(size=(3, TASTES)), rng.normal(size=(users, 3, TASTES))
    asked = rng.integers(0, ITEMS, (users, RATINGS)).reshape(-1)
    owner = np.repeat(np.arange(users), RATINGS)
    seen = traits[asked][:, :TASTES]
    felt = [np.einsum("nf,nf->n", seen, 0.4 * shared[a] + 0.4 * own[owner, a]) for a in range(3)]
    scores = np.stack([5 + f + 0.7 * rng.normal(size=len(f)) for f in felt], axis=1)
    items = np.array([f"i{n:05d}" for n in range(ITEMS)], dtype=object)
    names = np.array([f"u{n:07d}" for n in range(users)], dtype=object)
    return Ratings(names[owner], items[asked], np.clip(scores, 0, 10)), ItemFeatures(items, vectors)


def measure(users: int, seed: int) -> dict[str, Any]:
    """One size, in this process."""
    ratings, items = world(users, seed)
    early = np.arange(len(ratings.scores)) % RATINGS < BEFORE
    part = Ratings(ratings.user_ids[early], ratings.item_ids[early], ratings.scores[early])
    seconds: dict[str, float] = {}

    def fit(name: str, some: Ratings, last: Population | None = None) -> Population:
        begin = time.perf_counter()
        model = fit_population(some, items, trunk="given", seed=seed, last=last)
        seconds[name] = time.perf_counter() - begin
        return model

    first = fit("first", part)
    found = {"warm": fit("warm", ratings, first), "cold": fit("cold", ratings)}
    return {
        "users": users,
        "ratings": len(ratings.scores),
        **{f"{name}_seconds": round(value, 2) for name, value in seconds.items()},
        "saved": round(1 - seconds["warm"] / seconds["cold"], 3),
        **{f"density_{name}": round(_density(model), 5) for name, model in found.items()},
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _density(model: Population) -> float:
    parts = [model.report[name] for name in ATTRIBUTES]
    return float(np.mean([part["densities"][part["form"]] for part in parts]))


def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("population", __doc__)
    parser.add_argument("--users", default="1000,10000,100000")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(words)
    if given.here:
        print(json.dumps(measure(int(given.users), given.seed)))
        return 0
    rows = []
    with working("fitting") as status:
        for users in given.users.split(","):
            status.update(f"fitting {users} users, three times")
            command = [sys.executable, "-m", "benchmarks.population", "--here", "--users", users]
            done = subprocess.run(
                [*command, "--seed", str(given.seed)], check=True, stdout=subprocess.PIPE, text=True
            )
            rows.append(json.loads(done.stdout))
    columns = ("users", "ratings", "first s", "cold s", "warm s", "saved", "peak MB")
    cells = (
        (
            f"{row['users']:,}", f"{row['ratings']:,}", f"{row['first_seconds']:.1f}",
            f"{row['cold_seconds']:.1f}", f"{row['warm_seconds']:.1f}", f"{row['saved']:.0%}",
            f"{row['peak_rss_mb']:,.0f}",
        )
        for row in rows
    )  # fmt: skip
    return show(given.json, {"rows": rows}, columns, cells)


if __name__ == "__main__":
    sys.exit(main())
