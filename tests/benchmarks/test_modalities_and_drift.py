"""Small runs of the benchmarks of kinds of feedback and of drift: their figures hang together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import drift, exposure, modalities


@pytest.mark.slow
def test_every_kind_adds_to_few_ratings_and_none_does_harm(
    printed: Callable[..., dict[str, Any]],
) -> None:
    result = printed(modalities.main, "--users", "150", "--items", "120")
    rows = {(row["kind"], row["n"]): row for row in result["rows"]}
    assert result["learners"] == 50
    assert rows["ratings alone", 0]["gain"] == 0
    for kind in ("comparison", "comment", "survey", "all"):
        assert rows[kind, 0]["gain"] > 2 * rows[kind, 0]["gain_se"], kind
        assert rows[kind, 0]["saved"] > 0.5, kind
    for row in rows.values():
        assert row["gain"] > -2 * row["gain_se"] - 0.005, row
    assert rows["all", 3]["srcc"] > rows["comparison", 3]["srcc"]
    curve = [point["srcc"] for point in result["curve"]]
    assert curve == sorted(curve)
    assert "comparison 1" in result["teaching"]


@pytest.mark.slow
def test_interactions_with_what_the_heads_chose_help_where_views_tell_it(
    printed: Callable[..., dict[str, Any]],
) -> None:
    result = printed(exposure.main, "--users", "150", "--items", "120")
    rows = {(r["strength"], r["views"], r["n"], r["interactions"]): r for r in result["rows"]}
    with_views, without = rows[1.0, True, 0, 100], rows[1.0, False, 0, 100]
    assert with_views["gain"] > 2 * with_views["gain_se"]
    assert with_views["gain"] > without["gain"]
    assert rows[1.0, True, 10, 100]["gain"] > -0.02


@pytest.mark.slow
def test_forgetting_helps_where_taste_turns_and_costs_nothing_where_it_does_not(
    printed: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    plot = tmp_path / "drift.png"
    result = printed(drift.main, "--users", "8", "--plot", str(plot))
    with Image.open(plot) as picture:
        assert picture.size[0] > 600
    rows = {(row["stream"], row["method"]): row for row in result["rows"]}
    assert {stream for stream, _ in rows} == {"benign", "reversal", "recurring", "gradual"}
    benign, turned = rows["benign", "drift"], rows["reversal", "drift"]
    assert benign["mae"] < rows["benign", "none"]["mae"] + 2 * benign["mae_se"]
    assert benign["false_alarms"] < 2
    assert turned["mae"] < rows["reversal", "none"]["mae"] - 2 * turned["mae_se"]
    assert turned["delay"] < 60
