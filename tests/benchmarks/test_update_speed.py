"""The speed benchmark measures what it says: its methods do the same work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.update_speed import METHODS, main


def test_it_prints_every_method_and_their_weights_agree(
    printed: Callable[..., dict[str, Any]],
) -> None:
    result = printed(main, "--d", "16", "--repeat", "1")
    assert [row["method"] for row in result["rows"]] == list(METHODS)
    assert all(row["d"] == 16 and row["users_per_s"] > 0 for row in result["rows"])
    assert result["rows"][0]["ratio_to_stock"] == 1.0
    assert result["weights_differ"]["16"] < 1e-6
