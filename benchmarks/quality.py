"""How well personal heads predict real people's ratings, at 0, 3, 10, 30 and 100 ratings of their own.

30 % of the items are held out from everybody; five folds of users: the population model comes from the users
of the other folds. Each evaluated user's ratings are fed in rounds of 10 and every method is judged on the
user's ratings of the held-out items ("cold"), and, as `warm_srcc`, on ratings of items that others rated
but this user had not yet. Nothing is chosen on either: priors and forms are chosen by likelihood inside the
training users, ridge penalties by cross-validation inside the user's own ratings.

A pack is a folder with ratings.parquet (user_id, item_id, score[, task][, seq]) and item_features.npz
(item_id and any number of float matrices).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from benchmarks.evaluation import Array, Scores, evaluate_fold
from benchmarks.frame import add_pack, parser_of, refusing, show
from benchmarks.packs import folds_of, load_pack, split_pack
from paaplus.events import ATTRIBUTES
from workers.plots import plot_quality


def run(
    folder: Path, task: str | None, attribute: str, counts: list[int], *, seed: int, most: int
) -> dict[str, Any]:
    """Everything; see the module."""
    pack = load_pack(folder, task, attribute, seed)
    split = split_pack(pack, counts, seed)
    scores, a = Scores(), ATTRIBUTES.index(attribute)
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(f"{pack.name}: folds", total=5)
        for fold in folds_of(pack, split, attribute, seed, most):
            if fold.cases:
                evaluate_fold(pack, fold, split.counts, a, scores)
            progress.advance(bar)
    base = {n: scores.cold["calibration", n] for n in split.counts}
    rows = []
    for (method, n), found in scores.cold.items():
        values = np.array(list(found.values()))
        gains = np.array([found[u][0] - base[n][u][0] for u in found])
        warm = list(scores.warm[method, n].values())
        rows.append(
            {
                "method": method,
                "n": n,
                "srcc": _round(values[:, 0].mean()),
                "srcc_se": _round(_error(values[:, 0])),
                "mae": _round(values[:, 1].mean()),
                "gain": _round(gains.mean()),
                "gain_se": _round(_error(gains)),
                "warm_srcc": _round(float(np.mean(warm))) if warm else None,
            }
        )
    swapped = []
    for n, ranks in scores.swapped.items():
        gains = np.array([rank - base[n][u][0] for u, rank in ranks.items()])
        swapped.append({"n": n, "gain": _round(gains.mean()), "gain_se": _round(_error(gains))})
    return {
        "pack": pack.name,
        "task": task,
        "users": len(base[split.counts[0]]),
        "rows": rows,
        "coverage": {str(level): _round(float(np.mean(v))) for level, v in scores.covered.items()},
        "swapped": swapped,
    }


def _error(values: Array) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def _round(value: float) -> float:
    return round(float(value), 5)


@refusing
def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("quality", __doc__)
    add_pack(parser, simulated=False)
    parser.add_argument("--counts", default="0,3,10,30,100", help="ratings of the user's own")
    parser.add_argument("--plot", type=Path, help="also draw the gains, as .png")
    parser.add_argument("--most", type=int, default=120, help="users evaluated per fold, at most")
    given = parser.parse_args(words)
    result = run(
        given.pack, given.task, given.attribute,
        [int(n) for n in given.counts.split(",")], seed=given.seed, most=given.most,
    )  # fmt: skip
    if given.plot is not None:
        plot_quality(result, given.plot)
    columns = ("method", "n", "SRCC", "MAE", "gain", "±", "warm SRCC")
    rows = (
        (
            row["method"], str(row["n"]), f"{row['srcc']:.3f}", f"{row['mae']:.3f}",
            f"{row['gain']:+.4f}", f"{row['gain_se']:.4f}",
            "" if row["warm_srcc"] is None else f"{row['warm_srcc']:.3f}",
        )
        for row in sorted(result["rows"], key=lambda row: (row["n"], row["method"]))
    )  # fmt: skip
    notes = f"coverage {result['coverage']}", f"swapped {result['swapped']}"
    title = f"{result['pack']} {result['task'] or ''}: {result['users']} users"
    return show(given.json, result, columns, rows, *notes, title=title)


if __name__ == "__main__":
    sys.exit(main())
