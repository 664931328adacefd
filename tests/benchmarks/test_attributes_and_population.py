"""Small runs of the benchmarks of the joint prior and of the population fit: their figures hang together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import attributes, population


@pytest.mark.slow
def test_attributes_learn_from_each_other_where_they_have_something_to_tell(
    printed: Callable[..., dict[str, Any]],
) -> None:
    result = printed(attributes.main, "--users", "180", "--items", "150")
    rows = {(row["world"], row["rated"], row["n"]): row for row in result["rows"]}
    for rated, n in (("all", 3), ("appearance", 10)):
        row = rows["one taste", rated, n]
        assert row["gain"] > 2 * row["gain_se"]
        assert row["mae_joint"] < row["mae_alone"]
    assert rows["one taste", "all", 0]["gain"] == 0
    for (world, _, _), row in rows.items():
        if world == "strangers":
            assert row["gain"] > -2 * row["gain_se"] - 0.002, row


@pytest.mark.slow
def test_a_warm_fit_predicts_like_a_cold_one(printed: Callable[..., dict[str, Any]]) -> None:
    (row,) = printed(population.main, "--users", "200")["rows"]
    assert row["ratings"] == 4000
    assert row["density_warm"] == pytest.approx(row["density_cold"], abs=0.02)
    assert row["saved"] == pytest.approx(1 - row["warm_seconds"] / row["cold_seconds"], abs=0.01)
