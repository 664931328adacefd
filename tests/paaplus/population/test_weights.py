"""Caps per day: whoever floods, or is flooded, weighs what the cap says; nobody else notices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from paaplus.population import DailyCaps, ItemFeatures, Population, Ratings, fit_population
from paaplus.population.weights import NO_DAY, rating_weights

Array = NDArray[np.float64]
Rows = list[tuple[int, int, int]]

rows_of_few = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from([-1, NO_DAY, 20_000, 20_001])),
    min_size=1,
    max_size=60,
)
trusts = st.lists(st.floats(0.02, 1.0), min_size=4, max_size=4)
caps_given = st.integers(1, 5)


def weigh(rows: Rows, trust: list[float], caps: DailyCaps | None) -> Array:
    users, items, days = np.array(rows, dtype=np.int64).T
    return rating_weights(users, items, np.array(trust), days, caps).weight


@given(rows_of_few, trusts, caps_given, caps_given)
def test_no_day_weighs_more_than_its_caps(
    rows: Rows, trust: list[float], user: int, item: int
) -> None:
    weight = weigh(rows, trust, DailyCaps(user, item))
    free = weigh(rows, trust, None)
    assert (weight > 0).all()
    assert (weight <= free).all()
    for column, cap in ((0, user), (1, item)):
        for group in {(row[column], row[2]) for row in rows}:
            mine = [n for n, row in enumerate(rows) if (row[column], row[2]) == group]
            assert group[1] == NO_DAY or weight[mine].sum() <= cap * (1 + 1e-9)
    unknown = [n for n, row in enumerate(rows) if row[2] == NO_DAY]
    assert (weight[unknown] == free[unknown]).all()


@given(rows_of_few, trusts, caps_given, st.randoms(use_true_random=False))
def test_the_order_of_ratings_does_not_matter(
    rows: Rows, trust: list[float], cap: int, random: object
) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    weight = weigh(rows, trust, DailyCaps(cap, cap))
    shuffled = weigh([rows[n] for n in order], trust, DailyCaps(cap, cap))
    assert shuffled == pytest.approx(weight[order], rel=1e-12)


@given(rows_of_few, trusts)
def test_caps_that_are_off_or_not_reached_change_no_bit(rows: Rows, trust: list[float]) -> None:
    free = weigh(rows, trust, None)
    for caps in (DailyCaps(), DailyCaps(0, 0), DailyCaps(100, 100)):
        assert (weigh(rows, trust, caps) == free).all()


def test_ratings_of_a_full_day_share_its_weight_and_repeats_are_one_rating() -> None:
    users = np.array([0] * 10 + [1] * 40)
    items = np.array([*range(10)] + [3] * 40)
    days = np.full(50, 20_000)
    weight = rating_weights(users, items, None, days, DailyCaps(user=5)).weight
    assert weight[:10] == pytest.approx(0.5)  # ten ratings, five count
    assert weight[10:].sum() == pytest.approx(1.0)


HONEST, ITEMS, EACH, CAP = 60, 100, 40, 10


def raided(raiders: int, caps: DailyCaps | None, day: int = 20_000) -> Population:
    """Raiders rate item 0 highest on one day, and five others as everybody does, on other days."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(ITEMS, 5)).astype(np.float32)
    quality = vectors @ rng.normal(size=5)
    users, items, scores, days = [], [], [], []
    for u in range(HONEST + raiders):
        raids = u >= HONEST
        mine = 1 + rng.permutation(ITEMS - 1)[:5] if raids else rng.permutation(ITEMS)[:EACH]
        users += [f"u{u:05d}"] * (len(mine) + raids)
        items += [*mine, *[0] * raids]
        scores += [*(5 + quality[mine] + 0.5 * rng.normal(size=len(mine))), *[10.0] * raids]
        days += [*(21_000 + EACH * u + np.arange(len(mine))), *[day] * raids]
    table = np.full((len(scores), 3), np.nan)
    table[:, 0] = np.clip(scores, 0, 10)
    ids = np.array([f"i{n:03d}" for n in range(ITEMS)], dtype=object)
    ratings = Ratings(np.array(users, dtype=object), ids[items], table, np.array(days))
    return fit_population(ratings, ItemFeatures(ids, vectors), trunk="t", seed=0, caps=caps)


def test_a_raid_of_thousands_moves_an_item_as_the_cap_would() -> None:
    capped, free = raided(5000, DailyCaps(item=CAP)), raided(5000, None)
    few, clean = raided(CAP, None), raided(0, None)

    def deviation(made: Population) -> float:
        return float(made.items.known[0, 0, 1])

    assert deviation(few) > deviation(clean) + 0.2  # what a raid as large as the cap does
    assert deviation(capped) <= deviation(few)
    assert deviation(free) > 3 * deviation(few)
    # Nor do the raiders' scores of that item become what everybody is expected to give.
    assert capped.prior.mean[0, 0] == pytest.approx(clean.prior.mean[0, 0], abs=0.1)
    assert free.prior.mean[0, 0] > clean.prior.mean[0, 0] + 0.5


def test_ratings_without_a_day_are_not_capped() -> None:
    caps = DailyCaps(item=CAP)
    assert raided(300, caps, day=NO_DAY).version == raided(300, None, day=NO_DAY).version
    assert raided(300, caps).version != raided(300, None).version
