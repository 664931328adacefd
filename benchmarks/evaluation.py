"""Judges a strategy and the baselines on the users of a fold, and the main strategy's heads more closely."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from benchmarks.baselines import (
    DIRECTIONS,
    calibrate,
    consensus,
    own_ridge,
    residual_ridge,
)
from benchmarks.feeding import feed
from benchmarks.packs import Case, Fold, Pack
from paaplus.heads import Heads, predict
from paaplus.metrics import mae, srcc
from paaplus.population.items import principal_components
from paaplus.population.prior import HEAD, Prior
from strategies import STRATEGIES, StrategyConfig

Array = NDArray[np.float64]
LEVELS = (0.5, 0.8, 0.95)
FORMS: dict[str, tuple[str, StrategyConfig, float | None]] = {
    "exact_ewc_diagonal": ("exact_ewc", StrategyConfig(form="diagonal"), None),
    "exact_ewc_low_rank": ("exact_ewc", StrategyConfig(form="low_rank"), None),
    "exact_ewc_robust": ("exact_ewc", StrategyConfig(), 4.0),
}
METHODS = {name: (name, StrategyConfig(), None) for name in STRATEGIES} | FORMS
"""Name in the table -> strategy, settings, and `strategy.robust`."""

MAIN = "exact_ewc"
"""The strategy whose intervals and swapped heads are looked at: the default of the product."""


class Scores:
    """Figures per user, by method and count."""

    def __init__(self) -> None:
        self.cold: dict[tuple[str, int], dict[int, tuple[float, float]]] = defaultdict(dict)
        self.warm: dict[tuple[str, int], dict[int, float]] = defaultdict(dict)
        self.swapped: dict[int, dict[int, float]] = defaultdict(dict)
        self.covered: dict[float, list[float]] = defaultdict(list)

    def add(self, method: str, n: int, user: int, truth: list[Array], guess: list[Array]) -> None:
        """Predictions of one user's cold and warm items."""
        self.cold[method, n][user] = (_rank(guess[0], truth[0]), mae(guess[0], truth[0]))
        if len(truth[1]) >= 10:
            self.warm[method, n][user] = _rank(guess[1], truth[1])


def evaluate_fold(
    pack: Pack,
    fold: Fold,
    counts: tuple[int, ...],
    a: int,
    scores: Scores,
    methods: Sequence[str] = tuple(METHODS),
) -> None:
    """Judge the baselines and some strategies on the users of one fold."""
    population = fold.population
    prior = _attribute(population.prior, a)
    calibration = _attribute(population.calibration, a)
    unseen = population.unseen_variance(list(pack.item_ids))[:, a : a + 1]
    psi = population.rows(list(pack.item_ids), pack.vectors)[:, a]
    components = principal_components(pack.vectors[np.unique(fold.train_item)])
    unit = components.whiten(pack.vectors, min(DIRECTIONS, len(components.variance)))
    unit *= np.sqrt(components.variance[: unit.shape[1]])  # as PCA scores: small ones stay small
    others, raters = consensus(fold.train_user, fold.train_item, fold.train_score, len(psi))

    def parts(case: Case, table: Array) -> list[Array]:
        return [table[pack.item[rows]] for rows in (case.cold, case.warm)]

    for case in fold.cases:
        truth = [pack.score[case.cold], pack.score[case.warm]]
        wanted, features = parts(case, psi), parts(case, unit)
        base = [_clip(rows[:, :HEAD] @ population.prior.mean[a, :HEAD]) for rows in wanted]
        agreed = [
            np.where(raters[pack.item[rows]] > 0, others[pack.item[rows]] + prior.mean[0, 0], guess)
            for rows, guess in zip((case.cold, case.warm), base, strict=True)
        ]
        for n in counts:
            known = case.known[:n]
            rows, given = psi[pack.item[known]], pack.score[known]
            weights = calibrate(population.calibration, a, rows, given)
            calibrated = [_clip(part[:, :HEAD] @ weights) for part in wanted]
            scores.add("population", n, case.user, truth, base)
            scores.add("consensus", n, case.user, truth, agreed)
            scores.add("calibration", n, case.user, truth, calibrated)
            x = unit[pack.item[known]]
            centre = x.mean(axis=0) if n else 0.0
            moved = [part - centre for part in features]
            scores.add(
                "ridge", n, case.user, truth,
                own_ridge(x - centre, given, moved, float(population.prior.mean[a, 0])),
            )  # fmt: skip
            scores.add(
                "residual_ridge", n, case.user, truth,
                residual_ridge(rows[:, :HEAD] @ weights, x, given, calibrated, features),
            )  # fmt: skip
    users = [f"u{case.user}" for case in fold.cases]
    known_rows = np.stack([psi[pack.item[case.known]] for case in fold.cases])
    known_scores = np.stack([pack.score[case.known] for case in fold.cases])
    for method in methods:
        name, config, freedom = METHODS[method]
        heads = feed(
            name, prior, calibration, users, known_rows, known_scores, counts, config, freedom
        )
        for n, head in heads.items():
            for u, case in enumerate(fold.cases):
                truth = [pack.score[case.cold], pack.score[case.warm]]
                mean = head.mean[u, 0]
                guess = [_clip(rows[:, : len(mean)] @ mean) for rows in parts(case, psi)]
                scores.add(method, n, case.user, truth, guess)
            if method == MAIN:
                _swap(pack, fold, psi, n, np.asarray(head.mean[:, 0], np.float64), scores)
                if n >= 3:
                    _cover(pack, fold, psi, unseen, head, scores)


def _swap(pack: Pack, fold: Fold, psi: Array, n: int, mean: Array, scores: Scores) -> None:
    """The user's own mean and slopes with the next user's directions."""
    for u, case in enumerate(fold.cases):
        other = np.concatenate([mean[u, :HEAD], mean[u - 1, HEAD:]])
        guess = _clip(psi[pack.item[case.cold]] @ other)
        scores.swapped[n][case.user] = _rank(guess, pack.score[case.cold])


def _cover(pack: Pack, fold: Fold, psi: Array, unseen: Array, head: Heads, scores: Scores) -> None:
    """Share of held-out ratings inside the central intervals, per user."""
    assert head.noise is not None
    for u, case in enumerate(fold.cases):
        items = pack.item[case.cold]
        mean, std = predict(
            head.mean[u], head.covariance[u], psi[items][:, None], head.noise[u], unseen[items]
        )
        away = np.abs(pack.score[case.cold] - mean[:, 0]) / std[:, 0]
        for level in LEVELS:
            scores.covered[level].append(float((away <= norm.ppf(0.5 + level / 2)).mean()))


def _attribute(prior: Prior, a: int) -> Prior:
    part = slice(a, a + 1)
    return Prior(
        prior.mean[part],
        prior.covariance[part],
        prior.noise[part],
        None if prior.spread is None else prior.spread[part],
        None if prior.factors is None else prior.factors[part],
    )


def _clip(scores: Array) -> Array:
    return np.clip(scores, 0, 10)


def _rank(guess: Array, truth: Array) -> float:
    """SRCC; 0 where either is constant, since it then says nothing about rank."""
    found = srcc(guess, truth)
    return 0.0 if np.isnan(found) else found
