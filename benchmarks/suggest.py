"""Asking for the items of `paaplus suggest` against asking at random: ratings for the same accuracy.

The pack and splits are those of `benchmarks.quality`. A user can only be asked about items that the pack has
their rating of (and that nobody's test uses); both ways choose from these, ten per round, and are judged on
the user's ratings of the held-out items.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frame import add_pack, parser_of, refusing, show, working
from benchmarks.packs import Case, Fold, Pack, folds_of, load_pack, split_pack
from benchmarks.simulated_pack import given_or_simulated
from paaplus.events import ATTRIBUTES
from paaplus.heads import information_posterior
from paaplus.metrics import mae, srcc
from paaplus.suggestion import suggest_items

Array = NDArray[np.float64]
ROUND = 10


def learn(fold: Fold, a: int, rows: Array, scores: Array) -> tuple[Array, Array]:
    """The exact head: mean [m] and covariance [m, m]."""
    prior = fold.population.prior
    mean, covariance = information_posterior(
        prior.mean[a], prior.covariance[a], prior.noise[a], rows.T @ rows, rows.T @ scores
    )
    return mean, covariance


def follow(
    pack: Pack, fold: Fold, psi: Array, case: Case, a: int, most: int, suggested: bool
) -> list[tuple[float, float]]:
    """SRCC and MAE after 0, 10, …, `most` ratings."""
    pool = list(np.concatenate([case.known, case.warm]))
    asked: list[int] = []
    found = []
    noise = fold.population.prior.noise[a : a + 1]
    cold, truth = psi[pack.item[case.cold]], pack.score[case.cold]
    while True:
        mean, covariance = learn(fold, a, psi[pack.item[asked]], pack.score[asked])
        guess = np.clip(cold @ mean, 0, 10)
        rank = srcc(guess, truth)
        found.append((0.0 if np.isnan(rank) else rank, mae(guess, truth)))
        if len(asked) >= most:
            return found
        chosen = list(range(ROUND))
        if suggested:
            rows = psi[pack.item[pool]][:, None]
            chosen = [s.index for s in suggest_items(covariance[None], rows, noise, ROUND)]
        asked += [pool[n] for n in chosen]
        pool = [row for row in pool if row not in set(asked)]


def study(
    folder: Path, task: str | None, attribute: str, *, most: int, seed: int
) -> dict[str, Any]:
    """Both ways, paired by user."""
    pack, a = load_pack(folder, task, attribute, seed), ATTRIBUTES.index(attribute)
    split = split_pack(pack, [most + 2 * ROUND], seed)
    most = min(most, split.counts[-1] - ROUND)
    results: dict[str, list[Array]] = {"random": [], "suggested": []}
    for fold in folds_of(pack, split, attribute, seed, 120):
        psi = fold.population.rows(list(pack.item_ids), pack.vectors)[:, a]
        for case in fold.cases:
            for way, found in results.items():
                steps = follow(pack, fold, psi, case, a, most, way == "suggested")
                found.append(np.array(steps))
    random, suggested = (np.stack(results[way]) for way in ("random", "suggested"))
    rows = []
    for step in range(random.shape[1]):
        gain = suggested[:, step] - random[:, step]
        error = gain.std(axis=0, ddof=1) / np.sqrt(len(gain))
        rows.append(
            {
                "n": step * ROUND,
                "srcc_random": round(float(random[:, step, 0].mean()), 5),
                "srcc_suggested": round(float(suggested[:, step, 0].mean()), 5),
                "srcc_gain_se": round(float(error[0]), 5),
                "mae_random": round(float(random[:, step, 1].mean()), 5),
                "mae_suggested": round(float(suggested[:, step, 1].mean()), 5),
                "mae_gain_se": round(float(error[1]), 5),
            }
        )
    target = rows[-1]["mae_random"]
    needed = next((row["n"] for row in rows if row["mae_suggested"] <= target), None)
    return {
        "pack": pack.name,
        "task": task,
        "users": len(random),
        "rows": rows,
        "ratings_for_same_mae": {"random": rows[-1]["n"], "suggested": needed},
    }


@refusing
def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("suggest", __doc__)
    add_pack(parser, simulated=True)
    parser.add_argument("--most", type=int, default=60, help="ratings asked for")
    given = parser.parse_args(words)
    with working("asking"), given_or_simulated(given.pack) as folder:
        result = study(folder, given.task, given.attribute, most=given.most, seed=given.seed)
    rows = ((str(value) for value in row.values()) for row in result["rows"])
    note = f"ratings for the same MAE: {result['ratings_for_same_mae']}"
    title = f"{result['users']} users"
    return show(given.json, result, result["rows"][0], rows, note, title=title)


if __name__ == "__main__":
    sys.exit(main())
