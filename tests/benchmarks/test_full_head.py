"""The benchmark of full heads measures what it says: its methods do the same work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.full_head import METHODS, Work, main, stack_importance


def test_it_prints_every_method_and_stock_goes_the_same_way(
    printed: Callable[..., dict[str, Any]],
) -> None:
    result = printed(main, "--widths", "12,8,4,1", "--repeat", "1", "--users", "2")
    assert tuple(row["method"] for row in result["rows"]) == METHODS
    assert all(row["ms_per_user"] > 0 for row in result["rows"])
    assert result["rows"][-1]["ratio_to_stock"] == 1.0
    assert result["weights_differ"] < 1e-2


def test_importances_go_to_the_parameters_they_are_of() -> None:
    work = Work(1, (12, 8, 4, 1), 0)
    named = stack_importance(work.state, 0, work.model)
    assert named.keys() == dict(work.model.named_parameters()).keys()
    for a in range(3):
        assert torch.equal(named[f"heads.{a}.4.weight"], work.state["importance.weight2"][0, a])
