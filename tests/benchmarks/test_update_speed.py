"""The speed benchmark measures what it says: its methods do the same work."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from benchmarks import full_head
from benchmarks.update_speed import METHODS, main


def test_it_prints_every_method_and_their_weights_agree(
    printed: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = partial(full_head.measure, users=1, repeat=1, widths=(12, 8, 4, 1))
    monkeypatch.setattr(full_head, "measure", small)
    result = printed(main, "--d", "16", "--repeat", "1")
    assert [row["method"] for row in result["rows"]] == list(METHODS)
    assert all(row["d"] == 16 and row["users_per_s"] > 0 for row in result["rows"])
    assert result["rows"][0]["ratio_to_stock"] == 1.0
    assert result["weights_differ"]["16"] < 1e-6
    assert [row["method"] for row in result["full_head"]["rows"]] == list(full_head.METHODS)
