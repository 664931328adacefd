"""What honest mistakes in a user's own ratings cost, with `strategy.robust` and without.

As `benchmarks.quality`, but for a share of the ratings that are learned from: they are
replaced by uniform noise, while those by which users are judged are not. `less_mae` is by how much the robust
head's error is lower than that of the head that believes every rating, paired over users.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.evaluation import MAIN, Scores, evaluate_fold
from benchmarks.frame import add_pack, parser_of, refusing, show, working
from benchmarks.packs import Pack, Split, folds_of, load_pack, split_pack
from benchmarks.simulated_pack import given_or_simulated
from paaplus.events import ATTRIBUTES

ROBUST = "exact_ewc_robust"
SHARES = (0.0, 0.05, 0.1)
COUNTS = (10, 30, 100)
SIMULATED = 150
"""Users of the simulated pack."""


def mistaken(pack: Pack, split: Split, share: float, seed: int) -> Pack:
    """The pack with a share of what is learned from replaced by uniform noise, in halves."""
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(pack.score)) < share
    for case in split.cases.values():
        wrong[np.concatenate([case.cold, case.warm])] = False
    noise = np.round(rng.uniform(0, 10, len(pack.score)) * 2) / 2
    return replace(pack, score=np.where(wrong, noise, pack.score))


def study(
    folder: Path, task: str | None, attribute: str, *, seed: int, most: int
) -> dict[str, Any]:
    """SRCC and MAE of both heads at every share and count."""
    pack = load_pack(folder, task, attribute, seed)
    split, rows = split_pack(pack, COUNTS, seed), []
    for share in SHARES:
        scores, spoiled = Scores(), mistaken(pack, split, share, seed)
        for fold in folds_of(spoiled, split, attribute, seed, most):
            if fold.cases:
                evaluate_fold(
                    spoiled, fold, split.counts, ATTRIBUTES.index(attribute), scores,
                    methods=(MAIN, ROBUST),
                )  # fmt: skip
        for n in split.counts:
            plain, robust = (
                np.array([scores.cold[method, n][u] for u in sorted(scores.cold[MAIN, n])])
                for method in (MAIN, ROBUST)
            )
            better = (robust - plain) * [1, -1]
            error = better.std(axis=0, ddof=1) / np.sqrt(len(better))
            figures = {
                "srcc": plain[:, 0].mean(), "more_srcc": better[:, 0].mean(), "more_srcc_se": error[0],
                "mae": plain[:, 1].mean(), "less_mae": better[:, 1].mean(), "less_mae_se": error[1],
            }  # fmt: skip
            rounded = {name: round(float(value), 5) for name, value in figures.items()}
            rows.append({"share": share, "n": n, "users": len(better)} | rounded)
    return {"pack": pack.name, "task": task, "rows": rows}


@refusing
def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("mistakes", __doc__)
    add_pack(parser, simulated=True)
    parser.add_argument("--most", type=int, default=120)
    given = parser.parse_args(words)
    with (
        working(f"{len(SHARES)} shares, five folds each"),
        given_or_simulated(given.pack, SIMULATED) as folder,
    ):
        result = study(folder, given.task, given.attribute, seed=given.seed, most=given.most)
    columns = ("mistakes", "n", "SRCC", "robust", "±", "MAE", "robust", "±")
    rows = (
        (
            f"{row['share']:.0%}", str(row["n"]),
            f"{row['srcc']:.3f}", f"{row['more_srcc']:+.4f}", f"{row['more_srcc_se']:.4f}",
            f"{row['mae']:.3f}", f"{-row['less_mae']:+.4f}", f"{row['less_mae_se']:.4f}",
        )
        for row in result["rows"]
    )  # fmt: skip
    return show(given.json, result, columns, rows, title=result["pack"])


if __name__ == "__main__":
    sys.exit(main())
