"""The scaling benchmark runs real rounds over a real store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks import scaling


@pytest.mark.slow
def test_it_measures_every_user_once(printed: Callable[..., dict[str, Any]]) -> None:
    (row,) = printed(scaling.main, "--users", "200")["rows"]
    assert row["users"] == 200
    assert row["ratio"] > 1
    assert row["bytes_per_user"] <= 3200
