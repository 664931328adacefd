"""What 20 % hostile raters do to the honest ones: how much of their gain over calibration is lost.

`gain_lost` is the share of `gain`, the lead over calibration in the same world, that is lost by hostile
raters; `lost` is that of the lead over the calibration of a clean world, so what calibration loses counts
too. Their standard errors are paired over the honest users.

The pack, splits and figures are those of `benchmarks.quality`; hostile are a fifth of the users behind the
population model, never those who are evaluated. Four ways: everything the middle of the own scale
(`constant`), the scale turned round (`inverted`), uniform noise (`random`), and honest but for the highest
score to one item, the same for all (`coordinated`), where each hostile user's ratings name that item. For
reference, that fifth simply left out (`absent`): what is lost then is the price of fewer raters, and a
perfect defence loses as much.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.evaluation import MAIN, Scores, evaluate_fold
from benchmarks.frame import add_pack, parser_of, refusing, show, working
from benchmarks.packs import Pack, folds_of, load_pack, split_pack
from benchmarks.simulated_pack import given_or_simulated
from paaplus.events import ATTRIBUTES

WAYS = ("none", "absent", "constant", "inverted", "random", "coordinated")
SHARE = 0.2
SIMULATED = 150
"""Users of the simulated pack: thirty population models are fitted."""


def corrupt(pack: Pack, way: str, honest: set[int], share: float, seed: int) -> Pack:
    """The pack with a share of the users, none of them `honest`, gone hostile, or gone (`absent`)."""
    rng = np.random.default_rng(seed)
    others = np.array([u for u in range(pack.users) if u not in honest])
    count = min(round(share * pack.users), len(others))
    hostile = np.isin(pack.user, rng.choice(others, count, replace=False))
    score: NDArray[np.float64] = pack.score.copy()
    item = pack.item.copy()
    if way == "absent":
        kept = ~hostile
        return replace(pack, user=pack.user[kept], item=item[kept], score=score[kept])
    if way == "constant":
        score[hostile] = 5.0
    elif way == "inverted":
        score[hostile] = 10 - score[hostile]
    elif way == "random":
        score[hostile] = rng.uniform(0, 10, int(hostile.sum()))
    elif way == "coordinated":
        target = int(np.bincount(item).argmin())
        for user in np.unique(pack.user[hostile]):
            row = np.flatnonzero(pack.user == user)[0]
            item[row], score[row] = target, 10.0
    return replace(pack, score=score, item=item)


def study(
    folder: Path,
    task: str | None,
    attribute: str,
    *,
    share: float,
    count: int,
    seed: int,
    most: int,
) -> dict[str, Any]:
    """Gains of the honest users under every way."""
    pack = load_pack(folder, task, attribute, seed)
    split = split_pack(pack, [0, count], seed)
    rng = np.random.default_rng(seed)
    # Judged are half of those who can be; the hostile come from all the others.
    candidates = np.array(sorted(split.cases))
    honest = set(rng.choice(candidates, len(candidates) // 2, replace=False).tolist())
    split = replace(split, cases={u: case for u, case in split.cases.items() if u in honest})
    rows: list[dict[str, Any]] = []
    lost_se: dict[str, float] = {}
    clean, clean_gain, floor = np.zeros(0), np.zeros(0), 0.0
    for way in WAYS:
        scores = Scores()
        spoiled = corrupt(pack, way, honest, share, seed) if way != "none" else pack
        for fold in folds_of(spoiled, split, attribute, seed, most):
            if fold.cases:
                evaluate_fold(  # the honest users' own ratings are those of the clean pack
                    pack, fold, split.counts, ATTRIBUTES.index(attribute), scores,
                    methods=(MAIN,),
                )  # fmt: skip
        n = split.counts[-1]
        own, base = scores.cold[MAIN, n], scores.cold["calibration", n]
        gain = np.array([own[u][0] - base[u][0] for u in sorted(own)])
        ranks = np.array([own[u][0] for u in sorted(own)])
        level = float(ranks.mean())
        # What is left of the lead over the calibration of a clean system.
        if not rows:
            clean, floor = ranks, float(np.mean([base[u][0] for u in base]))
            clean_gain = gain
        lead = float(clean.mean()) - floor
        lost, error = _share(clean - ranks, lead)
        if error is not None:
            lost_se[way] = error
        rows.append(
            {
                "way": way,
                "n": n,
                "srcc": round(level, 5),
                "mae": round(float(np.mean([own[u][1] for u in own])), 5),
                "gain": round(float(gain.mean()), 5),
                "gain_se": round(float(gain.std(ddof=1) / np.sqrt(len(gain))), 5),
                "lost": lost,
                "gain_lost": _share(clean_gain - gain, lead)[0],
                "gain_lost_se": _share(clean_gain - gain, lead)[1],
            }
        )
    return {
        "pack": pack.name,
        "task": task,
        "users": len(honest),
        "share": share,
        "rows": rows,
        "lost_se": lost_se,
    }


def _share(less: NDArray[np.float64], lead: float) -> tuple[float | None, float | None]:
    """Mean over users of what is less, in shares of the lead, and its standard error; None without lead."""
    if lead <= 0:
        return None, None
    error = less.std(ddof=1) / np.sqrt(len(less))
    return round(float(less.mean() / lead), 4), round(float(error / lead), 4)


@refusing
def main(words: list[str] | None = None) -> int:
    """Command line."""
    parser = parser_of("hostile", __doc__)
    add_pack(parser, simulated=True)
    parser.add_argument("--share", type=float, default=SHARE)
    parser.add_argument("--count", type=int, default=100, help="ratings of the user's own")
    parser.add_argument("--most", type=int, default=120)
    given = parser.parse_args(words)
    with (
        working(f"{len(WAYS)} ways, five folds each"),
        given_or_simulated(given.pack, SIMULATED) as folder,
    ):
        result = study(
            folder, given.task, given.attribute,
            share=given.share, count=given.count, seed=given.seed, most=given.most,
        )  # fmt: skip
    rows = (
        (
            row["way"], f"{row['srcc']:.3f}", f"{row['mae']:.3f}", f"{row['gain']:+.4f}",
            f"{row['gain_se']:.4f}", "" if row["lost"] is None else f"{row['lost']:+.0%}",
            "" if row["lost"] is None else f"{result['lost_se'][row['way']]:.0%}",
            "" if row["lost"] is None else f"{row['gain_lost']:+.0%}",
            "" if row["lost"] is None else f"{row['gain_lost_se']:.0%}",
        )
        for row in result["rows"]
    )  # fmt: skip
    columns = ("way", "SRCC", "MAE", "gain", "±", "lost", "±", "of gain", "±")
    return show(given.json, result, columns, rows, title=f"{result['users']} honest users")


if __name__ == "__main__":
    sys.exit(main())
