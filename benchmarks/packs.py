"""Rating packs and their splits: items held out from everybody, folds of users, first ratings of users."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from paaplus.errors import ConfigError, NotEnoughDataError
from paaplus.events import ATTRIBUTES
from paaplus.population import ItemFeatures, Population, Ratings, fit_population
from workers.importers import import_ratings

Array = NDArray[np.float64]
HELD_OUT, FOLDS = 0.3, 5
FEWEST_USERS = 20
"""A count that fewer users reach is lowered."""


@dataclass(frozen=True)
class Pack:
    """Ratings as indices.

    Attributes:
        name: Of the folder.
        user: int [N], index of the user of each rating, in the order in which they were given.
        item: int [N].
        score: float [N], 0..10.
        users: Number of users.
        item_ids: [I].
        vectors: float32 [I, F].
    """

    name: str
    user: NDArray[np.intp]
    item: NDArray[np.intp]
    score: Array
    users: int
    item_ids: NDArray[np.object_]
    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """One evaluated user: `known` ratings to learn from in order, `cold` and `warm` ones to predict.

    Attributes:
        user: Index of the user.
        known: int [top], rows of the pack.
        cold: int [.], ratings of items that nobody's training saw.
        warm: int [.], ratings of items that others rated.
    """

    user: int
    known: NDArray[np.intp]
    cold: NDArray[np.intp]
    warm: NDArray[np.intp]


@dataclass(frozen=True)
class Fold:
    """The population model of the other folds' users, and the users to evaluate."""

    population: Population
    cases: list[Case]
    train_user: NDArray[np.intp]
    train_item: NDArray[np.intp]
    train_score: Array


def load_pack(folder: Path, task: str | None, attribute: str, seed: int) -> Pack:
    """Read a pack with the importer's own reader; ratings without `seq` come in a random order."""
    try:
        read = import_ratings(folder, task=task, attribute=attribute)
    except ConfigError:
        table = pd.read_parquet(folder / "ratings.parquet", columns=["score"])
        scale = float(table.score.min()), float(table.score.max())
        read = import_ratings(folder, task=task, attribute=attribute, scale=scale)
    frame = read.ratings
    if "seq" not in parquet.read_schema(folder / "ratings.parquet").names:
        frame = frame.sample(frac=1.0, random_state=seed)
    low, high = read.scale
    user_ids, user = np.unique(frame.user_id.to_numpy(str), return_inverse=True)
    place = {item_id: n for n, item_id in enumerate(read.item_ids)}
    return Pack(
        read.pack,
        user,
        np.array([place[item_id] for item_id in frame.item_id]),
        np.clip((frame.score.to_numpy(np.float64) - low) / (high - low) * 10, 0, 10),
        len(user_ids),
        np.array(read.item_ids, dtype=object),
        read.vectors,
    )


@dataclass(frozen=True)
class Split:
    """Which items are held out, the users worth evaluating, and the counts that they reach."""

    held_out: NDArray[np.bool_]
    cases: dict[int, Case]
    counts: tuple[int, ...]


def split_pack(pack: Pack, counts: Sequence[int], seed: int) -> Split:
    """Hold out 30 % of the rated items; keep users with ratings enough on both sides.

    Raises:
        NotEnoughDataError: Hardly any user has ten ratings to learn from and enough to be judged by.
    """
    rng = np.random.default_rng(seed)
    rated = np.unique(pack.item)
    held_out = np.zeros(len(pack.item_ids), dtype=bool)
    held_out[rng.choice(rated, round(HELD_OUT * len(rated)), replace=False)] = True
    places = np.split(np.argsort(pack.user, kind="stable"), np.cumsum(np.bincount(pack.user))[:-1])
    inside = [rows[~held_out[pack.item[rows]]] for rows in places]
    outside = [rows[held_out[pack.item[rows]]] for rows in places]
    # As many ratings to be judged by as 20 users have: a rank correlation of ten is a poor one.
    for fewest in (30, 20, 10):
        judged = [u for u in range(pack.users) if len(outside[u]) >= fewest]
        if len(judged) >= FEWEST_USERS and (fewest < 30 or len(rated) >= 300):
            break
    top = max(counts)
    # Ten more than are learned from, so that there are warm items too.
    while sum(len(inside[u]) >= top + 10 for u in judged) < FEWEST_USERS and top > 10:
        top = max(10, top - 10)
    chosen = [u for u in judged if len(inside[u]) >= top]
    if len(chosen) < 5:
        raise NotEnoughDataError(
            f"{pack.name}: {len(chosen)} users have {top} ratings and {fewest} more of held-out items",
            "use a pack with more ratings per user",
        )
    cases = {u: Case(u, inside[u][:top], outside[u], inside[u][top:]) for u in chosen}
    return Split(held_out, cases, tuple(sorted({min(n, top) for n in counts})))


def folds_of(
    pack: Pack, split: Split, attribute: str, seed: int, most_cases: int
) -> Iterator[Fold]:
    """Five folds: the population model comes from the other users' ratings of the other items."""
    rng = np.random.default_rng(seed + 1)
    fold_of = rng.permutation(pack.users) % FOLDS
    a = ATTRIBUTES.index(attribute)
    keep = ~split.held_out
    for number in range(FOLDS):
        train = keep[pack.item] & (fold_of[pack.user] != number)
        scores = np.full((int(train.sum()), len(ATTRIBUTES)), np.nan)
        scores[:, a] = pack.score[train]
        names = np.array([f"u{n}" for n in range(pack.users)], dtype=object)
        population = fit_population(
            Ratings(
                names[pack.user[train]],
                pack.item_ids[pack.item[train]],
                scores,
                numbers=np.arange(len(scores)),
            ),
            ItemFeatures(pack.item_ids[keep], pack.vectors[keep]),
            trunk="given",
            seed=seed,
        )
        mine = [case for user, case in split.cases.items() if fold_of[user] == number]
        if len(mine) > most_cases:
            mine = [mine[n] for n in sorted(rng.choice(len(mine), most_cases, replace=False))]
        yield Fold(population, mine, pack.user[train], pack.item[train], pack.score[train])
