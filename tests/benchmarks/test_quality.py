"""The quality benchmark on a small simulated pack: its figures hang together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks import hostile, mistakes, quality, suggest
from benchmarks.simulated_pack import write_pack


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pack")
    assert write_pack(folder, users=60, items=150, rounds=9, seed=3) > 4000
    return folder


def test_the_default_beats_the_baselines_and_another_users_taste_does_not(
    pack: Path, printed: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    plot = tmp_path / "plot.png"
    words = [str(pack), "--counts", "0,3,10,30", "--plot", str(plot)]
    result = printed(quality.main, *words)
    with Image.open(plot) as picture:
        assert picture.size[0] > 600
    rows = {(row["method"], row["n"]): row for row in result["rows"]}
    for n in (3, 10, 30):
        assert rows["exact_ewc", n]["gain"] > 2 * rows["exact_ewc", n]["gain_se"]
        assert rows["exact_ewc", n]["srcc"] == pytest.approx(rows["joint", n]["srcc"], abs=1e-4)
        assert rows["replay_ewc", n]["gain"] > 0.9 * rows["joint", n]["gain"]
        assert rows["exact_ewc_diagonal", n]["gain"] > 0.9 * rows["joint", n]["gain"]
        assert rows["calibration", n]["gain"] == 0
    assert all(row["gain"] == 0 for (m, n), row in rows.items() if n == 0 and m != "ridge")
    assert result["swapped"][-1]["gain"] < 0
    for level, share in result["coverage"].items():
        assert share == pytest.approx(float(level), abs=0.08)
    assert result["users"] >= 40


def test_asking_for_suggestions_is_paired_with_asking_at_random(
    pack: Path, printed: Callable[..., dict[str, Any]]
) -> None:
    result = printed(suggest.main, str(pack), "--most", "20")
    first, *_, last = result["rows"]
    assert first["srcc_random"] == first["srcc_suggested"]
    assert last["n"] == 20
    assert last["mae_suggested"] < last["mae_random"] + 3 * last["mae_gain_se"]


def test_hostile_raters_are_none_of_the_judged(
    pack: Path, printed: Callable[..., dict[str, Any]]
) -> None:
    result = printed(hostile.main, str(pack), "--count", "30")
    assert [row["way"] for row in result["rows"]] == list(hostile.WAYS)
    clean = result["rows"][0]
    assert clean["lost"] == clean["gain_lost"] == 0
    for row in result["rows"]:
        assert row["gain_lost"] == pytest.approx(1 - row["gain"] / clean["gain"], abs=1e-3)
        assert row["lost"] == pytest.approx((clean["srcc"] - row["srcc"]) / clean["gain"], abs=1e-3)
    read = hostile.load_pack(pack, None, "appearance", 0)
    honest = set(range(10))
    absent = hostile.corrupt(read, "absent", honest, 0.2, 0)
    gone = set(read.user.tolist()) - set(absent.user.tolist())
    assert len(gone) == 12
    assert not gone & honest
    for way in hostile.WAYS[2:]:
        spoiled = hostile.corrupt(read, way, honest, 0.2, 0)
        changed = (spoiled.score != read.score) | (spoiled.item != read.item)
        users = set(read.user[changed].tolist())
        assert users
        assert users <= gone  # the same users, so that ways and reference compare


def test_the_robust_head_bears_mistakes_better(
    pack: Path, printed: Callable[..., dict[str, Any]]
) -> None:
    result = printed(mistakes.main, str(pack))
    rows = {(row["share"], row["n"]): row for row in result["rows"]}
    clean, wrong = rows[0.0, 30], rows[0.1, 30]
    assert wrong["mae"] > clean["mae"]
    assert wrong["less_mae"] > 2 * wrong["less_mae_se"]
    assert abs(clean["less_mae"]) < 0.02


def test_a_folder_without_ratings_is_an_error_with_a_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quality.main([str(tmp_path)]) == 1
    assert "ratings.parquet" in capsys.readouterr().err
